"""What the tables hold: their schemas, and rows from Python's values to Arrow's.

`image_id` is the key of every table: an unenforced primary key in Lance's words, by which two merges that insert the
same key at once conflict, and the later one is tried again. So no image has two rows, with or without a lock.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ...errors import OptionError
from ...inputs.encoded import FileStat

SCAN_ROWS = 4096
IDS_A_FILTER = 500
MOST_FILTERS = 10  # for more images than these find, reading all rows is faster
LONGEST_FILTER = 10_000  # characters
KEY = {b"lance-schema:unenforced-primary-key": b"true"}

Words = Sequence[tuple[str, float]]

WORDS = pa.list_(pa.struct([("word", pa.string()), ("probability", pa.float32())]))
IMAGES = pa.schema(
    [
        pa.field("dataset", pa.string(), nullable=False, metadata=KEY),
        # "" for a benchmark: SQL never finds NULL equal to NULL
        pa.field("source", pa.string(), nullable=False, metadata=KEY),
        pa.field("image_id", pa.string(), nullable=False, metadata=KEY),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("content_hash", pa.string()),
        pa.field("path", pa.string()),
        pa.field("size", pa.int64()),
        pa.field("modified", pa.int64()),
        pa.field("thumbnail", pa.binary()),
    ]
)
MOVED = pa.schema([IMAGES.field(name) for name in ("dataset", "source", "image_id", "path", "size", "modified")])
FAILURES = pa.schema([*(IMAGES.field(name) for name in ("dataset", "source", "image_id")), ("reason", pa.string())])
FITTED = pa.schema(
    [
        pa.field("digest", pa.string(), nullable=False, metadata=KEY),
        pa.field("name", pa.string(), nullable=False, metadata=KEY),
        ("dtype", pa.string()),
        ("shape", pa.list_(pa.int64())),
        ("values", pa.large_binary()),
    ]
)


@dataclass(frozen=True, kw_only=True)
class ImageRecord:
    """What the table `images` keeps of an image: upright size in pixels, SHA-256 of the encoded bytes, thumbnail.

    A job knows all of it; of images that were imported some may not be known.
    """

    image_id: str
    width: int | None
    height: int | None
    content_hash: str | None
    place: FileStat
    thumbnail: bytes | None


def vector_schema(dimensions: int, metadata: Mapping[bytes, bytes]) -> pa.Schema:
    """Of a setting's table."""
    return pa.schema(
        [
            pa.field("image_id", pa.string(), nullable=False, metadata=KEY),
            pa.field("vector", pa.list_(pa.float32(), dimensions), nullable=False),
            pa.field("words", WORDS),
        ],
        metadata=metadata,
    )


def vector_rows(
    schema: pa.Schema, image_ids: Sequence[str], vectors: NDArray[np.float32], words: Sequence[Words | None] | None
) -> pa.RecordBatch:
    flat = pa.array(np.ascontiguousarray(vectors, dtype=np.float32).ravel())
    columns = [
        pa.array(image_ids, pa.string()),
        pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1]),
        words_column(words or [None] * len(vectors)),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def words_column(words: Sequence[Words | None]) -> pa.Array:
    told = [None if each is None else [{"word": word, "probability": p} for word, p in each] for each in words]
    return pa.array(told, WORDS)


def array_row(digest: str, name: str, array: NDArray[Any]) -> dict[str, Any]:
    little = array.astype(array.dtype.newbyteorder("<"))
    return {
        "digest": digest, "name": name, "dtype": little.dtype.str, "shape": array.shape, "values": little.tobytes(),
    }  # fmt: skip


def row_array(row: Mapping[str, Any]) -> NDArray[Any]:
    """What `array_row` was given. `frombuffer` makes no objects of the bytes, whatever the type says."""
    return np.frombuffer(row["values"], np.dtype(row["dtype"])).reshape(row["shape"]).copy()


