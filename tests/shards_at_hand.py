"""WebDataset shards as several test files write them: a sample's files by its key and their extensions."""

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image


def picture(seed: int) -> bytes:
    """A small PNG, each another."""
    pixels = np.random.default_rng(seed).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def pack(path: Path, files: Mapping[str, bytes | tarfile.TarInfo], *, format: int = tarfile.PAX_FORMAT) -> Path:  # noqa: A002
    """A shard of these files: their bytes, or a member that has none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=format) as archive:
        for name, content in files.items():
            if isinstance(content, tarfile.TarInfo):
                content.name = name
                archive.addfile(content)
            else:
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return path


def samples(number: int, seed: int = 0) -> dict[str, bytes]:
    """So many samples of a picture, a caption and a class."""
    files: dict[str, bytes] = {}
    for index in range(number):
        key = f"{index:04d}"
        files |= {f"{key}.png": picture(seed + index), f"{key}.json": b'{"caption": "a"}', f"{key}.cls": b"7"}
    return files
