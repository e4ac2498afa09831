"""Exact retrieval by blocks of queries: what each query scores among all the other vectors, and how sure the means are.

Only a block's neighbours are held at a time, and of these no more than its labels have members, so that memory stays
near the vectors' own. The search is faiss's, as in `pytorch_metric_learning`; the formulas are those of Musgrave et al.
(ECCV 2020).
"""

import numpy as np
from numpy.typing import NDArray

FIGURES = ("map_at_r", "precision_at_1", "r_precision")

# faiss multiplies 4096 queries at a time; a block's neighbours are to fit in a few hundred megabytes.
MOST_QUERIES = 4096
MOST_NEIGHBOURS = 2**24


def per_query(
    vectors: NDArray[np.float32],
    labels: NDArray[np.integer],
    *,
    block: int | None = None,
    show_progress_bar: bool | None = None,
) -> NDArray[np.float64]:
    """MAP@R, Precision@1 and R-Precision of each query, by Euclidean distance to all the other vectors.

    Args:
        vectors: float32 (n, d), contiguous.
        labels: (n,), numbers from 0.
        block: How many queries to search at a time; by default as many as memory allows. It does not change the scores.
        show_progress_bar: On stderr; by default where that is a terminal.

    Returns:
        (q, 3), the columns `FIGURES`: the queries in their order, without those whose label no other vector has.
    """
    import faiss
    from tqdm.auto import tqdm

    others = np.bincount(labels)[labels] - 1  # R of each vector: how many there are to find
    queries = np.flatnonzero(others)
    # Queries of rare labels first, so that only blocks of frequent labels look far.
    queue = queries[np.argsort(others[queries], kind="stable")]
    found = np.empty((len(labels), len(FIGURES)))
    disable = None if show_progress_bar is None else not show_progress_bar
    with tqdm(total=len(queue), desc="searching", unit="query", disable=disable, leave=False) as bar:
        while len(queue):
            rows = queue[: block or MOST_QUERIES]
            if block is None:
                rows = rows[: max(1, MOST_NEIGHBOURS // int(others[rows[-1]] + 1))]
            _, nearest = faiss.knn(vectors[rows], vectors, int(others[rows[-1]]) + 1)
            found[rows] = _scores(_without_self(nearest, rows), labels, rows, others[rows])
            queue = queue[len(rows) :]
            bar.update(len(rows))
    return found[queries]


def intervals(per_query: NDArray[np.float64], *, samples: int, seed: int) -> NDArray[np.float64]:
    """95 % bootstrap intervals of the columns' means: percentiles over resampled queries; the gallery stays as it is.

    Args:
        per_query: (q, figures).
        samples: How many times q queries are drawn with replacement.
        seed: Of the draws; the same for settings that are compared, so that they meet the same queries.

    Returns:
        (2, figures): the lower and upper ends.
    """
    rng = np.random.default_rng(seed)
    count = len(per_query)
    means = [per_query[rng.integers(count, size=count)].mean(axis=0) for _ in range(samples)]
    ends: NDArray[np.float64] = np.percentile(means, [2.5, 97.5], axis=0)
    return ends


def _without_self(nearest: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """The neighbours less the query itself, or less the last where more than k copies of the query hid it."""
    itself = nearest == rows[:, None]
    itself[~itself.any(axis=1), -1] = True
    others: NDArray[np.int64] = nearest[~itself].reshape(len(rows), -1)
    return others


def _scores(
    nearest: NDArray[np.int64], labels: NDArray[np.integer], rows: NDArray[np.int64], r: NDArray[np.int64]
) -> NDArray[np.float64]:
    same = labels[nearest] == labels[rows][:, None]
    rank = np.arange(1, nearest.shape[1] + 1)
    hits = same & (rank <= r[:, None])
    precision = np.cumsum(hits, axis=1, dtype=np.int32) / rank
    return np.stack([(precision * hits).sum(axis=1) / r, same[:, 0], hits.sum(axis=1) / r], axis=1)
