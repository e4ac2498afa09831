"""The page of a reproduction: the paper's table, and what its figures are of."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..datasets import description
from .pages import Cell, Line, write_page

if TYPE_CHECKING:
    from ..evaluation.layout import Layout


def write(
    path: Path,
    *,
    rows: Sequence[Mapping[str, Any]],
    failures: Mapping[str, int],
    missing: Sequence[str],
    note: str = "",
) -> None:
    """Write the page to `path`.

    Args:
        path: The HTML file; replaced whole if it is there.
        rows: `evaluation.evaluate`'s, by one distance.
        failures: Dataset to how many of its images could not be embedded.
        missing: What was asked for and left out, one line each.
        note: What else is to be said of all of them, a sentence.
    """
    from ..evaluation import layouts, made_with

    (layout,) = layouts(rows)
    tied = {
        column
        for column in layout.columns
        if all(layout.is_best(cells[column], "map_at_r") for _, cells in layout.lines if column in cells)
    }
    shown = [
        (heading, Line(None, [_cell(layout, cells.get(column), tied=column in tied) for column in layout.columns]))
        for heading, cells in layout.lines
    ]
    first: dict[tuple[str, str], Mapping[str, Any]] = {}
    for row in rows:
        first.setdefault((row["dataset"], row["aspect"]), row)
    write_page(
        path,
        "reproduction.html",
        layout=layout,
        lines=shown,
        counts=[(name, [row for row in first.values() if row["dataset"] == name]) for name, _ in layout.datasets],
        complete={name: description(name).images for name, _ in layout.datasets},
        failures=failures,
        missing=missing,
        made_with=made_with(rows),
        note=note,
        versions=rows[0]["versions"],
    )


def _cell(layout: "Layout", row: Mapping[str, Any] | None, *, tied: bool) -> Cell | None:
    if row is None:
        return None
    return Cell(row["map_at_r"], row["precision_at_1"], framed=layout.is_best(row, "map_at_r") and not tied)
