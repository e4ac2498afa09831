"""The methods, and `load`, which picks the one that a model is for.

A model's own config decides: an image-text-to-text model is embedded with DIOR, a dual encoder with CLIP's image tower,
and an embedder that is known to take instructions with one.
What methods there are, `registry` says.
"""

import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import ModelError, OptionError, UnknownOptionError
from .registry import DUAL_ENCODER, FAMILIES, LVLM, OF_IMAGES, Method, methods_of
from .registry import METHODS as METHODS

INSTRUCT = "instruct"  # it needs to know how the model is instructed: others need the model alone

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from ..models.checkpoint import Checkpoint
    from .bound import load_for as load_for
    from .embedder import Embedder as Embedder


def load(
    model: str,
    *,
    method: str | None = None,
    device: "str | torch.device | None" = None,
    dtype: "str | torch.dtype | None" = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    local_files_only: bool = False,
    cache_folder: "str | Path | None" = None,
    token: str | bool | None = None,
    random_weights: bool = False,
    model_kwargs: Mapping[str, Any] | None = None,
    processor_kwargs: Mapping[str, Any] | None = None,
    image_max_size: int = 700,
    image_reading: str = "upright",
    positions: str = "native",
    share: bool = True,
    attn_implementation: str | None = None,
    thinking: str = "off",
    chat_template_kwargs: Mapping[str, Any] | None = None,
    compile: bool = False,  # noqa: A002 - torch's own word for it
    family: str | None = None,
    instruction: str | Mapping[str, Any] | None = None,
    pooling: str | None = None,
    text_encoder: str | None = None,
    text_encoder_dtype: "str | torch.dtype | None" = None,
    text_encoder_revision: str | None = None,
    encoded_text: str = "answer",
    words: Mapping[str, str | Sequence[str]] | str | Sequence[str] | None = None,
    components: int | None = None,
    solver: str = "adam",
    seed: int = 42,
    size: int = 12,
    **registered: Any,
) -> "Embedder":
    """Load an embedder.

    Args:
        model: A hub id, a local directory, "builtin" or "builtin-clip"; "pixels" for the control without a model.
        method: One of `METHODS`; None takes "dior", "instruct" or "clip", what the model says it is for.
        device: "cpu", "cuda", "cuda:1", "mps"; None takes the best there is.
        dtype: "float32", "bfloat16" or "float16"; None is bfloat16 on CUDA and float32 elsewhere.
        revision: A branch, tag or commit on the hub.
        trust_remote_code: Run code that comes with the model. Only for models whose author you trust.
        local_files_only: Ask the hub for nothing.
        cache_folder: Where models from the hub are kept; None is the hub client's own folder.
        token: For private and gated models on the hub; None takes the one of `hf auth login`.
        random_weights: The model's architecture with seeded random weights: a control.
        model_kwargs: Further keywords for the model's `from_pretrained`: values that JSON can hold, and types of torch.
        processor_kwargs: The same for the processor's, such as `max_pixels`.
        image_max_size: Images are scaled down to at most this many pixels on the longer side (paper: 700).
        image_reading: "upright", or "reference": the pixels that the paper's reference implementation sees.
        positions: dior, generative: "native", or "flat", 1-D positions as in the paper's reference implementation.
        share: dior, generative, instruct: compute what prompts have in common once, where that is exact.
        attn_implementation: dior, generative, instruct: one of transformers'; None leaves the choice to it.
        thinking: dior, generative: "off" or "as-is", what becomes of a thought that a chat template opens.
        chat_template_kwargs: dior, generative: further variables for the chat template.
        compile: dior, generative: compile norms and feed-forward networks.
        family: instruct: one of the known families, where the model does not say by itself of which it is.
        instruction: instruct: the wording of the instruction about {c}, or a mapping of fields of a record.
        pooling: instruct: "last" or "mean"; None is the family's.
        text_encoder: generative: a hub id or directory that sentence-transformers reads, or "minilm", which needs no
            network; None is the paper's.
        text_encoder_dtype: generative: None is the model's.
        text_encoder_revision: generative: the encoder's branch, tag or commit on the hub.
        encoded_text: generative: "answer", or "chat", the prompt and the answer.
        words: indirect, clay: what varies in a condition: a mapping from condition to words, or words for all
            conditions; a sequence, "red,blue,...", or a file of them.
        components: indirect, clay: dimensions of the map; None is 128 for indirect, and what the words ask for in clay.
        solver: indirect: "adam" as the paper, or "svd", its closed form.
        seed: indirect: of the paper's random start.
        size: pixels: cells on a side.
        registered: Options of a method that was registered from outside.

    Returns:
        An embedder: `encode` turns images into vectors.

    Raises:
        ModelError: the model cannot be found or loaded, or is not of the method's kind.
        UnknownOptionError: an unknown option, or one that the method does not take; the message lists those that it
            knows.
    """
    given = {**locals(), **registered}
    defaults: dict[str, Any] = load.__kwdefaults__ or {}
    names = [name for name in defaults if name != "method"]
    own = [option for each in METHODS.values() for option in each.options if option not in names]
    _refuse(registered.keys() - set(own), "unknown option", [*names, *own])
    options = {name: given[name] for name in (*names, *registered) if _differs(given[name], defaults.get(name))}
    if method is not None and method not in METHODS:
        raise OptionError(f"unknown method {method!r}; known: {', '.join(METHODS)}")
    entry = METHODS.get(method or model)
    if entry is not None and entry.model_family is None:
        _check_options(entry, options, ())
        embedder: Embedder = entry.implementing_class(**options)
        return embedder

    from ..models.checkpoint import Checkpoint

    find = [name for name, one in inspect.signature(Checkpoint.find).parameters.items() if one.kind is one.KEYWORD_ONLY]
    if entry is not None and method is not None:  # before the model is looked for
        _check_options(entry, options, find)
    checkpoint = Checkpoint.find(model, **{name: options.pop(name) for name in find if name in options})
    entry = _entry_for(checkpoint, method)
    _check_options(entry, options, find)
    loaded: Embedder = entry.implementing_class.from_checkpoint(checkpoint, **options)
    return loaded


