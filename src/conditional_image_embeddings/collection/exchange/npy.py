"""clip-retrieval's folders: `img_emb/img_emb_0.npy` beside `metadata/metadata_0.parquet`, in as many parts as needed.

With several settings each has such folders in one of its own.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ...errors import OptionError
from ...methods.settings import Setting
from ..storage.tables import WORDS, words_column
from .arrow_rows import METADATA_KEY, batches, image_arrays, image_fields, number_of_rows, schema
from .incoming import Incoming, Origin
from .json_rows import as_float32, words_of
from .provenance import Provenance
from .selection import Block, Selection

PART_BYTES = 64 << 20  # of vectors per file: what is held at a time


def write(selection: Selection, place: Path) -> Sequence[str]:
    several = len(selection.settings) > 1
    for label, setting in zip(selection.labels, selection.settings, strict=True):
        _write_setting(selection, setting, place / label if several else place)
    return ["read it with: clip-retrieval index, autofaiss, numpy.load, or `cie import FOLDER --format npy`"]


def _write_setting(selection: Selection, setting: Setting, place: Path) -> None:
    for folder in ("img_emb", "metadata"):
        (place / folder).mkdir(parents=True)
    made = Provenance.of(selection.store, setting)
    made.write_fitted(place)
    parts = _parts(selection, setting)
    total = selection.count(setting)
    for number, (rows, blocks) in enumerate(parts):
        digits = len(str(max(0, total - 1) // rows))  # of the last part's number, as clip-retrieval writes it
        _write_part(place, f"{number:0{digits}}", made, blocks)


def _parts(selection: Selection, setting: Setting) -> Iterator[tuple[int, list[Block]]]:
    """How many rows a part has (the last may have fewer), and its blocks."""
    pending: list[Block] = []
    rows = limit = 0
    for block in selection.blocks(setting):
        limit = limit or max(1, PART_BYTES // block.vectors[0].nbytes)
        start = 0
        while start < len(block):
            piece = block.rows(start, start + limit - rows)
            pending.append(piece)
            start, rows = start + len(piece), rows + len(piece)
            if rows == limit:
                yield limit, pending
                pending, rows = [], 0
    if pending:
        yield limit, pending


def _write_part(place: Path, number: str, made: Provenance, blocks: list[Block]) -> None:
    np.save(place / "img_emb" / f"img_emb_{number}.npy", np.concatenate([block.vectors for block in blocks]))
    fields = [
        ("image_path", pa.string()),
        ("image_id", pa.string()),
        ("words", WORDS),
        *(field for field in image_fields(thumbnails=False) if field.name != "path"),
    ]
    metadata = {METADATA_KEY: json.dumps(made.to_dict(), ensure_ascii=False).encode()}
    columns = pa.schema(fields, metadata=metadata)
    with pq.ParquetWriter(place / "metadata" / f"metadata_{number}.parquet", columns) as writer:
        for block in blocks:
            path, *others = image_arrays(block.images, thumbnails=False)
            arrays = [path, pa.array(block.image_ids, pa.string()), words_column(block.words), *others]
            writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=columns))


def read(source: Path, origin: Origin) -> Iterator[Incoming]:
    folders = sorted({path.parent for path in (*source.glob("img_emb"), *source.glob("*/img_emb"))})
    if not folders:
        raise OptionError(f"{source} is no such folder: it has no img_emb/*.npy")
    for folder in folders:
        for file in sorted((folder / "img_emb").glob("*.npy")):
            yield from _read_part(folder, file, origin)


def _read_part(folder: Path, file: Path, origin: Origin) -> Iterator[Incoming]:
    beside = folder / "metadata" / f"{file.stem.replace('img_emb', 'metadata', 1)}.parquet"
    if not beside.is_file():
        raise OptionError(f"{file} has no {beside.relative_to(folder)} beside it, which says what its rows are")
    vectors = _load(file)
    told = (schema(beside).metadata or {}).get(METADATA_KEY)
    try:
        made = origin.provenance("npy") if told is None else Provenance.from_dict(json.loads(told), folder)
    except (ValueError, RecursionError) as error:
        raise OptionError(f"{beside}: {error}") from error
    if (rows := number_of_rows(beside)) != len(vectors):
        raise OptionError(f"{file} has {len(vectors)} rows and {beside} {rows}: they do not belong together")
    row = 0
    for batch in batches(beside):
        values = as_float32(vectors[row : row + len(batch)])
        for cell, vector in zip(batch.to_pylist(), values, strict=True):
            row += 1
            yield _row(f"{beside}, row {row}", made, cell, vector)


def _row(place: str, made: Provenance, cell: dict[str, Any], vector: Any) -> Incoming:
    try:
        words = words_of(cell.get("words"))
    except (TypeError, ValueError):
        words = None  # another tool's column of that name
    image_id = cell.get("image_id") or cell.get("image_path") or cell.get("key")
    return Incoming(place, made, image_id, vector, words, {**cell, "path": cell.get("image_path")})


def _load(file: Path) -> Any:
    """A file's rows, read when they are asked for; what would have to be unpickled is refused."""
    try:
        vectors = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise OptionError(f"{file} cannot be read: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(vectors, np.ndarray) or vectors.ndim != 2 or vectors.dtype.kind != "f":
        raise OptionError(f"{file} holds no rows of floating-point numbers")
    return vectors
