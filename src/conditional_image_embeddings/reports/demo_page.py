"""The demo's page: scores of every method, and what some query images find under each condition."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..datasets import Aspect, Benchmark
from ..vectors import similarity
from .pages import Cell, Line, data_url, write_page

if TYPE_CHECKING:
    from ..collection.storage.store import Store
    from ..methods.settings import Setting

QUERIES = 6
NEIGHBOURS = 5


@dataclass(frozen=True)
class Picture:
    """An image on the page. `agrees` says whether its label is the query's; None where no aspect is asked for."""

    image: str
    alt: str
    caption: str = ""
    agrees: bool | None = None


@dataclass(frozen=True)
class Found:
    """The nearest images under one condition; `said` is what the model says of the query."""

    condition: str | None
    said: str
    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Query:
    """A query image, its labels, and what it finds under each condition."""

    picture: Picture
    labels: Mapping[str, str]
    found: Sequence[Found]


def write(
    path: Path,
    *,
    rows: Sequence[Mapping[str, Any]],
    store: "Store",
    benchmark: Benchmark,
    conditioned: Sequence["Setting"],
    compared: Mapping[str, Sequence["Setting"]],
) -> None:
    """Write the page to `path`.

    Args:
        path: The HTML file; replaced whole if it is there.
        rows: `evaluation.evaluate`'s: of `conditioned` on every aspect, of `compared` at least on their own.
        store: Where the vectors and thumbnails are.
        benchmark: Where the labels are.
        conditioned: One model's settings, one a condition and usually one without: compared side by side.
        compared: Title to settings of each method: one an aspect, or one without a condition.
    """
    lines = [Line(setting.condition, _cells(setting, rows, benchmark.aspects)) for setting in conditioned]
    cells = {name: _own_cells(settings, rows, benchmark.aspects) for name, settings in compared.items()}
    best = [max(cell.map_at_r for cell in column) for column in zip(*cells.values(), strict=True)]
    comparisons = [
        Line(name, [replace(cell, framed=cell.map_at_r == top) for cell, top in zip(line, best, strict=True)])
        for name, line in cells.items()
    ]
    write_page(
        path,
        "report.html",
        asked=[name for name, settings in compared.items() if settings[0].condition is not None],
        aspects=[aspect.name for aspect in benchmark.aspects],
        images=len(benchmark),
        lines=lines,
        comparisons=comparisons,
        metric=rows[0]["metric"],
        neighbours=NEIGHBOURS,
        queries=_queries(store, benchmark, conditioned),
    )


def _cells(setting: "Setting", rows: Sequence[Mapping[str, Any]], aspects: Sequence[Aspect]) -> list[Cell]:
    of_aspect = {row["aspect"]: row for row in rows if row["setting"] == setting.name}
    return [
        Cell(
            of_aspect[aspect.name]["map_at_r"],
            of_aspect[aspect.name]["precision_at_1"],
            framed=setting.condition == aspect.condition,
        )
        for aspect in aspects
    ]


def _own_cells(
    settings: Sequence["Setting"], rows: Sequence[Mapping[str, Any]], aspects: Sequence[Aspect]
) -> list[Cell]:
    """A method's cells: each aspect by the setting that was asked about it, or by the one that is asked nothing."""
    by_condition = {setting.condition: setting for setting in settings}
    own = [by_condition.get(aspect.condition, by_condition.get(None)) for aspect in aspects]
    return [
        cell
        for setting, aspect in zip(own, aspects, strict=True)
        if setting is not None
        for cell in _cells(setting, rows, [aspect])
    ]


def _queries(store: "Store", benchmark: Benchmark, settings: Sequence["Setting"]) -> list[Query]:
    query_ids = _spread(benchmark)
    nearest = [_nearest(*store.read(setting), query_ids) for setting in settings]
    words = [store.words(setting) for setting in settings]
    shown = sorted({*query_ids, *(image_id for found in nearest for ids in found.values() for image_id in ids)})
    thumbnails = {image_id: data_url(data) for image_id, data in store.thumbnails(benchmark.dataset, shown).items()}
    aspect_of = {aspect.condition: aspect for aspect in benchmark.aspects}

    def picture(query_id: str, image_id: str, condition: str | None) -> Picture:
        aspect = aspect_of.get(condition or "")
        if aspect is None:
            return Picture(thumbnails[image_id], alt=_describe(benchmark, image_id))
        label = benchmark.labels[aspect][image_id]
        agrees = label == benchmark.labels[aspect][query_id]
        alt = f"{_describe(benchmark, image_id)}: {'the same' if agrees else 'another'} {aspect.name}"
        return Picture(thumbnails[image_id], alt=alt, caption=label, agrees=agrees)

    return [
        Query(
            Picture(thumbnails[query_id], alt=_describe(benchmark, query_id)),
            labels={aspect.name: labels[query_id] for aspect, labels in benchmark.labels.items()},
            found=[
                Found(
                    setting.condition,
                    ", ".join(f"{word} {probability:.2f}" for word, probability in said.get(query_id) or []),
                    [picture(query_id, image_id, setting.condition) for image_id in neighbours[query_id]],
                )
                for setting, neighbours, said in zip(settings, nearest, words, strict=True)
            ],
        )
        for query_id in query_ids
    ]


def _spread(benchmark: Benchmark) -> list[str]:
    """The first images that differ from one another in the first two aspects; where these are few, the first others."""
    first_two = [benchmark.labels[aspect] for aspect in benchmark.aspects[:2]]
    chosen: list[str] = []
    for image_id in benchmark.images:
        if not any(labels[image_id] == labels[other] for labels in first_two for other in chosen):
            chosen.append(image_id)
    chosen += [image_id for image_id in benchmark.images if image_id not in chosen]
    return chosen[:QUERIES]


def _nearest(image_ids: Sequence[str], vectors: NDArray[np.float32], query_ids: Sequence[str]) -> dict[str, list[str]]:
    """Query id to the ids of its nearest images, nearest first, itself left out."""
    row_of = {image_id: row for row, image_id in enumerate(image_ids)}
    likeness = similarity(vectors[[row_of[query_id] for query_id in query_ids]], vectors)
    order = np.argsort(-likeness, axis=1, kind="stable")
    return {
        query_id: [image_ids[row] for row in ranked if image_ids[row] != query_id][:NEIGHBOURS]
        for query_id, ranked in zip(query_ids, order[:, : NEIGHBOURS + 1], strict=True)
    }


def _describe(benchmark: Benchmark, image_id: str) -> str:
    """What an image shows, in its labels' words: read aloud where it cannot be seen."""
    return ", ".join(f"{aspect.name} {labels[image_id]}" for aspect, labels in benchmark.labels.items())