def with_method(embedder: "Embedder", method: str, **options: Any) -> "Embedder":
    """Another method with the model of an embedder, which is not loaded again.

    Args:
        embedder: What `load` gave.
        method: One of those that the model allows (`supported_methods`).
        options: The method's own; what concerns the model (`device`, `image_max_size`, ...) is the embedder's.
    """
    backbone: Any = embedder.backbone
    if backbone.method == method:
        return embedder.backbone
    entry = _entry_for(backbone.checkpoint, method)
    if entry.backbone != backbone.method:
        raise ModelError(
            f"{method} does not stand on a model that {backbone.method} has loaded: "
            f"load({backbone.model!r}, method={method!r})"
        )
    _refuse(options.keys() - set(entry.options), f"with this model at hand, {method} does not take", entry.options)
    another: Embedder = entry.implementing_class.from_checkpoint(backbone.checkpoint, backbone=backbone, **options)
    return another


def supported_methods(model: str, **options: Any) -> tuple[str, ...]:
    """The methods that can use a model, the one that it is for first; its config decides, no weights are read.

    Args:
        model: As for `load`.
        options: Of `Checkpoint.find`, as for `load`.

    Raises:
        ModelError: the model cannot be found, or is for none of them.
    """
    if model in METHODS and METHODS[model].model_family is None:
        return (model,)
    from ..models.checkpoint import Checkpoint

    return _methods_for(Checkpoint.find(model, **options))


def model_family(config: Any) -> str | None:
    """What a model with this config is, of `registry.FAMILIES`, as transformers' public mappings classify it."""
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
        return DUAL_ENCODER
    remote = getattr(config, "auto_map", None) or {}
    if generative is not None or "AutoModelForImageTextToText" in remote:
        return LVLM
    # Dual encoders that transformers lists under no task, such as VisionTextDualEncoder.
    base = MODEL_MAPPING.get(type(config), None)
    both = hasattr(base, "get_image_features") and hasattr(base, "get_text_features")
    return DUAL_ENCODER if both else None


def _entry_for(checkpoint: "Checkpoint", method: str | None) -> Method:
    """The method's entry; it must be one that the model's config allows."""
    methods = _methods_for(checkpoint)
    if method == INSTRUCT and model_family(checkpoint.config) == LVLM:
        return METHODS[method]  # which says by itself what it lacks
    if method is not None and method not in methods:
        raise ModelError(
            f"{_described(checkpoint)}, which {method} cannot use; use method {' or '.join(methods)}, or another model"
        )
    return METHODS[method or methods[0]]


def _methods_for(checkpoint: "Checkpoint") -> tuple[str, ...]:
    family = model_family(checkpoint.config)
    if family is None:
        raise ModelError(f"{_described(checkpoint)}: neither an {FAMILIES[LVLM]} nor a {FAMILIES[DUAL_ENCODER]}")
    from ..models.instructed import known_family

    known = family == LVLM and (
        known_family(checkpoint.name, checkpoint.config) is not None
        or checkpoint.files.file("modules.json") is not None
    )
    others = tuple(name for name in methods_of(family) if name != INSTRUCT)
    return (INSTRUCT, *others) if known else others


def _described(checkpoint: "Checkpoint") -> str:
    return f"{checkpoint.name} is a {checkpoint.config.model_type} model"


def _differs(value: Any, default: Any) -> bool:
    return value is not default and (type(value) is not type(default) or value != default)


def _check_options(entry: Method, options: Mapping[str, Any], of_model: Sequence[str]) -> None:
    known = [*of_model, *dict.fromkeys((*OF_IMAGES, *entry.backbone_options, *entry.options))]
    _refuse(options.keys() - set(known), f"method {entry.name} does not take", known)


def _refuse(names: Iterable[str], what: str, known: Iterable[str]) -> None:
    if unknown := sorted(names):
        raise UnknownOptionError(f"{what} {', '.join(unknown)}; known here: {', '.join(known)}")


def __getattr__(name: str) -> Any:
    if name == "Embedder":
        from .embedder import Embedder

        return Embedder
    if name == "load_for":
        from .bound import load_for

        return load_for
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
