"""The benchmarks, one module each: what it is (`DESCRIPTION`) and how its files are read (`find`).

Every module checks what it reads: a benchmark that `get` returns is complete in itself, each image with all its labels.
"""

from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from ..errors import DatasetError
from .benchmark import Aspect, Benchmark, Description

__all__ = ["NAMES", "Aspect", "Benchmark", "Description", "describe", "get"]

NAMES = ("synthetic_cars",)


def get(name: str, directory: Path | str = "./datasets") -> Benchmark:
    """The benchmark `name` (hyphens or underscores), read from `directory`/`name`.

    Raises:
        DatasetError: an unknown name (the message lists the known), or files that are missing, incomplete or broken.
    """
    benchmark: Benchmark = _module(name).find(Path(directory))
    return benchmark


def describe() -> list[dict[str, Any]]:
    """All benchmarks, known without their files: `{name, aspects, images, where}` of each."""
    descriptions: list[Description] = [_module(name).DESCRIPTION for name in NAMES]
    return [
        {
            "name": description.name,
            "aspects": [aspect.name for aspect in description.aspects],
            "images": description.images,
            "where": description.where,
        }
        for description in descriptions
    ]


def _module(name: str) -> ModuleType:
    module = name.strip().lower().replace("-", "_")
    if module not in NAMES:
        raise DatasetError(f"unknown dataset {name!r}; known: {', '.join(NAMES)}")
    return import_module(f".{module}", __name__)
