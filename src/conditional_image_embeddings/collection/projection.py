"""Vectors on a plane: principal components, or UMAP on the first of them; in bounded memory.

UMAP starts from the first two components (Kobak & Linderman, "Initialization is critical for preserving global data
structure in both t-SNE and UMAP", 2021), and has a seed: the same vectors in the same order have the same places.
"""

import tempfile
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import OptionError, require

Method = Literal["umap", "pca"]

NEIGHBORS = 15  # that UMAP looks at; with no more images than these it has nothing to tell
UMAP_COMPONENTS = 50
APART = 0.5  # UMAP's `min_dist`: with its default of .1 a group is a dot, whose images nobody can tell apart
MOST_BY_UMAP = 100_000  # images, unless it is asked for: they take 100 s of processor time (docs/python.md)
BLOCK = 1024

_one_at_a_time = threading.Lock()  # numba's own threads end the process where two fit at once


@contextmanager
def matrix(
    parts: Iterable[tuple[Any, NDArray[np.float32]]], rows: int, folder: Path | None
) -> Iterator[NDArray[np.float32]]:
    """Vectors (n, d) in a file of a folder, for as long as the block runs.

    Args:
        parts: Which rows, as an array or a slice, and their vectors.
        rows: How many rows there are; those that no part names are zeros.
        folder: Where the file is, which has no name and is gone with the block; None is the system's for such files.
    """
    with tempfile.TemporaryFile(dir=folder) as file:
        values = np.empty((0, 0), np.float32)
        for place, part in parts:
            if not values.size and len(part):
                values = np.memmap(file, np.float32, "w+", shape=(rows, part.shape[1]))
            if len(part):
                values[place] = part
        yield values


def preferred(count: int, method: Method | None) -> str:
    """How so many images are to be placed: "UMAP" or "PCA".

    Args:
        count: Of images. Of a few, principal components say all.
        method: "umap", "pca", or None: UMAP where it is installed and takes minutes at most.

    Raises:
        OptionError: an unknown method.
        ExtraError: "umap", and it is not installed.
    """
    if method not in {"umap", "pca", None}:
        raise OptionError(f"method is {method!r}; it is 'umap', 'pca' or None")
    if method == "umap":
        require("umap", "a map by UMAP")
    if method == "pca" or count <= NEIGHBORS or find_spec("umap") is None:
        return "PCA"
    return "UMAP" if method == "umap" or count <= MOST_BY_UMAP else "PCA"


def plane(values: NDArray[np.float32], made_by: str, *, show_progress_bar: bool | None = None) -> NDArray[np.float32]:
    """Coordinates (n, 2), float32, of unit vectors (n, d).

    Args:
        values: The vectors; they may lie in a file.
        made_by: "UMAP" or "PCA", see `preferred`.
        show_progress_bar: On stderr; None shows it on a terminal only.
    """
    if made_by == "PCA":
        return principal_components(values, 2)
    reduced = principal_components(values, UMAP_COMPONENTS)
    if not reduced[:, 1].any():  # they lie on a line, which is a map already
        return reduced[:, :2]
    disable = None if show_progress_bar is None else not show_progress_bar
    with _one_at_a_time:
        umap = import_module("umap")
        fitted = umap.UMAP(
            n_neighbors=NEIGHBORS, min_dist=APART, init=reduced[:, :2], random_state=42, n_jobs=1,
            tqdm_kwds={"disable": disable, "desc": "UMAP", "leave": False},
        )  # fmt: skip
        # In a thread of its own: numba sets the number of OpenMP's threads for the one that it runs in, for good, and a
        # model that computes there with more threads than before gives other last digits.
        with ThreadPoolExecutor(1) as alone:
            placed: NDArray[np.float32] = alone.submit(fitted.fit_transform, reduced).result()
    return placed.astype(np.float32)


def principal_components(values: NDArray[np.float32], number: int) -> NDArray[np.float32]:
    """The coordinates of vectors (n, d) along their strongest directions, float32 (n, number), signs fixed."""
    dimensions = values.shape[1]
    total, outer = np.zeros(dimensions), np.zeros((dimensions, dimensions))
    for block in _blocks(values):
        exact = block.astype(np.float64)
        total += exact.sum(axis=0)
        outer += exact.T @ exact
    mean = total / len(values)
    _, directions = np.linalg.eigh(outer / len(values) - np.outer(mean, mean))
    strongest = directions[:, ::-1][:, :number]
    strongest = strongest * np.sign(strongest[np.abs(strongest).argmax(axis=0), np.arange(strongest.shape[1])])
    found = np.zeros((len(values), number), np.float32)
    for start, block in zip(range(0, len(values), BLOCK), _blocks(values), strict=True):
        found[start : start + len(block), : strongest.shape[1]] = (block - mean) @ strongest
    return found


def _blocks(values: NDArray[Any]) -> Iterator[NDArray[Any]]:
    for start in range(0, len(values), BLOCK):
        yield np.asarray(values[start : start + BLOCK])
