"""Tables with a column of encoded images: Parquet files and Lance tables."""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from ..errors import SourceError, preview
from .encoded import FileStat
from .folders import absolute, path_to_text
from .images import LazyImage
from .object_store import SCHEME, ObjectUri, reason
from .references import Unreadable
from .table_files import LanceTable, ParquetFile, TableFile

IMAGE_COLUMNS = ("image", "img", "picture", "photo", "bytes", "jpg", "jpeg", "png", "webp")
ID_COLUMNS = ("image_id", "id", "key", "file_name", "filename", "path")


class Table:
    """The rows of a Parquet file or a Lance table (`NAME.lance`) with a column of encoded images.

    The images are bytes, or a struct of `bytes` and `path` as Hugging Face writes them. Ids come from the first column
    of `ID_COLUMNS` whose values are distinct, else from the struct's paths if those are, else they are row numbers.
    An image's reference is its row's number.

    Args:
        place: The file or the table's folder, on this machine or an object store.
        allow_outside: Read also files that rows name outside of the folder that the table is in. A table that somebody
            else made could name any file of this machine.

    Raises:
        SourceError: it cannot be read, has no image column, two columns of one name, or no rows.
    """

    def __init__(self, place: Path | ObjectUri, *, allow_outside: bool = False) -> None:
        self._path = None if isinstance(place, ObjectUri) else absolute(place)
        self._allow_outside = allow_outside
        self.root = str(place) if self._path is None else path_to_text(self._path)
        self.dataset = path_to_text(place.stem)
        import pyarrow as pa

        try:
            self._file: TableFile = (LanceTable if place.suffix == ".lance" else ParquetFile)(self._path or place)
            schema = self._file.schema()
            if repeated := [name for name, number in Counter(schema.names).items() if number > 1]:
                raise SourceError(f"{self.root} has several columns named {preview(repeated)}: rename all but one")
            self._image = _image_column(schema, self.root)
            self._bytes_only = not pa.types.is_struct(schema.field(self._image).type)
            candidates = [name for name in ID_COLUMNS if name in schema.names and name != self._image]
            self._struct_path = f"{self._image}.path"
            is_parquet = isinstance(self._file, ParquetFile)  # of a Lance table the bytes would be read with the paths
            if not self._bytes_only and is_parquet and "path" in schema.field(self._image).type.names:
                candidates.append(self._struct_path)
            self._id = next((name for name in candidates if _distinct(self._values(name))), None)
            if not self._file.count():
                raise SourceError(f"{self.root} has no rows")
        except (OSError, ValueError, RuntimeError, pa.ArrowException) as error:
            raise SourceError(f"{self.root} cannot be read as a table: {reason(error)}") from error

    def __iter__(self) -> Iterator[tuple[str, LazyImage]]:
        return self.open(self.references())

    @property
    def has_ids(self) -> bool:
        """Whether a column says which row is which; otherwise a row's id is its number, which others take over."""
        return self._id is not None

    def references(self) -> Iterator[tuple[str, int]]:
        if self._id is not None:
            return ((str(value), row) for row, value in enumerate(self._values(self._id)))
        return ((f"{row:08d}", row) for row in range(self._file.count()))

    def open(self, references: Iterable[tuple[str, int]]) -> Iterator[tuple[str, LazyImage]]:
        ids: deque[str] = deque()  # of the rows that are being read

        def rows() -> Iterator[int]:
            for image_id, row in references:
                ids.append(image_id)
                yield row

        for cell in self._file.cells(self._image, rows()):
            image_id = ids.popleft()
            if isinstance(cell, Unreadable):
                yield image_id, Unreadable(f"{self.root}: row {image_id} cannot be read: {cell.reason}")
            else:
                yield image_id, self._encoded(cell, image_id)

    def stat(self, _: int, /) -> FileStat | None:
        """None: rows are not checked for changes."""
        return None

    def file_of(self, _: str, /) -> Path | None:
        return self._path

    def judge(self) -> Callable[[str], bool | None]:
        return lambda _: True  # the table says what it has

    def _encoded(self, cell: Any, image_id: str) -> LazyImage:
        value = cell.as_py()
        data = value if self._bytes_only or value is None else value.get("bytes")
        if data is not None:
            return bytes(data)
        if value is None or not value.get("path"):
            return Unreadable(f"{self.root}: row {image_id} has no image")
        if self._path is None:
            return Unreadable(f"{self.root}: row {image_id} names a file; on {SCHEME} only encoded images are read")
        path = self._path.parent / str(value["path"])
        if self._allow_outside or path.resolve().is_relative_to(self._path.parent.resolve()):
            return path
        return Unreadable(
            f"{self.root}: row {image_id} names {str(path)!r}, which is outside of the table's folder and not read "
            "(--allow-outside-paths reads it; only if you trust the table)"
        )

    def _values(self, column: str) -> Iterator[Any]:
        import pyarrow as pa

        try:
            for values in self._file.batches(column):
                yield from (values.field("path") if column == self._struct_path else values).to_pylist()
        except (OSError, ValueError, RuntimeError, pa.ArrowException) as error:
            raise SourceError(f"{self.root} cannot be read as a table: {reason(error)}") from error


def is_table(place: Path | ObjectUri) -> bool:
    """Whether a place is taken for a table, by its name or what a Lance table consists of."""
    return place.suffix in {".parquet", ".lance"} or (isinstance(place, Path) and (place / "_versions").is_dir())


def _image_column(schema: Any, where: str) -> str:
    import pyarrow as pa

    def holds_bytes(kind: Any) -> bool:
        if pa.types.is_struct(kind):
            return "bytes" in kind.names and holds_bytes(kind.field("bytes").type)
        return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))

    possible = [field.name for field in schema if holds_bytes(field.type)]
    for name in (*IMAGE_COLUMNS, *(possible if len(possible) == 1 else ())):
        if name in possible:
            return str(name)
    raise SourceError(
        f"{where} has no image column (encoded bytes, or a struct with them, named {' or '.join(IMAGE_COLUMNS[:2])}); "
        f"its columns: {preview(schema.names, 10)}"
    )


def _distinct(values: Iterator[Any]) -> bool:
    """Whether these are all there and all different; 8 bytes per value."""
    import numpy as np

    hashes = np.fromiter((hash(None if value is None else str(value)) for value in values), np.int64)
    return hash(None) not in hashes and len(np.unique(hashes)) == len(hashes)
