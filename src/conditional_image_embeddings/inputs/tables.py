"""Tables with a column of encoded images: Parquet files and Lance tables."""

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

from ..errors import ImageError, SourceError, preview
from .folders import absolute, path_to_text
from .images import ImageInput, LazyImage

IMAGE_COLUMNS = ("image", "img", "picture", "photo", "bytes", "jpg", "jpeg", "png", "webp")
ID_COLUMNS = ("image_id", "id", "key", "file_name", "filename", "path")
ROWS = 32  # of a table with encoded images, held at a time


class Table:
    """The rows of a Parquet file or a Lance table (`NAME.lance`) with a column of encoded images.

    The images are bytes, or a struct of `bytes` and `path` as Hugging Face writes them. Ids come from the first column
    of `ID_COLUMNS` whose values are distinct, else from the struct's paths if those are, else they are row numbers.

    Args:
        path: The file or the table's folder.
        allow_outside: Read also files that rows name outside of the folder that the table is in. A table that somebody
            else made could name any file of this machine.

    Raises:
        SourceError: it cannot be read, has no image column, two columns of one name, or no rows.
    """

    def __init__(self, path: Path, *, allow_outside: bool = False) -> None:
        self._path = absolute(path)
        self._allow_outside = allow_outside
        self.root = path_to_text(self._path)
        self.dataset = path_to_text(self._path.stem)
        import pyarrow as pa

        try:
            self._lance = _lance_table(self._path) if self._path.suffix == ".lance" else None
            schema = self._schema()
            if repeated := [name for name, number in Counter(schema.names).items() if number > 1]:
                raise SourceError(f"{self.root} has several columns named {preview(repeated)}: rename all but one")
            self._image = _image_column(schema, self.root)
            self._bytes_only = not pa.types.is_struct(schema.field(self._image).type)
            candidates = [name for name in ID_COLUMNS if name in schema.names and name != self._image]
            self._struct_path = f"{self._image}.path"
            if not self._bytes_only and self._lance is None and "path" in schema.field(self._image).type.names:
                candidates.append(self._struct_path)
            self._id = next((name for name in candidates if _distinct(self._values(name))), None)
        except (OSError, ValueError, RuntimeError, pa.ArrowException) as error:
            raise SourceError(f"{self.root} cannot be read as a table: {' '.join(str(error).split())[:300]}") from error
        if next(self.ids(), None) is None:
            raise SourceError(f"{self.root} has no rows")

    def __iter__(self) -> Iterator[tuple[str, LazyImage]]:
        return self.select(lambda _: True)

    @property
    def has_ids(self) -> bool:
        """Whether a column says which row is which; otherwise a row's id is its number, which others take over."""
        return self._id is not None

    def ids(self) -> Iterator[str]:
        if self._id is not None:
            return map(str, self._values(self._id))
        return (f"{row:08d}" for row in range(self._rows()))

    def select(self, wanted: Callable[[str], bool]) -> Iterator[tuple[str, LazyImage]]:
        if not any(map(wanted, self.ids())):  # the column of images is many times larger than that of ids
            return
        separate = [] if self._id is None or self._id == self._struct_path else [self._id]
        rows = count()
        for batch in self._batches([self._image, *separate], ROWS):
            images = batch.column(self._image)
            if self._id is None:
                ids = [f"{next(rows):08d}" for _ in images]
            else:
                ids = (batch.column(self._id) if separate else images.field("path")).to_pylist()
            for image_id, image in zip(map(str, ids), images, strict=True):
                if wanted(image_id):
                    yield image_id, self._encoded(image, image_id)

    def _encoded(self, cell: Any, image_id: str) -> LazyImage:
        value = cell.as_py()
        data = value if self._bytes_only or value is None else value.get("bytes")
        if data is not None:
            return bytes(data)
        if value is None or not value.get("path"):
            return _failing(f"{self.root}: row {image_id} has no image")
        path = self._path.parent / str(value["path"])
        if self._allow_outside or path.resolve().is_relative_to(self._path.parent.resolve()):
            return path
        return _failing(
            f"{self.root}: row {image_id} names {str(path)!r}, which is outside of the table's folder and not read "
            "(--allow-outside-paths reads it; only if you trust the table)"
        )

    def _schema(self) -> Any:
        import pyarrow.parquet as pq

        return pq.read_schema(self._path) if self._lance is None else self._lance.schema

    def _rows(self) -> int:
        import pyarrow.parquet as pq

        return int(pq.read_metadata(self._path).num_rows if self._lance is None else self._lance.count_rows())

    def _values(self, column: str) -> Iterator[Any]:
        for batch in self._batches([column], 4096):
            values = batch.column(0)
            yield from (values.field("path") if column == self._struct_path else values).to_pylist()

    def _batches(self, columns: list[str], rows: int) -> Iterator[Any]:
        import pyarrow.parquet as pq

        if self._lance is None:
            with pq.ParquetFile(self._path) as file:
                yield from file.iter_batches(rows, columns=columns, use_threads=False)
        else:
            yield from self._lance.search().select(columns).to_batches(rows)


def is_table(path: Path) -> bool:
    """Whether a path is taken for a table, by its name or what a Lance table consists of."""
    return path.suffix in {".parquet", ".lance"} or (path / "_versions").is_dir()


def _failing(message: str) -> Callable[[], ImageInput]:
    def fail() -> ImageInput:
        raise ImageError(message)

    return fail


def _lance_table(path: Path) -> Any:
    import lancedb

    return lancedb.connect(path.parent).open_table(path.stem)


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
