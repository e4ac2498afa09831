"""What stands for a local model in a setting: a fingerprint of every file that loading it reads."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from .weights import is_inside

LARGE = 2**24  # bytes; of safetensors files larger than that, samples count
SAMPLE = 4096  # bytes read in the middle of each tensor
SUFFIXES = {
    *(".safetensors", ".json", ".jinja", ".txt", ".model", ".py"),
    *(".codes", ".tiktoken", ".spm", ".bpe", ".vocab"),  # other tokenizers' vocabularies
}
TEMPLATES = "additional_chat_templates"


def fingerprint(directory: Path) -> str:
    """16 hexadecimal digits that stand for a local model's files: the same for copies, another for other weights.

    They are the folder's own files, and those below it that loading reads too: weights that an index names, and
    further chat templates. Small files count whole. Of a large safetensors file count its header and a piece from the
    middle of every tensor, so that a 16 GB model takes some hundred short reads.
    """
    digest = hashlib.sha256()
    if not directory.is_dir():
        return digest.hexdigest()[:16]  # loading will say so
    for name, file in _files(directory):
        size = file.stat().st_size
        digest.update(f"{name}\0{size}\0".encode())
        if file.suffix == ".safetensors" and size > LARGE:
            for piece in _samples(file):
                digest.update(piece)
        else:
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _files(directory: Path) -> Iterator[tuple[str, Path]]:
    """The files by their names in the folder: its own first, so that a folder without others keeps its fingerprint."""
    own = [file for file in sorted(directory.iterdir()) if file.suffix in SUFFIXES and file.is_file()]
    yield from ((file.name, file) for file in own)
    below = {f"{TEMPLATES}/{file.name}" for file in directory.glob(f"{TEMPLATES}/*.jinja")}
    indices = [file for file in own if file.name.endswith(".index.json")]
    if (named := _read(directory / "config.json").get("transformers_weights")) and isinstance(named, str):
        below.add(named)
        indices += [directory / named] if named.endswith(".index.json") else []
    for index in indices:
        shards = _read(index).get("weight_map")
        below |= {str(each) for each in shards.values()} if isinstance(shards, dict) else set()
    for name in sorted(below):
        file = directory / name
        # What lies elsewhere is refused when it is loaded, and not read here either.
        allowed = name.startswith(TEMPLATES) or is_inside(name.removesuffix(".index.json"))
        if allowed and file not in own and file.is_file():
            yield name, file


def _read(path: Path) -> dict[str, object]:
    """What a JSON file holds; nothing if it is damaged: loading will say so."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _samples(path: Path) -> Iterator[bytes]:
    """A safetensors file's header and the middle of each of its tensors."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = file.read(min(length, 2**26))
        yield header
        try:
            tensors = [entry["data_offsets"] for key, entry in json.loads(header).items() if key != "__metadata__"]
        except (ValueError, TypeError, KeyError, AttributeError):
            return  # damaged: loading will say so
        for begin, end in sorted(tensors):
            file.seek(8 + length + max(begin, (begin + end - SAMPLE) // 2))
            yield file.read(min(SAMPLE, end - begin))
