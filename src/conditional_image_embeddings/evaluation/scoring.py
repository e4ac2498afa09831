"""One set of vectors against one set of labels: the five figures, with intervals where they are asked for."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import EvaluationError, OptionError, preview, require
from ..inputs.arguments import checked_count
from ..vectors import unit
from .retrieval import FIGURES, intervals, per_query

METRICS = ("cosine", "euclidean")

# faiss's own k-means seed, said aloud: the figures are those of AccuracyCalculator's defaults, on every run the same.
KMEANS_SEED = 1234
BOOTSTRAP_SEED = 42

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Interval:
    """The ends of a 95 % bootstrap interval."""

    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Figures of one set of vectors against one set of labels, as fractions.

    Attributes:
        ami: None, as `nmi`, where the vectors were not clustered.
        metric: Which distance was used.
        images: How many vectors there were.
        queries: How many of them had another of their label to find.
        labels: How many different labels.
        intervals: Figure to interval, of the retrieval figures; empty without a bootstrap.
    """

    map_at_r: float
    precision_at_1: float
    ami: float | None
    nmi: float | None
    metric: str
    r_precision: float
    images: int
    queries: int
    labels: int
    intervals: Mapping[str, Interval] = field(default_factory=dict)


def scores(
    vectors: ArrayLike,
    labels: Sequence[str],
    *,
    metric: str = "cosine",
    clustering: bool = True,
    bootstrap: int = 0,
    show_progress_bar: bool | None = None,
) -> Scores:
    """Score vectors against labels; every vector is a query against all the others.

    A query whose label nobody shares has nothing to find: it is left out of the retrieval figures (with a warning), and
    stays in the gallery. The k-means behind AMI and NMI has as many clusters as there are labels and a fixed seed.

    Args:
        vectors: (n, d).
        labels: n labels.
        metric: "euclidean", as the paper, on the vectors as they are; "cosine" is the same on vectors of unit length.
        clustering: Whether AMI and NMI are computed too: k-means over all vectors takes its time.
        bootstrap: How many bootstrap samples of the queries give the 95 % intervals; 0 for no intervals.
        show_progress_bar: On stderr; by default where that is a terminal.

    Raises:
        EvaluationError: as many labels as vectors are needed, all numbers finite, two labels at least, and one label at
            least that two vectors share.
    """
    require("eval", "scoring")
    values = np.ascontiguousarray(vectors, dtype=np.float32)
    _check(values, labels, metric)
    bootstrap = checked_count("bootstrap", bootstrap, least=0)
    if metric == "cosine":
        values = unit(values)
    kinds, numbers = np.unique(np.asarray(labels, dtype=str), return_inverse=True)
    found = per_query(values, numbers, show_progress_bar=show_progress_bar)
    ends = intervals(found, samples=bootstrap, seed=BOOTSTRAP_SEED).T.tolist() if bootstrap else []
    ami, nmi = _clustered(values, numbers) if clustering else (None, None)
    return Scores(
        **dict(zip(FIGURES, found.mean(axis=0).tolist(), strict=True)),
        ami=ami,
        nmi=nmi,
        metric=metric,
        images=len(values),
        queries=len(found),
        labels=len(kinds),
        intervals={name: Interval(low=low, high=high) for name, (low, high) in zip(FIGURES, ends, strict=False)},
    )


def check_metric(metric: str) -> None:
    """Raise a ValueError that names the known metrics, unless this is one."""
    if metric not in METRICS:
        raise OptionError(f"unknown metric {metric!r}; known: {', '.join(METRICS)}")


def broken_rows(vectors: NDArray[np.float32]) -> list[int]:
    """The rows that hold NaN or infinity, or are so long that a distance is beyond float32."""
    with np.errstate(over="ignore", invalid="ignore"):
        # The square of the longest distance there can be is four times the square of the longest vector.
        return np.flatnonzero(~np.isfinite(4 * np.einsum("ij,ij->i", vectors, vectors))).tolist()


def _clustered(values: NDArray[np.float32], numbers: NDArray[np.integer]) -> tuple[float, float]:
    """AMI and NMI, by the parts of AccuracyCalculator: as a whole it would copy the vectors several times."""
    import torch
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
    from pytorch_metric_learning.utils.inference import FaissKMeans

    calculator = AccuracyCalculator(
        include=("AMI", "NMI"),
        device=torch.device("cpu"),
        # min_points_per_centroid only silences faiss, which would like more images a label than benchmarks have.
        kmeans_func=FaissKMeans(niter=20, seed=KMEANS_SEED, min_points_per_centroid=1),
    )
    labels = torch.from_numpy(numbers)
    clusters = calculator.get_cluster_labels(torch.from_numpy(values), labels)
    given = {"query_labels": labels, "cluster_labels": clusters}
    return float(calculator.calculate_AMI(**given)), float(calculator.calculate_NMI(**given))


def _check(vectors: NDArray[np.float32], labels: Sequence[str], metric: str) -> None:
    check_metric(metric)
    if vectors.ndim != 2 or vectors.shape[1] == 0:
        raise EvaluationError(f"expected vectors of shape (n, d), not {vectors.shape}")
    if len(vectors) != len(labels):
        raise EvaluationError(f"{len(vectors)} vectors but {len(labels)} labels: each vector needs one label")
    if broken := broken_rows(vectors):
        raise EvaluationError(f"{len(broken)} vectors hold NaN or infinity: rows {preview(broken)}")
    check_labels(labels)
    lone = [label for label, count in Counter(labels).items() if count == 1]
    if lone:
        logger.warning("%d labels are on one image only; these images are no queries: %s", len(lone), preview(lone))


def check_labels(labels: Sequence[str]) -> None:
    """Raise an EvaluationError unless vectors with these labels can be scored."""
    members = Counter(labels)
    if len(members) < 2:
        raise EvaluationError(f"{len(labels)} images with {len(members)} label: at least 2 labels are needed to score")
    if max(members.values()) == 1:
        raise EvaluationError(f"each of the {len(members)} labels is on one image only: no image has another to find")
