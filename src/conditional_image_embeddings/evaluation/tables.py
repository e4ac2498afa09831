"""Rows of figures written down: a table to read, JSON and CSV with all that is known, LaTeX in the paper's layout."""

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from ..errors import EvaluationError
from ..methods.registry import describe

Row = Mapping[str, Any]

SUFFIXES = {".json": "json", ".csv": "csv", ".tex": "latex"}

LATEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
}


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
    flat = [dict(_flat(row)) for row in rows]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(key for row in flat for key in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue().rstrip("\n")


def latex_table(rows: Sequence[Row]) -> str:
    r"""Rows of `evaluate` as LaTeX (booktabs) in the paper's layout, a `tabular` for each distance.

    A line is a method and model: under an aspect stands the score of the setting whose condition is that aspect.
    Settings without a condition, or scored on aspects that are not their condition, have lines of their own, and so do
    those that differ in more. MAP@R and Precision@1 in percent; the best of a column, as shown, is bold.
    """
    return "\n\n".join(map(_tabular, layouts(rows)))


def _latex_with_rows(rows: Sequence[Row]) -> str:
    """The table, and as comments below it what made it and the rows as they are: so it says what its figures are of."""
    made = [f"% {method}: {options}" for method, options in made_with(rows)]
    return "\n".join([latex_table(rows), "", *made, *(f"% {json.dumps(row)}" for row in rows)])


def made_with(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Method, as tables say it, and in words what its vectors were made with: numbers, positions, pixels, texts."""
    found: dict[tuple[Any, str], None] = {}
    for row in rows:
        whole = row.get("whole_setting", {})
        extra = whole.get("extra", {})
        said = [
            whole.get("dtype"),
            f"{whole['positions']} positions" if whole.get("positions") else None,
            f"images at most {whole['image_max_size']} pixels" if "image_max_size" in whole else None,
            "read as the paper's code reads them" if extra.get("image_reading") == "reference" else None,
            f"{extra['text_encoder']} in {extra.get('text_encoder_dtype', whole.get('dtype'))}"
            if "text_encoder" in extra
            else None,
            "which embeds the whole chat" if extra.get("encoded_text") == "chat" else None,
        ]
        if any(said):
            found[describe(row["method"]).title, ", ".join(filter(None, said))] = None
    return list(found)


FORMATS: Mapping[str, Callable[[Sequence[Row]], str]] = {
    "table": format_table,
    "json": json_rows,
    "csv": csv_table,
    "latex": _latex_with_rows,
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
    fields = {row["setting"]: dict(_flat(row.get("whole_setting", {}))) for row in rows}
    alike: dict[tuple[str, str, str], list[str]] = {}
    for setting, name in names.items():
        alike.setdefault(name, []).append(setting)
    lines = {}
    for setting, name in names.items():
        others = [fields[other] for other in alike[name]]
        differing = [each.removeprefix("extra.") for each in _differing(fields[setting], others)]
        if others.count(fields[setting]) > 1:  # rows that do not say in what they differ
            differing = [setting]
        lines[setting] = (name[0], ", ".join([name[1], *differing]), name[2])
    return lines


def _differing(fields: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> list[str]:
    """Those of the fields that are not the same in all others, as a reader is told them.

    What only some have (`extra.image_reading`) is told where it is there.
    """
    return [f"{key} = {value}" for key, value in fields.items() if any(other.get(key) != value for other in others)]


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


def _flat(nested: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in nested.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, json.dumps(value) if isinstance(value, list | tuple) else value


# The paper's layout.

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
        return _rounded(row[figure]) == self.best[_column(row), figure]

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
        (column, figure): max(_rounded(cells[column][figure]) for _, cells in lines if column in cells)
        for column in columns
        for figure in SHOWN
    }
    return Layout(metric, columns, lines, best)


def _tabular(layout: Layout) -> str:
    def cell(row: Row | None, figure: str) -> str:
        if row is None:
            return "--"
        text = f"{_rounded(row[figure]):.1f}"
        return rf"\textbf{{{text}}}" if layout.is_best(row, figure) else text

    columns = layout.columns
    headings = ["Method", "Model", *(title for _ in columns for title in SHOWN.values())]
    body = [
        [*map(_escaped, heading), *(cell(cells.get(column), figure) for column in columns for figure in SHOWN)]
        for heading, cells in layout.lines
    ]
    return "\n".join(
        [
            rf"% {layout.metric} distance; MAP@R and Precision@1 in percent; needs \usepackage{{booktabs}}",
            rf"\begin{{tabular}}{{ll{'r' * len(SHOWN) * len(columns)}}}",
            r"\toprule",
            *_spanning([(dataset, len(SHOWN) * width) for dataset, width in layout.datasets]),
            *_spanning([(aspect, len(SHOWN)) for _, _, aspect in columns]),
            " & ".join(headings) + r" \\",
            r"\midrule",
            *(" & ".join(line) + r" \\" for line in body),
            r"\bottomrule",
            r"\end{tabular}",
        ]
    )


def _rounded(score: float) -> float:
    """In percent, as shown: what is shown alike is equally good."""
    return round(100 * score, 1)


def _spanning(spans: Sequence[tuple[str, int]]) -> Iterator[str]:
    """A line of headings over several columns each, and the rules below them."""
    yield (
        " & ".join(["", "", *(rf"\multicolumn{{{width}}}{{c}}{{{_escaped(text)}}}" for text, width in spans)]) + r" \\"
    )
    starts = accumulate((width for _, width in spans), initial=3)  # after the method and the model
    yield " ".join(
        rf"\cmidrule(lr){{{start}-{start + width - 1}}}" for start, (_, width) in zip(starts, spans, strict=False)
    )


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
        named.append(((", ".join([method, *_differing(dict(fields), others)]), model), cells))
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
    return {key: value for key, value in _flat(row.get("whole_setting", {})) if key not in said}


def _telling(rows: Sequence[Row]) -> set[str]:
    """The fields in which two settings under one condition differ; the others may follow from the condition."""
    fields: dict[tuple[Any, ...], dict[str, set[Any]]] = {}
    for row in rows:
        seen = fields.setdefault((row["method"], row["model"], *_column(row)[:2], row["condition"]), {})
        for key, value in _fields(row).items():
            seen.setdefault(key, set()).add(value)
    return {key for seen in fields.values() for key, values in seen.items() if len(values) > 1}


def _escaped(text: str) -> str:
    return "".join(LATEX.get(character, character) for character in " ".join(text.split()))
