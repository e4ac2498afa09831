"""How well vectors tell labels apart: MAP@R and Precision@1 of retrieval, AMI and NMI of clustering (paper, "Metrics").

The figures are `pytorch_metric_learning`'s. Vectors and labels are joined by image id; one without the other is an
error.
"""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import datasets
from .errors import EvaluationError, some

if TYPE_CHECKING:
    from .settings import Setting
    from .store import Store

METRICS = ("cosine", "euclidean")

# faiss's own k-means seed, said aloud: the figures are those of AccuracyCalculator's defaults, on every run the same.
KMEANS_SEED = 1234

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Figures of one set of vectors against one set of labels, as fractions; `metric` says which distance was used."""

    map_at_r: float
    precision_at_1: float
    ami: float
    nmi: float
    metric: str


def scores(vectors: ArrayLike, labels: Sequence[str], *, metric: str = "cosine") -> Scores:
    """Score vectors against labels; every vector is a query against all the others.

    A query whose label nobody shares has nothing to find: it is left out of MAP@R and Precision@1 (with a warning), and
    stays in the gallery. The k-means behind AMI and NMI has as many clusters as there are labels and a fixed seed.

    Args:
        vectors: (n, d).
        labels: n labels.
        metric: "euclidean", as the paper, on the vectors as they are; "cosine" is the same on vectors of unit length.

    Raises:
        EvaluationError: as many labels as vectors are needed, all numbers finite, two labels at least, and one label at
            least that two vectors share.
    """
    values = np.ascontiguousarray(vectors, dtype=np.float32)
    _check(values, labels, metric)
    if metric == "cosine":
        values = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)

    import torch
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
    from pytorch_metric_learning.utils.inference import FaissKMeans

    calculator = AccuracyCalculator(
        include=("mean_average_precision_at_r", "precision_at_1", "AMI", "NMI"),
        k="max_bin_count",  # no further than the largest R: MAP@R looks at no more
        device=torch.device("cpu"),
        # min_points_per_centroid only silences faiss, which would like more images a label than benchmarks have.
        kmeans_func=FaissKMeans(niter=20, seed=KMEANS_SEED, min_points_per_centroid=1),
    )
    _, numbers = np.unique(np.asarray(labels, dtype=str), return_inverse=True)
    figures = calculator.get_accuracy(torch.from_numpy(values), torch.from_numpy(numbers))
    return Scores(
        map_at_r=float(figures["mean_average_precision_at_r"]),
        precision_at_1=float(figures["precision_at_1"]),
        ami=float(figures["AMI"]),
        nmi=float(figures["NMI"]),
        metric=metric,
    )


def evaluate(
    store: "Store",
    pattern: str = "*",
    *,
    metric: str = "cosine",
    all_aspects: bool = False,
    datasets_dir: Path | str | None = None,
) -> list[dict[str, Any]]:
    """Score the benchmarks' settings in a store, in the order of their names.

    A setting whose condition is one of its benchmark's aspects is scored on that aspect; any other (no condition, or
    words of one's own) on all aspects.

    Args:
        store: Where the vectors are.
        pattern: Glob over the settings' names, such as "synthetic_cars-*".
        metric: "cosine" or "euclidean" (as the paper); see `scores`.
        all_aspects: Score every setting on every aspect.
        datasets_dir: The directory of the benchmarks' directories; by default where each was when it was embedded.

    Returns:
        One row a setting and aspect: `{method, model, setting, dataset, condition, aspect, map_at_r, precision_at_1,
        ami, nmi, metric}`; scores are fractions, and None is "no condition".

    Raises:
        EvaluationError: nothing matches, or vectors and labels do not belong together.
        DatasetError: a benchmark's labels cannot be found or read.
    """
    _check_metric(metric)
    found = store.settings(pattern)
    settings = [setting for setting in found if setting.source is None and setting.dataset in datasets.NAMES]
    if not settings:
        raise EvaluationError(_nothing_to_score(pattern, found, store.settings()))
    for setting in found:
        if setting not in settings:
            logger.warning("%s is not scored: its images have no labels (no benchmark)", setting.name)
    return evaluate_settings(store, settings, metric=metric, all_aspects=all_aspects, datasets_dir=datasets_dir)


def evaluate_settings(
    store: "Store",
    settings: Sequence["Setting"],
    *,
    metric: str = "cosine",
    all_aspects: bool = False,
    datasets_dir: Path | str | None = None,
) -> list[dict[str, Any]]:
    """`evaluate` for settings of benchmarks in the order given."""
    benchmarks: dict[tuple[str, str], datasets.Benchmark] = {}
    rows = []
    for setting in settings:
        directory = str(datasets_dir or store.source_root(setting) or "./datasets")
        place = (setting.dataset, directory)
        benchmark = benchmarks.get(place) or benchmarks.setdefault(place, datasets.get(*place))
        own = [aspect for aspect in benchmark.aspects if aspect.condition == setting.condition]
        image_ids, vectors = store.read(setting)
        for aspect in benchmark.aspects if all_aspects or not own else own:
            joined, labels = _join(setting, image_ids, vectors, benchmark.labels[aspect])
            rows.append(
                {
                    "method": setting.method,
                    "model": setting.model + (" (random weights)" if setting.extra.get("random_weights") else ""),
                    "setting": setting.name,
                    "dataset": setting.dataset,
                    "condition": setting.condition,
                    "aspect": aspect.name,
                    **asdict(scores(joined, labels, metric=metric)),
                }
            )
    return rows


def format_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of `evaluate` as text: a table a dataset, a line a setting, a column an aspect; MAP@R / Precision@1 in %."""
    tables = []
    for dataset, metric in dict.fromkeys((row["dataset"], row["metric"]) for row in rows):
        cells = {
            (row["setting"], row["aspect"]): f"{100 * row['map_at_r']:.1f} / {100 * row['precision_at_1']:.1f}"
            for row in rows
            if (row["dataset"], row["metric"]) == (dataset, metric)
        }
        names = _line_names([row for row in rows if (row["setting"], row["aspect"]) in cells])
        aspects = list(dict.fromkeys(aspect for _, aspect in cells))
        lines = [
            [*heading, *(cells.get((setting, aspect), "") for aspect in aspects)] for setting, heading in names.items()
        ]
        title = f"{dataset}: MAP@R / Precision@1 in %, {metric} distance"
        tables.append(f"{title}\n{_aligned([['method', 'model', 'condition', *aspects], *lines], left=3)}")
    return "\n\n".join(tables)