def scan(table: Any, columns: list[str], where: str | None = None) -> Any:
    """The rows in batches of bounded size."""
    query = table.search().select(columns)
    return (query if where is None else query.where(where)).to_batches(SCAN_ROWS)


def owned(dataset: str, source: str | None, rows: list[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    """Rows of images of one dataset or source."""
    return pa.Table.from_pylist([{"dataset": dataset, "source": source or "", **row} for row in rows], schema=schema)


def owned_by(dataset: str, source: str | None) -> str:
    """The same as a filter."""
    return f"dataset = {quoted(dataset)} AND source = {quoted(source or '')}"


def quoted(text: str) -> str:
    """A SQL string; the quote is the only character that DataFusion's standard dialect wants doubled."""
    return "'" + text.replace("'", "''") + "'"


def filters(where: str, image_ids: Sequence[str]) -> Iterator[str]:
    """Filters for these images, each of bounded length."""
    for start in range(0, len(image_ids), IDS_A_FILTER):
        yield f"({where}) AND image_id IN ({', '.join(map(quoted, image_ids[start : start + IDS_A_FILTER]))})"


def rows_of(
    table: Any, columns: list[str], image_ids: Sequence[str] | None, where: str | None = None
) -> Iterator[dict[str, Any]]:
    """The rows of these images (None: of all), in any order; `columns` has `image_id`.

    No filter is none at all, not "TRUE": with one, LanceDB 0.36 gives empty lists for null ones.
    """
    if image_ids is not None and len(image_ids) <= MOST_FILTERS * IDS_A_FILTER:
        for each in filters(where or "TRUE", image_ids):
            for batch in scan(table, columns, each):
                yield from batch.to_pylist()
        return
    wanted = None if image_ids is None else pa.array(image_ids, pa.string())
    for batch in scan(table, columns, where):
        if wanted is None:
            yield from batch.to_pylist()
        else:
            there = pc.is_in(batch.column("image_id").cast(pa.string()), value_set=wanted)
            yield from batch.filter(there).to_pylist()


def one_expression(text: str) -> str:
    """A filter that a user typed, safe to be put into parentheses.

    What could close those, or end in a comment or a further statement, would not be the filter that the user meant;
    whether the rest is a filter at all, the database says.

    Raises:
        OptionError: it is empty, too long, or more than one expression.
    """
    if not isinstance(text, str) or not text.strip() or len(text) > LONGEST_FILTER:
        raise OptionError(f'a filter is an expression of 1 to {LONGEST_FILTER} characters, such as "width > 500"')
    bare = re.sub(r"""'(?:[^']|\'\')*'|"(?:[^"]|"")*"|`[^`]*`""", "", text)
    depth = 0
    for sign in re.findall(r"--|/\*|[;()'\"`]", bare):
        depth += {"(": 1, ")": -1}.get(sign, 0)
        if sign not in "()" or depth < 0:
            break
    else:
        if not depth:
            return " ".join(text.splitlines())
    raise OptionError(f"{text[:100]!r} is no single filter: parentheses and quotes in pairs, no comment, no semicolon")


def misfit(schema: pa.Schema, expected: pa.Schema) -> str | None:
    """What a stored table lacks of the columns that it should have; further ones are its owner's business."""
    for field in expected:
        if field.name not in schema.names:
            return f"it has no column `{field.name}`"
        stored, wanted = schema.field(field.name).type, field.type
        if pa.types.is_fixed_size_list(wanted) and wanted.list_size == 1:  # any number of dimensions
            if not pa.types.is_fixed_size_list(stored) or stored.value_type != pa.float32():
                return f"its column `{field.name}` holds {_plain(stored)}, not a fixed number of float32"
        elif _plain(stored) != _plain(wanted):
            return f"its column `{field.name}` holds {_plain(stored)}, not {_plain(wanted)}"
    return None


def _plain(kind: pa.DataType) -> str:
    """A type's name, whatever its parts are called or whether they may be null; large ones hold the same."""
    return re.sub(r"large_| not null", "", re.sub(r"(<)(item|element): ", r"\1", str(kind)))
