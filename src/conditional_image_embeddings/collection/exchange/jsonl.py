"""One JSON object per line: image, vector, words, and the whole setting, so that lines may be split and mixed."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from ...errors import OptionError
from .incoming import Incoming, Origin
from .json_rows import LONGEST, Rows, as_object, dump
from .provenance import Provenance
from .selection import Selection


def write(selection: Selection, place: Path) -> Sequence[str]:
    with place.open("w", encoding="utf-8") as file:
        for setting in selection.settings:
            made = Provenance.of(selection.store, setting)
            made.write_fitted(place.parent)
            told = {"condition": setting.condition, **made.to_dict()}
            for block in selection.blocks(setting):
                file.writelines(f"{dump({**as_object(block, index), **told})}\n" for index in range(len(block)))
    return ["read it with: pandas.read_json(FILE, lines=True), or `cie import FILE --format jsonl`"]


def read(source: Path, origin: Origin) -> Iterator[Incoming]:
    if not source.is_file():
        raise OptionError(f"{source} is no file of JSON lines")
    rows = Rows("jsonl", source.parent, origin)
    with source.open(encoding="utf-8", errors="surrogateescape") as file:
        number = 0
        while line := file.readline(LONGEST + 2):
            number += 1
            place = f"{source}, line {number}"
            if not line.endswith("\n") and len(line) > LONGEST:
                yield Incoming(place, problem=f"is longer than {LONGEST:,} characters")
                while (line := file.readline(LONGEST)) and not line.endswith("\n"):
                    pass
            elif line.strip():
                yield rows.read(line, place)
