"""Rows of figures, one per setting and aspect.

A row says by itself what it is a figure of: the whole setting, versions, counts.
"""

import logging
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__, datasets
from ..datasets import labelled
from ..errors import EvaluationError, preview, require
from .joining import join
from .scoring import check_metric, scores

if TYPE_CHECKING:
    from ..collection.storage.store import Store
    from ..methods.settings import Setting

DEPENDENCIES = ("faiss-cpu", "pytorch-metric-learning", "torch", "transformers")

logger = logging.getLogger(__name__)


def evaluate(
    store: "Store",
    which: "str | Sequence[Setting]" = "*",
    *,
    metric: str = "cosine",
    all_aspects: bool = False,
    datasets_dir: Path | str | None = None,
    dataset_info_dir: Path | str | None = None,
    benchmark: datasets.Benchmark | None = None,
    allow_missing: bool = False,
    clustering: bool = True,
    bootstrap: int = 0,
    show_progress_bar: bool | None = None,
) -> list[dict[str, Any]]:
    """Score settings in a store: the benchmarks', or any against labels of one's own.

    A setting whose condition is one of its benchmark's aspects is scored on that aspect; any other (no condition, or
    words of one's own) on all aspects.

    Args:
        store: Where the vectors are.
        which: Glob over the settings' names, such as "synthetic_cars-*", taken in the order of their names; or the
            settings themselves.
        metric: "cosine" or "euclidean" (as the paper); see `scores`.
        all_aspects: Score every setting on every aspect.
        datasets_dir: The directory of the benchmarks' directories; by default where each was when it was embedded.
        dataset_info_dir: The same for the universal sets: the folder that holds `info_files`.
        benchmark: Take the labels from here, whatever the settings' dataset is called. Vectors that it has no label for
            are left out, with a warning.
        allow_missing: Leave out images without a vector (such as unreadable ones) or without labels, with a warning.
        clustering: Whether AMI and NMI are computed too.
        bootstrap: How many bootstrap samples give the 95 % intervals; 0 for no intervals.
        show_progress_bar: On stderr; by default where that is a terminal.

    Returns:
        One row per setting and aspect: `{method, model, setting, dataset, condition, aspect, map_at_r, precision_at_1,
        ami, nmi, metric, r_precision, images, queries, labels, intervals, aspect_condition, whole_setting, versions}`;
        scores are fractions, and None is "no condition" or "not computed".

    Raises:
        EvaluationError: nothing matches, or vectors and labels do not belong together.
        DatasetError: a benchmark's labels cannot be found or read.
    """
    require("eval", "scoring")
    check_metric(metric)
    benchmarks: dict[tuple[str, str], datasets.Benchmark] = {}
    used = _versions()
    rows = []
    for setting in _chosen(store, which, benchmark) if isinstance(which, str) else which:
        given = benchmark
        if given is None:
            is_universal = setting.dataset in labelled.UNIVERSAL
            moved = dataset_info_dir if is_universal else datasets_dir
            place = (setting.dataset, str(moved or store.source_root(setting) or "./datasets"))
            if place not in benchmarks:
                read = labelled.from_list if is_universal else datasets.get
                benchmarks[place] = read(*place, allow_missing=allow_missing)
            given = benchmarks[place]
        own = [aspect for aspect in given.aspects if aspect.condition == setting.condition]
        image_ids, vectors = store.read(setting)
        failed = store.failures(setting.dataset, source=setting.source)
        for aspect in given.aspects if all_aspects or not own else own:
            joined, labels = join(
                setting,
                image_ids,
                vectors,
                given.labels[aspect],
                failed,
                partial=allow_missing or benchmark is not None,
                allow_missing=allow_missing,
            )
            found = scores(
                joined,
                labels,
                metric=metric,
                clustering=clustering,
                bootstrap=bootstrap,
                show_progress_bar=show_progress_bar,
            )
            rows.append(
                {
                    "method": setting.method,
                    "model": setting.model + (" (random weights)" if setting.extra.get("random_weights") else ""),
                    "setting": setting.name,
                    "dataset": setting.dataset,
                    "condition": setting.condition,
                    "aspect": aspect.name,
                    **asdict(found),
                    "aspect_condition": aspect.condition,
                    "whole_setting": setting.summary(),
                    "versions": used,
                }
            )
    return rows


def images_of(store: "Store", pattern: str = "*") -> str:
    """The folder of the images whose settings match: what labels of one's own are joined to.

    Raises:
        EvaluationError: nothing matches, the settings are of several folders, or the images came from no folder.
    """
    found = store.settings(pattern)
    if not found:
        raise EvaluationError(_nothing_to_score(pattern, found, store.settings()))
    _check_one_place(found, pattern)
    root = store.source_root(found[0])
    if root is None or not Path(root).is_dir():
        raise EvaluationError(
            f"the images of {found[0].name} came from {root or 'no folder'}, which is not a folder now; "
            "labels are joined to the files of the folder that was embedded"
        )
    return root


def _chosen(store: "Store", pattern: str, benchmark: datasets.Benchmark | None) -> "list[Setting]":
    """The settings that match and have labels."""
    found = store.settings(pattern)
    if benchmark is None:
        known = {*datasets.NAMES, *labelled.UNIVERSAL}
        settings = [setting for setting in found if setting.source is None and setting.dataset in known]
        for setting in found if settings else []:
            if setting not in settings:
                logger.warning("%s is not scored: its images have no labels (no benchmark)", setting.name)
    else:
        settings = found
        _check_one_place(found, pattern)
    if not settings:
        raise EvaluationError(_nothing_to_score(pattern, found, store.settings()))
    return settings


def _versions() -> dict[str, str | None]:
    """What computed the figures. None: a package that is there without its metadata, such as another build of faiss."""
    found: dict[str, str | None] = {"conditional-image-embeddings": __version__}
    for name in DEPENDENCIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def _check_one_place(found: Sequence["Setting"], pattern: str) -> None:
    places = sorted({setting.dataset if setting.source is None else setting.source for setting in found})
    if len(places) > 1:
        raise EvaluationError(
            f"the labels are of one dataset, but the settings that match {pattern!r} are of {len(places)}: "
            f"{preview(places)}; choose one by the settings' names"
        )


def _nothing_to_score(pattern: str, found: Sequence["Setting"], all_settings: Sequence["Setting"]) -> str:
    if found:
        return (
            f"none of the {len(found)} settings that match {pattern!r} is of a benchmark, so there are no labels: "
            f"give your own (--labels FILE, --folders ASPECT); benchmarks: {', '.join(datasets.NAMES)}"
        )
    if all_settings:
        return f"no setting matches {pattern!r}; there are: {preview([setting.name for setting in all_settings])}"
    return "there are no embeddings here: embed a benchmark first"
