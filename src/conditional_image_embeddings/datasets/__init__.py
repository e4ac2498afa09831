"""The benchmarks, one module each: what it is (`DESCRIPTION`) and how its files are read (`find`).

Every module checks what it reads: a benchmark that `get` returns is complete in itself, each image with all its labels.
Whether it is all that the paper used, `check` says. To embed a benchmark its images are enough: `get_images`.
"""

import logging
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from ..errors import DatasetError
from .benchmark import Aspect, Benchmark, Description

__all__ = [
    "NAMES",
    "Aspect",
    "Benchmark",
    "Check",
    "Description",
    "check",
    "describe",
    "description",
    "get",
    "get_images",
]

logger = logging.getLogger(__name__)

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


def get_images(name: str, directory: Path | str = "./datasets") -> Benchmark:
    """The benchmark `name` for embedding: what `get` returns, or else its images with what labels there are.

    One warning says then why it cannot be scored yet. Images that are known to be no test images are left out; where
    nothing tells which are, all images of the benchmark's folder are taken. They have the ids that they will have when
    their labels are there.

    Raises:
        DatasetError: an unknown name, or no image is there.
    """
    known = description(name)
    try:
        return get(name, directory)
    except DatasetError as error:
        found = _without_labels(name, directory)
        if found is None:
            raise
        count = f"{len(found):,} images" if len(found) == known.images else f"{len(found):,} images of {known.images:,}"
        reason = str(error).removeprefix(f"{known.name}: ")
        logger.warning("%s: %s, which cannot be scored yet: %s", known.name, count, reason)
    return found


def _without_labels(name: str, directory: Path | str) -> Benchmark | None:
    """A benchmark's images, with the labels that some of them have."""
    module, directory = _module(name), Path(directory).expanduser()
    with suppress(DatasetError):
        labelled: Benchmark = module.find(directory, allow_missing=True, keep_unlabelled=True)
        return labelled
    with suppress(DatasetError):
        alone: Benchmark | None = module.find_images(directory)
        return alone
    return None


@dataclass(frozen=True, kw_only=True)
class Check:
    """How much of a benchmark is on disk.

    Attributes:
        name: The benchmark's name.
        root: Where it was found; None where nothing was.
        images: How many images are there to embed, of `of_images` test images that a complete copy has.
        of_images: See `images`.
        labelled: How many of `images` have all their labels.
        labels: Aspect to how many different labels it has.
        missing: What is missing and what to do, in one line; "" where the copy is complete.
    """

    name: str
    root: str | None
    images: int
    of_images: int
    labelled: int
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
        found = _without_labels(name, directory)
    if found and not missing and len(found) != described.images:
        missing = f"a complete copy has {described.images:,} images: {described.where}"
    labels = {aspect.name: of for aspect, of in found.labels.items() if of} if found else {}
    return Check(
        name=described.name,
        root=found.root if found else None,
        images=len(found) if found else 0,
        of_images=described.images,
        labelled=min(map(len, labels.values()), default=0),
        labels={aspect: len(set(of.values())) for aspect, of in labels.items()},
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
