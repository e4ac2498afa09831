"""The methods, one file each, and `load`, which picks the one that a model is for.

A model's own config decides: an image-text-to-text model is embedded with DIOR, a dual encoder with CLIP's image tower.
"""

from typing import TYPE_CHECKING, Any

from ..errors import ModelError

if TYPE_CHECKING:
    from .embedder import Embedder as Embedder

METHODS = ("dior", "clip", "pixels")


def __getattr__(name: str) -> Any:
    if name == "Embedder":
        from .embedder import Embedder

        return Embedder
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
