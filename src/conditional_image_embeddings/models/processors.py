"""A model's processor, and what of it is not there."""

import logging
from collections.abc import Iterable
from typing import Any

from ..errors import ModelError
from .finding import Location
from .limits import check_processor
from .reasons import quiet, single_line_errors

TOKENIZER_FILES = (
    *("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "sentencepiece.bpe.model"),
    *("tekken.json", "tiktoken.model", "vocab.model", "bpe.codes"),
)
IMAGE_PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json", "image_processor_config.json")
PARTS = ("tokenizer", "image_processor", "video_processor", "feature_extractor")
LOADING_OPTIONS = ("use_fast", "backend", "subfolder")  # of `from_pretrained` itself
FEW = 64  # tokens; a vocabulary of pieces of text has at least the 256 bytes, or an alphabet

# Types whose published checkpoints have no chat template: these were trained on bare prompts, or their processors
# write the frame themselves.
WITHOUT_TEMPLATE = {
    *("blip-2", "chameleon", "fuyu", "got_ocr2", "idefics", "instructblip", "kosmos-2.5", "paligemma"),
}

logger = logging.getLogger(__name__)


def is_complete(location: Location) -> bool:
    """Whether a tokenizer and an image processor are there."""
    return not absent_parts(location)


def absent_parts(location: Location) -> list[str]:
    """What is not there: "tokenizer", "image processor", each with the files that would be it."""
    parts = (
        (f"tokenizer (no {', '.join(TOKENIZER_FILES[:3])} or the like)", TOKENIZER_FILES),
        (f"image processor (no {' or '.join(IMAGE_PROCESSOR_FILES[:2])})", IMAGE_PROCESSOR_FILES),
    )
    return [part for part, files in parts if not any(map(location.file, files))]


def load_processor(name: str, location: Location, auto_class: Any, **kwargs: Any) -> Any:
    """The processor, by one of transformers' auto classes.

    Raises:
        ModelError: a part of it is not there, or it cannot be loaded.
    """
    with single_line_errors(name, "its processor", verb="load"), quiet(progress=False):
        try:
            processor = auto_class.from_pretrained(location.path, **location.options, **kwargs)
        except Exception:
            _refuse_incomplete(name, location, auto_class)
            raise
        # Some tokenizers are made without their files, and then know no word.
        tokenizer = getattr(processor, "tokenizer", None)
        if tokenizer is not None and len(tokenizer) < FEW:
            _refuse_incomplete(name, location, auto_class)
        if auto_class.__name__ != "AutoTokenizer":  # a dual encoder's image processor was asked before
            _refuse_unread(name, processor, kwargs)
            check_processor(name, processor)
        return processor


def warn_without_template(name: str, model_type: str, processor: Any) -> None:
    """Say that there is no chat template, where models of this type are published with one."""
    parts = (processor, getattr(processor, "tokenizer", None))
    if model_type not in WITHOUT_TEMPLATE and not any(getattr(part, "chat_template", None) for part in parts):
        logger.warning(
            "%s has no chat template, as %s models have: its prompt is the image and the text alone; "
            "if it was trained to chat, add its chat_template.jinja",
            name,
            model_type,
        )


def _refuse_unread(name: str, processor: Any, options: Iterable[str]) -> None:
    """Refuse options that no part of the processor reads: transformers drops them without a word."""
    parts = [part for each in PARTS if (part := getattr(processor, each, None)) is not None]
    known = set(LOADING_OPTIONS)
    for part in (processor, *parts):
        known |= set(getattr(getattr(part, "valid_kwargs", None), "__annotations__", {}))
    unread = sorted(key for key in set(options) - known if not any(hasattr(part, key) for part in (processor, *parts)))
    if unread:
        images = getattr(processor, "image_processor", processor)
        read = sorted(getattr(getattr(images, "valid_kwargs", None), "__annotations__", {}))
        raise ModelError(
            f"model {name!r}: no part of its processor reads {', '.join(unread)} (processor_kwargs)"
            + (f"; {type(images).__name__} reads {', '.join(read)}" if read else "")
        )


def _refuse_incomplete(name: str, location: Location, auto_class: Any) -> None:
    """Say what is not there, if it is of what this class wants."""
    kind = auto_class.__name__
    absent = [
        part
        for part in absent_parts(location)
        if kind == "AutoProcessor" or part.startswith("tokenizer" if kind == "AutoTokenizer" else "image")
    ]
    if absent:
        where = "in the cache" if location.directory is None and not location.asks_hub else "there"
        raise ModelError(
            f"model {name!r} has no {' and no '.join(absent)} {where}: fetch all its files, "
            "or copy these from the model that it was made of"
        )
