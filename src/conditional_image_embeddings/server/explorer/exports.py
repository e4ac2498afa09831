"""Lists of images as files: paths and ids line by line, a table for spreadsheets, JSON for programs."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ...collection.image_info import ImageInfo
from ...errors import OptionError
from .answers import words_answer

FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # beginnings that spreadsheets take for one


def written(
    images: Sequence[ImageInfo],
    names: Sequence[str | None],
    scores: Mapping[str, float] | None,
    form: Literal["paths", "ids", "csv", "json"],
) -> tuple[str, str]:
    """The text of a file, and its media type.

    Args:
        images: What is known of the images.
        names: The conditions whose words are told.
        scores: By image id, of a query; an image that is no hit has none.
        form: Which file.

    Raises:
        OptionError: a path or id that would be two lines.
    """
    if form == "ids":
        return _lines([each.image_id for each in images]), "text/plain"
    if form == "paths":
        return _lines([each.path or each.image_id for each in images]), "text/plain"
    rows = [
        {
            "image_id": each.image_id, "path": each.path, "width": each.width, "height": each.height,
            **({} if scores is None else {"score": scores.get(each.image_id)}),
            "words": {name: words_answer(each.words.get(name)) for name in names},
        }
        for each in images
    ]  # fmt: skip
    if form == "json":
        return json.dumps(rows, indent=2, ensure_ascii=False), "application/json"
    columns = ["image_id", "path", "width", "height", *([] if scores is None else ["score"])]
    return _table(rows, columns, names), "text/csv"


def _lines(texts: Sequence[str]) -> str:
    if broken := [each for each in texts if len(each.splitlines()) > 1]:
        raise OptionError(f"{broken[0]!r} holds a line break, which a list of lines cannot: export as JSON or CSV")
    return "".join(f"{each}\n" for each in texts)


def _table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], names: Sequence[str | None]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(_cell, [*columns, *(name or "no condition" for name in names)]))
    for row in rows:
        words = [", ".join(each["word"] for each in row["words"][name]) for name in names]
        writer.writerow(map(_cell, [*(row[column] for column in columns), *words]))
    return text.getvalue()


def _cell(value: Any) -> Any:
    """A text that a spreadsheet would compute, from whoever named a file so, has an apostrophe before it there."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULAS) else value
