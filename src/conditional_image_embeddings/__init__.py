"""Compare images by what you care about: embeddings under a condition named in plain words.

```python
import conditional_image_embeddings as cie

embedder = cie.load("builtin")
vectors = embedder.encode(["a.jpg", "b.jpg"], conditions=["car color", "car model"])  # (2, 2, d)
```

`__all__` is what is public: these names, and what their documentation says, keep working. Everything else may change.
Importing this package loads nothing heavy; torch and transformers come with the first model.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .collection.collection import Collection as Collection
    from .collection.collection import open as open  # noqa: A004 - cie.open
    from .collection.filters import Not as Not
    from .errors import CieError as CieError
    from .errors import ConditionError as ConditionError
    from .errors import DatasetError as DatasetError
    from .errors import EvaluationError as EvaluationError
    from .errors import ExtraError as ExtraError
    from .errors import ImageError as ImageError
    from .errors import ModelError as ModelError
    from .errors import NoImagesError as NoImagesError
    from .errors import NotStoredError as NotStoredError
    from .errors import OptionError as OptionError
    from .errors import ReproductionError as ReproductionError
    from .errors import SettingError as SettingError
    from .errors import SourceError as SourceError
    from .errors import StoreError as StoreError
    from .errors import UnknownOptionError as UnknownOptionError
    from .methods import Embedder as Embedder
    from .methods import load as load
    from .suggestion.ranking import Suggestion as Suggestion
    from .suggestion.ranking import Suggestions as Suggestions
    from .suggestion.suggest import suggest as suggest
    from .vectors import pairwise_similarity as pairwise_similarity
    from .vectors import similarity as similarity

__version__ = "0.1.0"

__all__ = [
    "CieError",
    "Collection",
    "ConditionError",
    "DatasetError",
    "Embedder",
    "EvaluationError",
    "ExtraError",
    "ImageError",
    "ModelError",
    "NoImagesError",
    "Not",
    "NotStoredError",
    "OptionError",
    "ReproductionError",
    "SettingError",
    "SourceError",
    "StoreError",
    "Suggestion",
    "Suggestions",
    "UnknownOptionError",
    "__version__",
    "load",
    "open",
    "pairwise_similarity",
    "similarity",
    "suggest",
]

# The room that a public name comes from, where it is no error's; each is imported when first asked for.
_ROOMS = {
    "Collection": "collection.collection",
    "open": "collection.collection",
    "Not": "collection.filters",
    "Embedder": "methods",
    "load": "methods",
    "pairwise_similarity": "vectors",
    "similarity": "vectors",
    "Suggestion": "suggestion.ranking",
    "Suggestions": "suggestion.ranking",
    "suggest": "suggestion.suggest",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has: {', '.join(__all__)}")
    return getattr(import_module(f".{_ROOMS.get(name, 'errors')}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
