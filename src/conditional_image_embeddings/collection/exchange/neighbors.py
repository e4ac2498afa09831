"""The nearest of each image, exactly: what Embedding Atlas shows beside a map."""

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

NEIGHBORS = 15  # as Embedding Atlas computes by default; an image is its own first
BLOCK = 1024


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
