"""Which files a model's weights are read from: safetensors in the model's own folder, and nothing else.

An index, or a name in the config, may point anywhere: transformers follows it, and reads as a pickle whatever is no
safetensors file. So every name is held against that one rule before transformers sees it.
"""

import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

from ..errors import ModelError

if TYPE_CHECKING:
    from .finding import Location

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json")
DISTRIBUTED = ".metadata"  # of a checkpoint that torch.distributed saved; a pickle


def find_weights(name: str, files: "Location", config: Any, options: Mapping[str, Any]) -> list[Path]:
    """The files that transformers will read the weights from, fetched if they are not here yet.

    Args:
        name: The model's.
        files: Where it is.
        config: Its config; `transformers_weights` in it names other files than the usual ones.
        options: Of `from_pretrained`; `subfolder` and `variant` name other files too.

    Raises:
        ModelError: there are none, some are missing, or one is no safetensors file in the model's folder.
    """
    if "state_dict" in options:  # weights that the caller holds already
        return []
    if options.get("gguf_file"):
        raise ModelError(f"model {name!r}: gguf_file is not loaded: weights come from safetensors only")
    folder = f"{options['subfolder'].strip('/')}/" if options.get("subfolder") else ""
    if files.file(f"{folder}{DISTRIBUTED}") is not None:
        raise ModelError(
            f"model {name!r} is a distributed checkpoint, whose {DISTRIBUTED} is pickled and not loaded: "
            "save it anew with save_pretrained"
        )
    weights, index = (f"{folder}{_variant(each, options.get('variant'))}" for each in (WEIGHTS, INDEX))
    named = getattr(config, "transformers_weights", None)
    if named is not None:
        ending = ".index.json" if str(named).endswith(".safetensors.index.json") else ""
        weights = folder + inside(name, "config.json", str(named).removesuffix(ending)) + ending
    found = None if weights.endswith(".index.json") else files.file(weights)
    if found is not None:
        return [found]
    table = files.json(index if named is None else weights)
    if table is None:
        raise ModelError(_nothing(name, files, weights, index))
    shards = table.get("weight_map")
    if not isinstance(shards, dict) or not shards:
        raise ModelError(f"model {name!r}: its {index} names no weights; fetch it again")
    names = sorted({folder + inside(name, index, each) for each in shards.values()})
    paths = {each: files.file(each) for each in names}
    if absent := [each for each, path in paths.items() if path is None]:
        raise ModelError(
            f"model {name!r} lacks {len(absent)} of its {len(names)} weight files {_where(files)} ({absent[0]} first): "
            "fetch it whole"
        )
    return [path for path in paths.values() if path is not None]


def inside(name: str, source: str, named: Any) -> str:
    """The name of a weight file as a model's own file gives it, if it is one that may be read.

    A link is followed wherever it leads, as the hub's cache links its snapshots to its blobs: who made the folder made
    the link, and what it leads to is read as safetensors all the same.

    Raises:
        ModelError: it is absolute, leads out of the folder, or has another suffix.
    """
    if isinstance(named, str) and is_inside(named):
        return named
    raise ModelError(
        f"model {name!r}: its {source} names {str(named)[:100]!r}, which is no safetensors file in the model's folder, "
        "and no other weights are loaded: fetch the model again, or save it anew with save_pretrained"
    )


def is_inside(named: str) -> bool:
    """Whether this is the name of a safetensors file in the folder, or below it, on any system."""
    paths = (PurePosixPath(named), PureWindowsPath(named))
    return named.endswith(".safetensors") and not any(path.anchor or ".." in path.parts for path in paths)


def check_folder(name: str, folder: Path) -> None:
    """Hold a part of a sentence-transformers model against the rule: they are read by that library.

    Raises:
        ModelError: its weights are pickled, or its index leads out of the folder.
    """
    for index in folder.glob(f"*{INDEX.removeprefix('model')}"):
        table = json.loads(index.read_bytes())
        for each in table.get("weight_map", {}).values():
            inside(name, index.name, each)
    if not any(folder.glob("*.safetensors")) and any(folder.glob(PICKLED[0])):
        raise ModelError(
            f"text encoder {name!r} has pickled weights in {folder.name}, which are not loaded: save it anew with "
            "save_pretrained"
        )


def _variant(file: str, variant: str | None) -> str:
    stem, _, suffix = file.rpartition(".")
    return f"{stem}.{variant}.{suffix}" if variant else file


def _nothing(name: str, files: "Location", weights: str, index: str) -> str:
    if any(map(files.file, PICKLED)):
        return (
            f"model {name!r} has no weights in safetensors (pickled weights are not loaded): "
            "save it anew with save_pretrained"
        )
    return f"model {name!r} has no weights {_where(files)} (no {weights}, no {index}): fetch it whole"


def _where(files: "Location") -> str:
    if files.directory is not None:
        return "in its directory"
    return "on the hub" if files.asks_hub else "in the cache, and the hub was not asked"
