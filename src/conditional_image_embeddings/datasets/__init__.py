"""The benchmarks, one module each: what it is (`DESCRIPTION`) and how its files are read (`find`).

Every module checks what it reads: a benchmark that `get` returns is complete in itself, each image with all its labels.
Whether it is all that the paper used, `check` says.
"""

from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from ..errors import DatasetError
from .benchmark import Aspect, Benchmark, Description

__all__ = ["NAMES", "Aspect", "Benchmark", "Check", "Description", "check", "describe", "description", "get"]

NAMES = ("synthetic_cars", "cars196", "cub200", "movie_posters", "deepfashion")


def get(name: str, directory: Path | str = "./datasets", *, allow_missing: bool = False) -> Benchmark:
    """The benchmark `name` (hyphens or underscores), read from `directory`/`name` or from `directory` itself.

    Args:
        name: One of `NAMES`.
        directory: Where the benchmarks are, or where this one is.
        allow_missing: Leave out images without labels and labels without images, with a warning, instead of refusing.

    Raises:
        DatasetError: an unknown name (the message lists the known), or files that are missing, incomplete or broken.
    """
    benchmark: Benchmark = _module(name).find(Path(directory).expanduser(), allow_missing=allow_missing)
    return benchmark


@dataclass(frozen=True, kw_only=True)
class Check:
    """How much of a benchmark is on disk.

    Attributes:
        name: The benchmark's name.
        root: Where it was found; None where nothing was.
        images: How many test images are there with all their labels, of `of_images` that a complete copy has.
        of_images: See `images`.
        labels: Aspect to how many different labels it has.
        missing: What is missing and what to do, in one line; "" where the copy is complete.
    """

    name: str
    root: str | None
    images: int
    of_images: int
    labels: dict[str, int]
    missing: str

    @property
    def complete(self) -> bool:
        return not self.missing


def check(name: str, directory: Path | str = "./datasets") -> Check:
    """What is on disk of the benchmark `name`, against what a complete copy has; broken files are told, not raised.

    Raises:
        DatasetError: an unknown name.
    """
    described, missing, found = description(name), "", None
    try:
        found = get(name, directory)
    except DatasetError as error:
        missing = str(error)
        with suppress(DatasetError):
            found = get(name, directory, allow_missing=True)
    if found and not missing and len(found) != described.images:
        missing = f"a complete copy has {described.images:,} images: {described.where}"
    return Check(
        name=described.name,
        root=found.root if found else None,
        images=len(found) if found else 0,
        of_images=described.images,
        labels={aspect.name: len(set(labels.values())) for aspect, labels in found.labels.items()} if found else {},
        missing=missing,
    )


def description(name: str) -> Description:
    """What is known of the benchmark `name` without its files.

    Raises:
        DatasetError: an unknown name.
    """
    known: Description = _module(name).DESCRIPTION
    return known


def describe() -> list[dict[str, Any]]:
    """All benchmarks, known without their files: `{name, aspects, images, where}` of each."""
    return [
        {
            "name": each.name,
            "aspects": [aspect.name for aspect in each.aspects],
            "images": each.images,
            "where": each.where,
        }
        for each in map(description, NAMES)
    ]


def _module(name: str) -> ModuleType:
    module = name.strip().lower().replace("-", "_")
    if module not in NAMES:
        raise DatasetError(f"unknown dataset {name!r}; known: {', '.join(NAMES)}")
    return import_module(f".{module}", __name__)
