"""Rows of figures, one a setting and aspect: a store's vectors joined with labels by image id.

One without the other is an error. A row says by itself what it is a figure of: the whole setting, versions, counts.
"""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import __version__, datasets
from ..datasets import labelled
from ..errors import EvaluationError, preview, require
from .scoring import broken_rows, check_metric, scores

if TYPE_CHECKING:
    from ..collection.store import Store
    from ..methods.settings import Setting

DEPENDENCIES = ("faiss-cpu", "pytorch-metric-learning", "torch", "transformers")

logger = logging.getLogger(__name__)


def evaluate(
    store: "Store",
    pattern: str = "*",
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
    """Score settings in a store, in the order of their names: the benchmarks', or any against labels of one's own.

    A setting whose condition is one of its benchmark's aspects is scored on that aspect; any other (no condition, or
    words of one's own) on all aspects.

    Args:
        store: Where the vectors are.
        pattern: Glob over the settings' names, such as "synthetic_cars-*".
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
        One row a setting and aspect: `{method, model, setting, dataset, condition, aspect, map_at_r, precision_at_1,
        ami, nmi, metric, r_precision, images, queries, labels, intervals, aspect_condition, whole_setting, versions}`;
        scores are fractions, and None is "no condition" or "not computed".

    Raises:
        EvaluationError: nothing matches, or vectors and labels do not belong together.
        DatasetError: a benchmark's labels cannot be found or read.
    """
    require("eval", "scoring")
    check_metric(metric)
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
    return evaluate_settings(
        store,
        settings,
        metric=metric,
        all_aspects=all_aspects,
        datasets_dir=datasets_dir,
        dataset_info_dir=dataset_info_dir,
        benchmark=benchmark,
        allow_missing=allow_missing,
        clustering=clustering,
        bootstrap=bootstrap,
        show_progress_bar=show_progress_bar,
    )


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


def evaluate_settings(
    store: "Store",
    settings: Sequence["Setting"],
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
    """`evaluate` for these settings, in the order given."""
    benchmarks: dict[tuple[str, str], datasets.Benchmark] = {}
    used = _versions()
    rows = []
    for setting in settings:
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
            joined, labels = _join(
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


def _versions() -> dict[str, str | None]:
    """What computed the figures. None: a package that is there without its metadata, such as another build of faiss."""
    found: dict[str, str | None] = {"conditional-image-embeddings": __version__}
    for name in DEPENDENCIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def _join(
    setting: "Setting",
    image_ids: Sequence[str],
    vectors: NDArray[np.float32],
    labels: Mapping[str, str],
    failed: Mapping[str, str],
    *,
    partial: bool,
    allow_missing: bool,
) -> tuple[NDArray[np.float32], list[str]]:
    """Vectors and labels of the same images, in the order of the labels, whatever order the store returns.

    With `partial`, vectors without a label are left out with a warning, with `allow_missing` labels without a vector;
    otherwise they are an error. `failed` are the images that the last job could not embed.
    """
    row_of = {image_id: row for row, image_id in enumerate(image_ids)}
    if len(row_of) < len(image_ids):
        twice = [image_id for image_id, count in Counter(image_ids).items() if count > 1]
        raise EvaluationError(
            f"{setting.name}: {len(twice)} images have more than one vector: {preview(twice)}; "
            "did two jobs write at once? Embed into a new database"
        )
    if missing := [image_id for image_id in labels if image_id not in row_of]:
        unpaired = f"{setting.name}: {len(missing)} of {len(labels)} images have no vector: {preview(missing)}"
        unread = len(failed.keys() & set(missing))
        remedy = f"{unread} of them could not be embedded; mend or remove them and " if unread else ""
        if not allow_missing:
            raise EvaluationError(
                f"{unpaired}; {remedy}embed the dataset again: a finished job adds what is missing and lists what "
                "cannot be embedded; or leave them out (--allow-missing)"
            )
        logger.warning("%s; left out", unpaired)
        labels = {image_id: label for image_id, label in labels.items() if image_id in row_of}
    if unlabelled := [image_id for image_id in image_ids if image_id not in labels]:
        unpaired = f"{setting.name}: {len(unlabelled)} of {len(image_ids)} vectors have no label: {preview(unlabelled)}"
        if not partial:
            raise EvaluationError(
                f"{unpaired}; was the dataset changed after it was embedded? Embed it again into a new database"
            )
        logger.warning("%s; the scores are those of the others among themselves", unpaired)
    joined = vectors[[row_of[image_id] for image_id in labels]]
    if broken := broken_rows(joined):
        ids = list(labels)
        raise EvaluationError(
            f"{setting.name}: {len(broken)} vectors hold NaN or infinity: {preview([ids[row] for row in broken])}; "
            "embed with dtype float32"
        )
    return joined, list(labels.values())


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
