"""Images alike, by blocks of exact matrix products: each either leads a group or belongs to the leader most like it.

Going through the images in their order, an image that is alike to no leader before it becomes one. Then each of the
others goes to the leader that it is most alike to. So every image is alike to its leader (chains of likeness do not run
together into one group, as in connected components), and nothing is kept of pairs: where all images are alike, one
leads, and the rest is compared with that one only. (Leader clustering: Hartigan, Clustering Algorithms, 1975, ch. 3.)
At last a group is led by its first image, if the others are alike to that one too.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

ROWS, COLUMNS = 2048, 8192  # a block of similarities has 64 MB
ROUNDING = 1e-6  # of a cosine in float32: images with the same vector are alike at any threshold


def leaders(
    vectors: Sequence[NDArray[np.float32]], thresholds: Sequence[float], *, show_progress_bar: bool | None = None
) -> NDArray[np.intp]:
    """For each image the row of its leader; a leader's own row for itself.

    Args:
        vectors: Unit vectors (n, d) under each condition, rows in the order in which images may lead.
        thresholds: The least cosine under each: two images are alike where they reach all of them.
        show_progress_bar: On stderr; by default where that is a terminal.
    """
    from tqdm.auto import tqdm

    count = len(vectors[0])
    disable = None if show_progress_bar is None else not show_progress_bar
    leading = np.empty(0, np.intp)
    with tqdm(total=2 * count, desc="comparing", unit="image", disable=disable, leave=False) as bar:
        for start in range(0, count, ROWS):
            rows = np.arange(start, min(start + ROWS, count))
            free = rows
            for columns in _parts(leading, COLUMNS):
                free = free[(_margins(vectors, thresholds, free, columns) < 0).all(axis=1)]
            leading = np.concatenate([leading, free[_first(_margins(vectors, thresholds, free, free) >= 0)]])
            bar.update(len(rows))
        led = np.arange(count)
        others = np.setdiff1d(led, leading, assume_unique=True)
        bar.update(len(leading))
        for rows in _parts(others, ROWS):
            best = np.full(len(rows), -np.inf, np.float32)
            for columns in _parts(leading, COLUMNS):
                margins = _margins(vectors, thresholds, rows, columns)
                place = margins.argmax(axis=1)
                found = margins[np.arange(len(rows)), place]
                better = found > best
                led[rows[better]], best[better] = columns[place[better]], found[better]
            bar.update(len(rows))
    return _led_by_first(vectors, thresholds, led)


def cosines_of_pairs(
    vectors: NDArray[np.float32], rows: NDArray[np.intp], others: NDArray[np.intp]
) -> NDArray[np.float32]:
    """Of each row with the other beside it, computed alike wherever they stand."""
    parts = zip(_parts(rows, ROWS), _parts(others, ROWS), strict=True)
    cosines = [np.einsum("ij,ij->i", vectors[part], vectors[other]) for part, other in parts]
    return np.asarray(np.concatenate([np.empty(0, np.float32), *cosines]).clip(-1, 1))


def _margins(
    vectors: Sequence[NDArray[np.float32]],
    thresholds: Sequence[float],
    rows: NDArray[np.intp],
    columns: NDArray[np.intp],
) -> NDArray[np.float32]:
    """By how much each pair is above the thresholds, under the condition where that is least: alike from 0 on."""
    least: NDArray[np.float32] = np.full((len(rows), len(columns)), np.inf, np.float32)
    for each, threshold in zip(vectors, thresholds, strict=True):
        margins = each[rows] @ each[columns].T
        margins -= np.float32(threshold - ROUNDING)
        np.minimum(least, margins, out=least)
    return least


def _led_by_first(
    vectors: Sequence[NDArray[np.float32]], thresholds: Sequence[float], led: NDArray[np.intp]
) -> NDArray[np.intp]:
    first = np.arange(len(led))
    np.minimum.at(first, led, np.arange(len(led)))
    rows = np.flatnonzero(first[led] != led)
    alike = np.ones(len(rows), bool)
    for each, threshold in zip(vectors, thresholds, strict=True):
        alike &= cosines_of_pairs(each, rows, first[led[rows]]) >= threshold - ROUNDING
    first[led[rows[~alike]]] = led[rows[~alike]]  # it stays as it is
    return np.asarray(first[led])


def _first(alike: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Rows that are alike to no such row before them."""
    chosen: list[int] = []
    covered = np.zeros(len(alike), bool)
    for row in range(len(alike)):
        if not covered[row]:
            chosen.append(row)
            covered |= alike[row]
    return np.array(chosen, np.intp)


def _parts(rows: NDArray[np.intp], size: int) -> list[NDArray[np.intp]]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]
