"""A collection on a plane, and the nearest of each image: what a map of it needs, in bounded memory.

Principal components of the unit vectors; where umap-learn is installed, UMAP on the first of them.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from ...vectors import unit

NEIGHBORS = 15  # as Embedding Atlas computes by default; an image is its own first
UMAP_COMPONENTS = 50
BLOCK = 1024

Parts = Callable[[], Iterable[NDArray[np.float32]]]


@contextmanager
def matrix(parts: Parts, rows: int, folder: Path) -> Iterator[NDArray[np.float32]]:
    """Unit vectors (n, d), of at most so many rows, in a file of this folder, for as long as the block runs."""
    with tempfile.TemporaryFile(dir=folder) as file:
        values, start = np.empty((0, 0), np.float32), 0
        for part in parts():
            if not start:
                values = np.memmap(file, np.float32, "w+", shape=(rows, part.shape[1]))
            values[start : start + len(part)] = unit(part)
            start += len(part)
        yield values[:start]


def plane(values: NDArray[np.float32]) -> tuple[NDArray[np.float32], str]:
    """Coordinates (n, 2) of unit vectors (n, d), and how they were found: "UMAP" or "PCA"."""
    if find_spec("umap") is None or len(values) <= NEIGHBORS:
        return principal_components(values, 2), "PCA"
    umap = import_module("umap")
    reduced = principal_components(values, UMAP_COMPONENTS)
    placed: NDArray[np.float32] = umap.UMAP(random_state=42, n_neighbors=NEIGHBORS).fit_transform(reduced)
    return placed.astype(np.float32), "UMAP"


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


def neighbors(values: NDArray[np.float32], number: int = NEIGHBORS) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """For each of unit vectors (n, d) the nearest, itself first: their rows and cosine distances, (n, number).

    Exact: every block is compared with every other.
    """
    number = min(number, len(values))
    ids = np.zeros((len(values), number), np.int32)
    distances = np.zeros((len(values), number), np.float32)
    starts = range(0, len(values), BLOCK)
    for start in tqdm(starts, desc="neighbors", disable=None if len(starts) > 8 else True):
        block = np.array(values[start : start + BLOCK])
        best = np.full((len(block), number), np.inf, np.float32)
        found = np.zeros((len(block), number), np.int32)
        for other in range(0, len(values), 8 * BLOCK):
            apart = 1 - block @ values[other : other + 8 * BLOCK].T
            own = np.arange(len(block)) + start - other  # nothing is nearer to an image than itself
            inside = (own >= 0) & (own < apart.shape[1])
            apart[np.flatnonzero(inside), own[inside]] = -1
            nearest = np.argpartition(apart, min(number, apart.shape[1]) - 1, axis=1)[:, :number]
            joined = np.concatenate([best, np.take_along_axis(apart, nearest, 1)], axis=1)
            rows = np.concatenate([found, nearest.astype(np.int32) + other], axis=1)
            order = np.argsort(joined, axis=1, kind="stable")[:, :number]
            best, found = np.take_along_axis(joined, order, 1), np.take_along_axis(rows, order, 1)
        ids[start : start + len(block)] = found
        distances[start : start + len(block)] = np.maximum(best, 0)
    return ids, distances


def _blocks(values: NDArray[Any]) -> Iterator[NDArray[Any]]:
    for start in range(0, len(values), BLOCK):
        yield np.asarray(values[start : start + BLOCK])
