"""Bounds on what a model's own files may ask for, held against what is there before anything is built.

A config of two hundred bytes can ask for a million layers, and a processor's for a billion image tokens. What a model
would allocate is counted on torch's meta device, which holds no numbers, and compared with the weights on disk.
"""

import copy
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

# A base model saved without its head, or weights that were tied, lack at most as much as is there.
ELEMENTS_PER_BYTE = 2
ELEMENTS_PER_QUANTIZED_BYTE = 16  # two bits each
TENSORS_PER_TENSOR = 16  # a fused one may be split, and layers have buffers
SPARE_ELEMENTS, SPARE_TENSORS = 2**24, 2**12  # tables of positions and the like, which no file holds

# What lists and dictionaries are made of as soon as a config is read, by the ends of the fields' names.
MOST_LAYERS = 10_000
LAYERS = re.compile(r"(layers?|depths?|blocks?|num_labels)$")

# An image processor's fields by the ends of their names, and the most that any published model has a use for.
PROCESSOR = (
    (re.compile(r"(height|width|pinpoints|tile_size|image_size|crop_size|pad_size|scale_resolution)$"), 2**13),
    (re.compile(r"(_pixels|_area)$"), 2**26),
    (re.compile(r"(seq_len|seq_length|num_image_tokens|num_query_tokens|_tokens)$"), 2**16),
    (re.compile(r"(patches|tiles|crops|splits|max_num|slice_nums|merge_size|patch_size|frames|factor)$"), 2**14),
)
# An adapter's fields that are no sizes: scales, seeds, steps of its training, tokens.
NO_SIZE = re.compile(r"alpha|seed|prng|indices|token|step|tinit|tfinal|delta|warmup|interval|lambda")
LEAST_RANK = 2**12  # what is below that takes no memory worth a word
EDGES = re.compile(r"(longest|shortest)_edge$")
MOST_EDGE, MOST_PIXELS = 2**13, 2**26


def check_counts(name: str, config: Mapping[str, Any]) -> None:
    """Refuse a config that only to read would take all memory.

    Args:
        name: The model's.
        config: What its `config.json` holds.

    Raises:
        ModelError: a count of layers or labels is beyond any model's.
    """
    for field, value in _integers(config):
        if value > MOST_LAYERS and LAYERS.search(field):
            raise ModelError(_too_many(name, "config.json", field, value, MOST_LAYERS))


def check_size(name: str, build: Callable[..., Any], config: "PreTrainedConfig", weights: Sequence[Path] = ()) -> None:
    """Refuse a config that describes another, larger model than the weights are of.

    Args:
        name: The model's.
        build: Makes the model of a config, without its weights.
        config: Its config.
        weights: The files of its weights. None where they are to be drawn: the machine's memory is the bound.

    Raises:
        ModelError: it would have far more parameters, or far more tensors, than the files hold.
    """
    from safetensors import safe_open

    if weights:
        quantized = getattr(config, "quantization_config", None)
        size = sum(file.stat().st_size for file in weights)
        elements = size * (ELEMENTS_PER_QUANTIZED_BYTE if quantized else ELEMENTS_PER_BYTE) + SPARE_ELEMENTS
        tensors = SPARE_TENSORS
        for file in weights:
            with safe_open(file, framework="pt") as opened:
                tensors += TENSORS_PER_TENSOR * len(opened.keys())
        there = f"the {size:,} bytes of weights beside it"
    else:
        from .suggestion import GIB, memory

        elements, tensors = int(memory()[1] * GIB) // 4, 2**17  # numbers are drawn in float32
        there = "this machine's memory"
    if _exceeds(partial(build, copy.deepcopy(config)), elements, tensors):
        raise ModelError(
            f"model {name!r}: its config.json asks for far more than {there}: it is of another model, or damaged; "
            "fetch the model again"
        )


def check_processor(name: str, processor: Any) -> None:
    """Refuse a processor that would blow an image up, or its prompt, beyond all use.

    Raises:
        ModelError: a size or a number of tokens is beyond any model's.
    """
    images = getattr(processor, "image_processor", processor)
    edge = MOST_PIXELS if _edges_are_areas(images) else MOST_EDGE
    fields = processor.to_dict()
    if "image_processor" in fields:  # beside it may be parts for video and sound, which no image meets
        fields = {key: each for key, each in fields.items() if key == "image_processor" or isinstance(each, int)}
    for field, value in _integers(fields):
        found = [most for pattern, most in PROCESSOR if pattern.search(field)]
        if EDGES.search(field):
            found.append(edge)
        most = min(found, default=MOST_PIXELS)
        if value > most:
            raise ModelError(_too_many(name, "processor", field, value, most))


def check_adapter(name: str, config: Mapping[str, Any], weights: Path) -> None:
    """Refuse an adapter whose config describes larger weights than it has.

    Args:
        name: The adapter's.
        config: What its `adapter_config.json` holds.
        weights: Its safetensors file.

    Raises:
        ModelError: a rank, or another size, is beyond every dimension of its weights.
    """
    from safetensors import safe_open

    with safe_open(weights, framework="pt") as opened:
        shapes = [opened.get_slice(key).get_shape() for key in opened.keys()]  # noqa: SIM118 - it is no dict
    most = max([LEAST_RANK, *(side for shape in shapes for side in shape)])
    for field, value in _integers(config):
        if value > most and not NO_SIZE.search(field):
            raise ModelError(
                f"adapter {name!r}: its adapter_config.json asks for {field} = {value:,}, and its weights have no side "
                f"longer than {most:,}: the file is damaged; fetch the adapter again"
            )


def _edges_are_areas(images: Any) -> bool:
    """Whether what an image processor calls an edge is a number of pixels, as in Qwen2-VL's and its relatives'.

    They share a function of that name, and nothing that they declare. Of a model's own code nothing is known.
    """
    modules = [sys.modules.get(kind.__module__) for kind in type(images).__mro__]
    own_code = not type(images).__module__.startswith("transformers.")
    return own_code or any(hasattr(module, "smart_resize") for module in modules)


def _exceeds(build: Callable[[], Any], elements: int, tensors: int) -> bool:
    """Whether a model has more elements or tensors than these: it is given up as soon as it has."""
    import torch
    from torch.overrides import TorchFunctionMode

    class Counter(TorchFunctionMode):
        """Adds up what is made, in this thread only."""

        elements = tensors = 0

        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            made = func(*args, **(kwargs or {}))
            if isinstance(made, torch.Tensor):
                self.elements += made.numel()
                self.tensors += 1
                if self.elements > elements or self.tensors > tensors:
                    raise _TooLargeError
            return made

    try:
        with torch.device("meta"), Counter():
            build()
    except _TooLargeError:
        return True
    except Exception:  # noqa: BLE001 - what cannot be built at all says so when it is loaded
        return False
    return False


class _TooLargeError(Exception):
    """More than there is to load."""


def _integers(value: Any, field: str = "") -> Iterator[tuple[str, int]]:
    """Each integer with the names that lead to it, such as `text_config.num_hidden_layers`."""
    if isinstance(value, Mapping):
        for key in value:
            yield from _integers(value[key], f"{field}.{key}".lstrip("."))
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _integers(each, field)
    elif isinstance(value, int) and not isinstance(value, bool):
        yield field, value


def _too_many(name: str, file: str, field: str, value: int, most: int) -> str:
    return (
        f"model {name!r}: its {file} asks for {field} = {value:,}, and more than {most:,} no model has a use for: "
        "the file is damaged; fetch the model again"
    )
