"""K-means on unit vectors, and how many groups there are where nobody says: scikit-learn's, seeded.

Everything is fitted on a sample of bounded size, so that neither time nor memory grows with the collection.
"""

import warnings
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

SEED = 0
STARTS = 10  # where k-means ends depends on where it begins: the best of so many is taken
REDUCED = 64  # principal components in which those starts are made
MOST_GROUPS = 30  # tried where n is not given
SAMPLE_OF_CHOICE = 2000  # vectors, whose distances from one another are all held
SAMPLE, SAMPLE_PER_GROUP = 20_000, 64  # vectors that centres are fitted on
EXACT = 2**22  # vectors times groups: with more of them, k-means goes by batches
WORTH_THREADS = 2**28  # multiplications per step: with fewer, threads wait for one another longer than they compute
SAME = 1e-3  # centres nearer to one another are one: identical images differ by rounding


class Choice(NamedTuple):
    """How many groups, and how well they are apart: the mean silhouette, -1 to 1; NaN of a single group."""

    n: int
    silhouette: float


def choose(vectors: NDArray[np.float32]) -> Choice:
    """The number of groups, up to `MOST_GROUPS`, whose k-means has the highest mean silhouette (Rousseeuw 1987).

    Args:
        vectors: (n, d), at most `SAMPLE_OF_CHOICE` are looked at.
    """
    from sklearn.metrics import silhouette_score

    vectors = vectors[:SAMPLE_OF_CHOICE]
    distances, reduced = _distances(vectors), _reduced(vectors)
    best = Choice(1, float("nan"))
    for n in range(2, min(MOST_GROUPS, len(vectors) - 1) + 1):
        labels = _labels(reduced, n)
        if len(_merged(_means(reduced, labels))) < n:  # there are no more different vectors
            break
        score = float(silhouette_score(distances, labels, metric="precomputed"))
        if not best.silhouette >= score:
            best = Choice(n, score)
    return best


def fit(vectors: NDArray[np.float32], n: int) -> NDArray[np.float64]:
    """The centres of n groups of vectors (m, d), float64 (k, d); k < n where there are fewer different vectors.

    K-means begins many times in the principal components, where it is fast, and ends in all dimensions.
    """
    from sklearn.cluster import KMeans, MiniBatchKMeans

    if len(vectors) * n > EXACT:
        return _merged(
            _run(
                MiniBatchKMeans(n, n_init=1, max_iter=20, batch_size=4096, random_state=SEED), vectors
            ).cluster_centers_
        )
    begun = _means(vectors, _labels(_reduced(vectors), n))
    return _merged(_run(KMeans(len(begun), init=begun, n_init=1), vectors).cluster_centers_)


def squared_distances(vectors: NDArray[np.float32], centres: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each vector (m, d) from each centre (k, d): (m, k), rounded, so that no order of rows shows in them."""
    values = vectors.astype(np.float64)
    products = values @ centres.T
    lengths = np.einsum("ij,ij->i", values, values)[:, None] + np.einsum("ij,ij->i", centres, centres)
    return np.asarray((lengths - 2 * products).round(9))


def nearest(vectors: NDArray[np.float32], centres: NDArray[np.float64]) -> NDArray[np.intp]:
    """The centre of each vector, the first of those that are equally near."""
    return np.asarray(squared_distances(vectors, centres).argmin(axis=1))


def _reduced(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    from sklearn.decomposition import PCA

    if min(vectors.shape) <= REDUCED:
        return vectors
    return np.asarray(PCA(REDUCED, svd_solver="randomized", random_state=SEED).fit_transform(vectors))


def _labels(vectors: NDArray[np.float32], n: int) -> NDArray[np.intp]:
    from sklearn.cluster import KMeans

    return np.asarray(_run(KMeans(n, n_init=STARTS, random_state=SEED), vectors).labels_)


def _run(model: Any, vectors: NDArray[np.float32]) -> Any:
    """The model, fitted."""
    from sklearn.exceptions import ConvergenceWarning

    small = vectors.size * model.n_clusters < WORTH_THREADS
    with threadpool_limits(1 if small else None), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of fewer different vectors than n: that is told by name
        return model.fit(vectors)


def _means(vectors: NDArray[np.float32], labels: NDArray[np.intp]) -> NDArray[np.float32]:
    """Of the vectors (m, d) of each label that there is: (k, d)."""
    return np.stack([vectors[labels == label].mean(axis=0) for label in np.unique(labels)])


def _distances(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.einsum("ij,ij->i", vectors, vectors)
    squared = lengths[:, None] + lengths - 2 * (vectors @ vectors.T)
    np.fill_diagonal(squared, 0)
    return np.asarray(np.sqrt(np.maximum(squared, 0)), np.float32)


def _merged(centres: NDArray[Any]) -> NDArray[np.float64]:
    """One of those that are at the same place."""
    from scipy.sparse.csgraph import connected_components
    from sklearn.neighbors import radius_neighbors_graph

    close = radius_neighbors_graph(centres, SAME, include_self=True)
    _, places = connected_components(close, directed=False)
    return np.asarray(centres[np.unique(places, return_index=True)[1]], np.float64)
