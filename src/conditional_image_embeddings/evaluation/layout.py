"""Rows of figures in the paper's layout: methods and models as lines, datasets and their aspects as columns."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..methods.registry import describe

Row = Mapping[str, Any]
Column = tuple[str, str | None, str]  # dataset, source, aspect
SHOWN = {"map_at_r": "MAP@R", "precision_at_1": "Prec@1"}


@dataclass(frozen=True)
class Layout:
    """The paper's table of one distance.

    Attributes:
        metric: The distance.
        columns: Dataset, source and aspect of each column, a dataset's aspects side by side.
        lines: Method and model, as the table says them, and that line's rows by column; not every line has all.
        best: The highest score of a column and figure, as shown.
    """

    metric: str
    columns: Sequence[Column]
    lines: Sequence[tuple[tuple[str, str], Mapping[Column, Row]]]
    best: Mapping[tuple[Column, str], float]

    def is_best(self, row: Row, figure: str) -> bool:
        """Whether nothing in the row's column is shown higher."""
        return rounded(row[figure]) == self.best[_column(row), figure]

    @property
    def datasets(self) -> list[tuple[str, int]]:
        """Each dataset's name, and how many columns it has."""
        widths = Counter(column[:2] for column in self.columns)
        return [(dataset, width) for (dataset, _), width in widths.items()]


def layouts(rows: Sequence[Row]) -> list[Layout]:
    """Rows of `evaluate` in the paper's layout, see `latex_table`: one for each distance among them."""
    return [
        _layout(metric, [row for row in rows if row["metric"] == metric])
        for metric in dict.fromkeys(row["metric"] for row in rows)
    ]


def _layout(metric: str, rows: Sequence[Row]) -> Layout:
    datasets = list(dict.fromkeys(_column(row)[:2] for row in rows))
    # The aspects of a dataset side by side.
    columns = sorted(dict.fromkeys(map(_column, rows)), key=lambda column: datasets.index(column[:2]))
    lines = _lines(rows)
    best = {
        (column, figure): max(rounded(cells[column][figure]) for _, cells in lines if column in cells)
        for column in columns
        for figure in SHOWN
    }
    return Layout(metric, columns, lines, best)


def rounded(score: float) -> float:
    """In percent, as shown: what is shown alike is equally good."""
    return round(100 * score, 1)


def _lines(rows: Sequence[Row]) -> list[tuple[tuple[str, str], dict[Column, Row]]]:
    """(Method, model) as the table says them, and that line's rows by column."""
    # A setting that is scored on an aspect other than its condition is a line of a cross table, under its condition.
    crossed = {row["setting"] for row in rows if row["condition"] != _own_words(row)}
    telling = _telling(rows)
    lines: dict[tuple[str, str, tuple[Any, ...]], dict[Column, Row]] = {}
    for row in rows:
        method = describe(row["method"]).title
        if row["setting"] in crossed and describe(row["method"]).conditional:
            method += f" ({row['condition'] or 'no condition'})"
        kept = [item for item in _fields(row).items() if not item[0].startswith("extra.") or item[0] in telling]
        line = (method, row["model"], tuple(kept))
        while _column(row) in lines.get(line, {}):  # rows that do not say in what they differ
            line = (method, row["model"], (*line[2], ("setting", row["setting"])))
        lines.setdefault(line, {})[_column(row)] = row

    named = []
    for (method, model, fields), cells in lines.items():
        others = [dict(other[2]) for other in lines if other[:2] == (method, model)]
        named.append(((", ".join([method, *differing(dict(fields), others)]), model), cells))
    return named


def _column(row: Row) -> Column:
    return row["dataset"], row.get("whole_setting", {}).get("source"), row["aspect"]


def _own_words(row: Row) -> str | None:
    """The condition of the row's aspect, which is its name unless the benchmark says otherwise."""
    words: str | None = row.get("aspect_condition", row["aspect"])
    return words


def _fields(row: Row) -> dict[str, Any]:
    """What a line of the table has in common: the setting without dataset and condition, and what is said anyway."""
    said = ("dataset", "source", "condition", "method", "model")
    return {key: value for key, value in flattened(row.get("whole_setting", {})) if key not in said}


def _telling(rows: Sequence[Row]) -> set[str]:
    """The fields in which two settings under one condition differ; the others may follow from the condition."""
    fields: dict[tuple[Any, ...], dict[str, set[Any]]] = {}
    for row in rows:
        seen = fields.setdefault((row["method"], row["model"], *_column(row)[:2], row["condition"]), {})
        for key, value in _fields(row).items():
            seen.setdefault(key, set()).add(value)
    return {key for seen in fields.values() for key, values in seen.items() if len(values) > 1}


def differing(fields: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> list[str]:
    """Those of the fields that are not the same in all others, as a reader is told them.

    What only some have (`extra.image_reading`) is told where it is there.
    """
    return [f"{key} = {value}" for key, value in fields.items() if any(other.get(key) != value for other in others)]


def flattened(nested: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in nested.items():
        if isinstance(value, Mapping):
            yield from flattened(value, f"{prefix}{key}.")
        else:
            yield prefix + key, json.dumps(value) if isinstance(value, list | tuple) else value
