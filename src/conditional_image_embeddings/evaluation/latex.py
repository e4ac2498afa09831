"""Rows of figures as LaTeX, in the paper's layout."""

import json
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any

from ..methods.registry import describe
from .layout import SHOWN, Layout, Row, layouts, rounded

LATEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
}


def latex_table(rows: Sequence[Row]) -> str:
    r"""Rows of `evaluate` as LaTeX (booktabs) in the paper's layout, a `tabular` for each distance.

    A line is a method and model: under an aspect stands the score of the setting whose condition is that aspect.
    Settings without a condition, or scored on aspects that are not their condition, have lines of their own, and so do
    those that differ in more. MAP@R and Precision@1 in percent; the best of a column, as shown, is bold.
    """
    return "\n\n".join(map(_tabular, layouts(rows)))


def latex_with_rows(rows: Sequence[Row]) -> str:
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


def _tabular(layout: Layout) -> str:
    def cell(row: Row | None, figure: str) -> str:
        if row is None:
            return "--"
        text = f"{rounded(row[figure]):.1f}"
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


def _spanning(spans: Sequence[tuple[str, int]]) -> Iterator[str]:
    """A line of headings over several columns each, and the rules below them."""
    yield (
        " & ".join(["", "", *(rf"\multicolumn{{{width}}}{{c}}{{{_escaped(text)}}}" for text, width in spans)]) + r" \\"
    )
    starts = accumulate((width for _, width in spans), initial=3)  # after the method and the model
    yield " ".join(
        rf"\cmidrule(lr){{{start}-{start + width - 1}}}" for start, (_, width) in zip(starts, spans, strict=False)
    )


def _escaped(text: str) -> str:
    return "".join(LATEX.get(character, character) for character in " ".join(text.split()))
