"""Compare images by what you care about: embeddings under a condition named in plain words.

    import conditional_image_embeddings as cie
    embedder = cie.load("builtin")
    vectors = embedder.encode(["a.png", "b.png"], conditions=["car color", "car model"])   # (2, 2, d)

Importing this package loads nothing heavy; torch and transformers come with the first model.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .collection.collection import Collection as Collection
    from .collection.collection import open as open  # noqa: A004 - cie.open
    from .errors import CieError as CieError
    from .errors import ImageError as ImageError
    from .methods import Embedder as Embedder
    from .methods import load as load
    from .vectors import similarity as similarity

__version__ = "0.1.0"

# What a user imports, and the room it comes from; each is imported when first asked for.
_ROOMS = {
    "CieError": "errors",
    "Collection": "collection.collection",
    "Embedder": "methods",
    "ImageError": "errors",
    "load": "methods",
    "open": "collection.collection",
    "similarity": "vectors",
}

__all__ = ["CieError", "Collection", "Embedder", "ImageError", "__version__", "load", "open", "similarity"]


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_ROOMS[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
