"""The files that a benchmark is made of: where they may lie, which of them are images, what annotation files say.

Annotation files are small and written by many hands: they are read line by line in whatever encoding each line is in,
and what is wrong with one is told with its line.
"""

import csv
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from ..errors import DatasetError, preview
from ..inputs.folders import images_below
from ..inputs.selection import Selection

MAX_BYTES = 256 * 1024**2  # of one annotation file; the largest known has 27 MB
ARCHIVES = (".zip", ".tgz", ".tar.gz", ".tar", ".part")


def places(name: str, directory: Path, *inner: str, named: bool = False) -> Iterator[Path]:
    """The folders in which a benchmark may lie: `directory`/`name` (hyphens or underscores) and `directory` itself.

    Of each the folders `inner` come first, since that is what archives unpack to. With `named`, `directory` itself
    counts only if it is called as the benchmark: then whatever is in it may be taken for the benchmark's.
    """
    homes = (directory / name, directory / name.replace("_", "-"), directory)
    for place in dict.fromkeys(home for home in homes if not named or _is_called(home, name)):
        yield from (found for found in (*(place / folder for folder in inner), place) if found.is_dir())


def _is_called(folder: Path, name: str) -> bool:
    return folder.resolve().name.replace("-", "_") == name


def absent(name: str, directory: Path, wanted: str, remedy: str) -> DatasetError:
    """The error that says that of a benchmark nothing or only images are there, and which archives are not unpacked."""
    home = next(places(name, directory, named=True), directory / name)
    waiting = [path.name for path in sorted(home.glob("*")) if path.name.lower().endswith(ARCHIVES)]
    if alone := images(home) if home.is_dir() else []:
        there = f" and {preview(waiting)}, not unpacked" if waiting else ""
        return DatasetError(
            f"{name}: {len(alone):,} images are in {home}{there}, but nothing that labels them (looked for {wanted}); "
            f"how to get it: cie datasets download {name} {home.parent}"
        )
    there = f", only {preview(waiting)}, not unpacked" if waiting else ""
    return DatasetError(f"{name}: nothing of it is in {directory / name}{there} (looked for {wanted}); {remedy}")


def images(folder: Path, *, depth: int | None = None) -> list[Path]:
    """The image files of a folder and of its folders, as `cie embed` finds them, but for empty ones.

    An empty file, which a broken copy leaves, cannot be embedded. `depth`: so many levels of folders; None: all.

    Raises:
        DatasetError: a folder cannot be listed.
    """
    found = []
    for inner, path in images_below(folder, Selection(), depth=depth):
        if isinstance(path, OSError):
            raise DatasetError(f"{folder / inner} cannot be listed: {path.strerror}") from path
        if is_whole(path):
            found.append(path)
    return found


def is_whole(path: Path) -> bool:
    """Whether the file is there and not empty."""
    try:
        return path.stat().st_size > 0
    except OSError:
        return False


def by_name(paths: Sequence[Path]) -> dict[str, Path]:
    """The files by their names, each of which is there once.

    Raises:
        DatasetError: two files have the same name.
    """
    names: dict[str, Path] = {}
    for path in paths:
        if path.name in names:
            raise DatasetError(f"{names[path.name]} and {path} have the same name; leave one of them")
        names[path.name] = path
    return names


def lines(path: Path) -> list[str]:
    """The lines of a text file: UTF-16 if it says so or looks so, else each in UTF-8 or, failing that, Windows-1252.

    Raises:
        DatasetError: the file cannot be read, is far too large, or is broken UTF-16.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DatasetError(f"{path} is larger than any annotation file ({MAX_BYTES >> 20} MB); get it again")
        return _lines(path.read_bytes())
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path} is broken: {error}; get it again") from error


def _lines(data: bytes) -> list[str]:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16").splitlines()
    if b"\0" in data[:64]:  # UTF-16 without its mark: every other byte of English is 0
        return data.decode("utf-16-le" if data[1:2] == b"\0" else "utf-16-be").splitlines()
    # Not splitlines: in a line of Windows-1252, 0x85 is an ellipsis.
    return [_decoded(line.removesuffix(b"\r")) for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n")]


def _decoded(line: bytes) -> str:
    for encoding in ("utf-8", "cp1252"):
        try:
            return line.decode(encoding)
        except UnicodeDecodeError:
            continue
    return line.decode("latin-1")


def table(path: Path, columns: Sequence[str] = ()) -> list[tuple[int, dict[str, str]]]:
    """Line number and row of a table with a header, separated by tabs if the header has one, else by commas.

    Raises:
        DatasetError: it cannot be read, lacks one of `columns` or has one twice, or a row has too few or too many.
    """
    text = lines(path)
    delimiter = "\t" if text and "\t" in text[0] else ","
    reader = csv.reader((f"{line}\n" for line in text), delimiter=delimiter)
    rows = []
    try:
        header = [name.strip() for name in next(reader, [])]
        named = [name for name in header if not is_unnamed(name)]
        if repeated := [name for name in dict.fromkeys(named) if named.count(name) > 1]:
            raise DatasetError(f"{path} has the column {preview(repeated)} more than once; leave one of them")
        if lacking := [column for column in columns if column not in header]:
            raise DatasetError(f"{path} has no column {preview(lacking)}; it has {preview(header) or 'none'}")
        for values in reader:
            if not any(values):
                continue
            if len(values) != len(header):
                raise DatasetError(
                    f"{path}, line {reader.line_num}: {len(values)} values for {len(header)} columns; correct the line"
                )
            rows.append((reader.line_num, {name: value.strip() for name, value in zip(header, values, strict=True)}))
    except csv.Error as error:
        raise DatasetError(f"{path}, line {reader.line_num} is broken: {error}; get it again") from error
    return rows


def is_unnamed(column: str) -> bool:
    """Whether a column has no name in its header, or the one that pandas gives to such when it reads them."""
    return not column or column.startswith("Unnamed:")


def table_of(name: str, place: Path, columns: Sequence[str]) -> Path | None:
    """The table of a benchmark's labels: in its place, or in `metadata` beside `datasets`, as the paper's reference.

    Raises:
        DatasetError: there are several.
    """
    found = _table_in(place, columns)
    if found is None and _is_called(place, name):
        found = _table_in(place.resolve().parent.parent / "metadata", columns)
    return found


def _table_in(folder: Path, columns: Sequence[str]) -> Path | None:
    """The one CSV or TSV file of a folder whose header begins a table with these columns.

    Raises:
        DatasetError: there are several.
    """
    found = []
    for path in sorted(folder.glob("[!.]*.[ct]sv")):
        with path.open("rb") as file, suppress(UnicodeDecodeError):  # that is no table of ours
            header = next(iter(_lines(file.read(10_000))), "").replace("\t", ",").split(",")
            if set(columns) <= {name.strip().strip('"') for name in header}:
                found.append(path)
    if len(found) > 1:
        raise DatasetError(
            f"{folder} has several tables of labels: {preview([path.name for path in found])}; leave one"
        )
    return found[0] if found else None
