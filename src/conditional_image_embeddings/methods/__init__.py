"""The methods, and `load`, which picks the one that a model is for.

A model's own config decides: an image-text-to-text model is embedded with DIOR, a dual encoder with CLIP's image tower.
"""

import inspect
from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..errors import ModelError, OptionError, UnknownOptionError

if TYPE_CHECKING:
    from ..models.checkpoint import Checkpoint
    from .embedder import Embedder as Embedder

METHODS = ("dior", "generative", "clip", "indirect", "clay", "pixels")
_CLASSES = {
    "dior": ("dior", "DIOR"),
    "generative": ("generative", "Generative"),
    "clip": ("clip", "CLIP"),
    "indirect": ("projected", "InDiReCT"),
    "clay": ("projected", "CLAY"),
}
_OF_LVLMS = (
    *("image_max_size", "image_reading", "positions", "share", "attn_implementation"),
    *("thinking", "chat_template_kwargs", "compile"),
)
_OF_TEXT_ENCODERS = ("text_encoder", "text_encoder_dtype", "encoded_text")
_FOR = {"dior": ("dior", "generative"), "clip": ("clip", "indirect", "clay")}  # by what a model is for, its own first


def load(model: str, *, method: str | None = None, **options: Any) -> "Embedder":
    """Load an embedder.

    Args:
        model: A hub id, a local directory, "builtin" or "builtin-clip"; "pixels" for the control without a model.
        method: One of `METHODS`; None takes "dior" or "clip", what the model's config says it is for.
        options: `device`, `dtype`, `revision`, `trust_remote_code`, `local_files_only`, `cache_folder`, `token`,
            `random_weights`, `model_kwargs`, `processor_kwargs` (see `Checkpoint.find`), and the method's own, such as
            `image_max_size`, `image_reading`, `share`, `positions` and `attn_implementation` (see `methods.dior.DIOR`),
            `text_encoder` (`methods.generative.Generative`), `words`, `components` and `solver` (`methods.projected`).

    Returns:
        An embedder: `encode` turns images into vectors.

    Raises:
        ModelError: the model cannot be found or loaded, or is not of the method's kind.
        TypeError: an unknown option; the message lists the known ones.
    """
    if method is not None and method not in METHODS:
        raise OptionError(f"unknown method {method!r}; known: {', '.join(METHODS)}")
    if "pixels" in (model, method):
        from .pixels import Pixels

        _check_options(options, _parameters(Pixels))
        return Pixels(**options)

    from ..models.checkpoint import Checkpoint

    find = _parameters(Checkpoint.find)
    _check_options(options, find | {*_OF_LVLMS, *_OF_TEXT_ENCODERS, "words", "components", "solver", "seed"})
    checkpoint = Checkpoint.find(model, **{key: options.pop(key) for key in find & options.keys()})
    chosen = _class_for(checkpoint, method)
    _check_options(options, _parameters(chosen) - {"reader"}, also=find)
    embedder: Embedder = chosen(checkpoint, **options)
    return embedder


def with_method(embedder: "Embedder", method: str, **options: Any) -> "Embedder":
    """Another method with the model of an embedder, which is not loaded again.

    Args:
        embedder: What `load` gave.
        method: One of those that the model allows (`supported_methods`).
        options: The method's own; what concerns the model (`device`, `image_max_size`, ...) is the embedder's.
    """
    reader: Any = embedder.reader
    if reader.method == method:
        return embedder.reader
    chosen = _class_for(reader.checkpoint, method)
    another: Embedder = chosen(reader.checkpoint, reader=reader, **options)
    return another


def supported_methods(model: str, **options: Any) -> tuple[str, ...]:
    """The methods that can use a model, the one that it is for first; its config decides, no weights are read.

    Args:
        model: As for `load`.
        options: Of `Checkpoint.find`, as for `load`.

    Raises:
        ModelError: the model cannot be found, or is for none of them.
    """
    if model == "pixels":
        return ("pixels",)
    from ..models.checkpoint import Checkpoint

    return _methods_of(Checkpoint.find(model, **options))


def _class_for(checkpoint: "Checkpoint", method: str | None) -> "type[Any]":
    """The class of the method, which must be one that the model's config allows."""
    methods = _methods_of(checkpoint)
    if method is not None and method not in methods:
        raise ModelError(
            f"{_described(checkpoint)}, which {method} cannot use; use method {' or '.join(methods)}, or another model"
        )
    room, name = _CLASSES[method or methods[0]]
    chosen: type[Any] = getattr(import_module(f".{room}", __name__), name)
    return chosen


def _methods_of(checkpoint: "Checkpoint") -> tuple[str, ...]:
    possible = model_family(checkpoint.config)
    if not possible:
        raise ModelError(
            f"{_described(checkpoint)}: neither an image-text-to-text model nor a dual encoder of images and texts"
        )
    return tuple(each for kind in possible for each in _FOR[kind])


def _described(checkpoint: "Checkpoint") -> str:
    return f"{checkpoint.name} is a {checkpoint.config.model_type} model"


def model_family(config: Any) -> list[str]:
    """The methods that a model with this config is for, as transformers' public mappings classify it."""
    from transformers import (
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
        MODEL_FOR_ZERO_SHOT_IMAGE_CLASSIFICATION_MAPPING,
        MODEL_MAPPING,
    )

    generative = MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING.get(type(config), None)
    saved = getattr(config, "architectures", None) or ()
    if type(config) in MODEL_FOR_ZERO_SHOT_IMAGE_CLASSIFICATION_MAPPING and (
        generative is None or generative.__name__ not in saved  # BLIP and BLIP-2 are in both
    ):
        return ["clip"]
    remote = getattr(config, "auto_map", None) or {}
    if generative is not None or "AutoModelForImageTextToText" in remote:
        return ["dior"]
    # Dual encoders that transformers lists under no task, such as VisionTextDualEncoder.
    base = MODEL_MAPPING.get(type(config), None)
    if hasattr(base, "get_image_features") and hasattr(base, "get_text_features"):
        return ["clip"]
    return []


def _parameters(callable_: Any) -> set[str]:
    """Keyword-only parameters."""
    parameters = inspect.signature(callable_).parameters.values()
    return {parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY}


def _check_options(options: dict[str, Any], known: Iterable[str], also: Iterable[str] = ()) -> None:
    if unknown := sorted(options.keys() - set(known)):
        raise UnknownOptionError(
            f"unknown option {', '.join(unknown)}; known here: {', '.join(sorted({*known, *also}))}"
        )


def __getattr__(name: str) -> Any:
    if name == "Embedder":
        from .embedder import Embedder

        return Embedder
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
