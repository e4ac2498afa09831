"""Rows of figures written down: a table to read, JSON and CSV with all that is known; LaTeX is `latex`'s."""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ..errors import EvaluationError
from .latex import latex_with_rows
from .layout import Row, differing, flattened

SUFFIXES = {".json": "json", ".csv": "csv", ".tex": "latex"}


def format_table(rows: Sequence[Row], *, clustering: bool = False) -> str:
    """Rows of `evaluate` as text: a table per dataset, a line per setting, a column per aspect.

    They show MAP@R / Precision@1; with `clustering`, AMI / NMI follow in tables of their own; all in %.
    """
    tables = []
    for dataset, metric in dict.fromkeys((row["dataset"], row["metric"]) for row in rows):
        of_dataset = [row for row in rows if (row["dataset"], row["metric"]) == (dataset, metric)]
        title = f"{dataset}: MAP@R / Precision@1 in %, {metric} distance"
        tables.append(_table(title, of_dataset, ("map_at_r", "precision_at_1")))
        clustered = [row for row in of_dataset if row["ami"] is not None] if clustering else []
        if clustered:
            title = f"{dataset}: AMI / NMI in %, k-means by {metric} distance"
            tables.append(_table(title, clustered, ("ami", "nmi")))
    return "\n\n".join(tables)


def _table(title: str, rows: Sequence[Row], figures: tuple[str, str]) -> str:
    cells = {(row["setting"], row["aspect"]): " / ".join(_percent(row, figure) for figure in figures) for row in rows}
    names = _line_names(rows)
    aspects = list(dict.fromkeys(aspect for _, aspect in cells))
    ways = list(dict.fromkeys((row["method"], row["model"]) for row in rows))  # side by side, whatever their names
    order = {row["setting"]: ways.index((row["method"], row["model"])) for row in rows}
    lines = [
        [*names[setting], *(cells.get((setting, aspect), "") for aspect in aspects)]
        for setting in sorted(names, key=order.__getitem__)
    ]
    return f"{title}\n{aligned([['method', 'model', 'condition', *aspects], *lines], left=3)}"


def json_rows(rows: Sequence[Row]) -> str:
    """Rows of `evaluate` as a JSON list, with all their keys."""
    return json.dumps(rows, indent=2)


def csv_table(rows: Sequence[Row]) -> str:
    """Rows of `evaluate` as CSV: what is nested in a row gets columns such as `whole_setting.layer`; None is empty."""
    flat = [dict(flattened(row)) for row in rows]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(key for row in flat for key in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue().rstrip("\n")


FORMATS: Mapping[str, Callable[[Sequence[Row]], str]] = {
    "table": format_table,
    "json": json_rows,
    "csv": csv_table,
    "latex": latex_with_rows,
}


def check_file(path: Path) -> None:
    """Raise an EvaluationError unless `write` can write such a file: better before the scores than after them."""
    if path.suffix.lower() not in SUFFIXES:
        raise EvaluationError(f"{path}: the name of a file of results ends in {', '.join(SUFFIXES)}")
    if not path.absolute().parent.is_dir():
        raise EvaluationError(f"{path}: there is no directory {path.parent}")


def write(rows: Sequence[Row], path: Path, *, note: str = "") -> None:
    """Write rows as JSON, CSV or LaTeX, as the file's suffix says; each says the whole setting, versions and counts.

    A `note` on all of them is the first line of LaTeX, as a comment; the other formats have no place for one.

    Raises:
        EvaluationError: another suffix, or no such directory.
        OSError: the file cannot be written.
    """
    check_file(path)
    kind = SUFFIXES[path.suffix.lower()]
    head = f"% {note}\n" if note and kind == "latex" else ""
    path.write_text(f"{head}{FORMATS[kind](rows)}\n", encoding="utf-8")


def _percent(row: Row, figure: str) -> str:
    interval = row.get("intervals", {}).get(figure)
    ends = f" [{100 * interval['low']:.1f}, {100 * interval['high']:.1f}]" if interval else ""
    return f"{100 * row[figure]:.1f}{ends}"


def _line_names(rows: Sequence[Row]) -> dict[str, tuple[str, str, str]]:
    """Setting to (method, model, condition); behind the model stands in what settings differ that share these three."""
    names = {row["setting"]: (row["method"], row["model"], row["condition"] or "(none)") for row in rows}
    fields = {row["setting"]: dict(flattened(row.get("whole_setting", {}))) for row in rows}
    alike: dict[tuple[str, str, str], list[str]] = {}
    for setting, name in names.items():
        alike.setdefault(name, []).append(setting)
    lines = {}
    for setting, name in names.items():
        others = [fields[other] for other in alike[name]]
        telling = [each.removeprefix("extra.") for each in differing(fields[setting], others)]
        if others.count(fields[setting]) > 1:  # rows that do not say in what they differ
            telling = [setting]
        lines[setting] = (name[0], ", ".join([name[1], *telling]), name[2])
    return lines


def aligned(lines: Sequence[Sequence[str]], *, left: int) -> str:
    """Columns of equal width, the first `left` of them flush left."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if index < left else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