def _line_names(rows: Sequence[Mapping[str, Any]]) -> dict[str, tuple[str, str, str]]:
    """Setting to (method, model, condition); where two settings share these, a setting's name stands for its model."""
    names = {row["setting"]: (row["method"], row["model"], row["condition"] or "(none)") for row in rows}
    seen = Counter(names.values())
    return {setting: name if seen[name] == 1 else (name[0], setting, name[2]) for setting, name in names.items()}


def _aligned(lines: Sequence[Sequence[str]], *, left: int) -> str:
    """Columns of equal width, the first `left` of them flush left."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if index < left else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _check_metric(metric: str) -> None:
    if metric not in METRICS:
        raise ValueError(f"unknown metric {metric!r}; known: {', '.join(METRICS)}")


def _check(vectors: NDArray[np.float32], labels: Sequence[str], metric: str) -> None:
    _check_metric(metric)
    if vectors.ndim != 2 or vectors.shape[1] == 0:
        raise EvaluationError(f"expected vectors of shape (n, d), not {vectors.shape}")
    if len(vectors) != len(labels):
        raise EvaluationError(f"{len(vectors)} vectors but {len(labels)} labels: each vector needs one label")
    if broken := np.flatnonzero(~np.isfinite(vectors).all(axis=1)).tolist():
        raise EvaluationError(f"{len(broken)} vectors hold NaN or infinity: rows {some(broken)}")
    members = Counter(labels)
    if len(members) < 2:
        raise EvaluationError(
            f"{len(vectors)} vectors with {len(members)} label: at least 2 labels are needed to score"
        )
    lone = [label for label, count in members.items() if count == 1]
    if len(lone) == len(members):
        raise EvaluationError(f"each of the {len(lone)} labels is on one image only: no image has another to find")
    if lone:
        logger.warning("%d labels are on one image only; these images are no queries: %s", len(lone), some(lone))


def _join(
    setting: "Setting", image_ids: Sequence[str], vectors: NDArray[np.float32], labels: Mapping[str, str]
) -> tuple[NDArray[np.float32], list[str]]:
    """Vectors and labels of the same images, in the order of the labels, whatever order the store returns."""
    row_of = {image_id: row for row, image_id in enumerate(image_ids)}
    if missing := [image_id for image_id in labels if image_id not in row_of]:
        raise EvaluationError(
            f"{setting.name}: {len(missing)} of {len(labels)} images have no vector: {some(missing)}; "
            "embed the dataset again: a finished job adds what is missing and lists what cannot be read"
        )
    if unlabelled := [image_id for image_id in image_ids if image_id not in labels]:
        raise EvaluationError(
            f"{setting.name}: {len(unlabelled)} of {len(image_ids)} vectors have no label: {some(unlabelled)}; "
            "was the dataset changed after it was embedded? Embed it again into a new database"
        )
    rows = [row_of[image_id] for image_id in labels]
    joined = vectors[rows]
    if broken := [image_ids[row] for row in rows if not np.isfinite(vectors[row]).all()]:
        raise EvaluationError(
            f"{setting.name}: {len(broken)} vectors hold NaN or infinity: {some(broken)}; embed with dtype float32"
        )
    return joined, list(labels.values())


def _nothing_to_score(pattern: str, found: Sequence["Setting"], all_settings: Sequence["Setting"]) -> str:
    if found:
        return (
            f"none of the {len(found)} settings that match {pattern!r} is of a benchmark, so there are no labels; "
            f"benchmarks: {', '.join(datasets.NAMES)}"
        )
    if all_settings:
        return f"no setting matches {pattern!r}; there are: {some([setting.name for setting in all_settings])}"
    return "there are no embeddings here: embed a benchmark first"
