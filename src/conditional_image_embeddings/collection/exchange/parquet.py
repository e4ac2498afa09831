"""Parquet: image, condition, vector and words by row, the setting in the file's metadata; one file per setting."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ...errors import OptionError, preview
from ...methods.settings import Setting
from ..storage.tables import WORDS, words_column
from .arrow_rows import (
    COLUMNS,
    IDS,
    METADATA_KEY,
    VECTORS,
    batches,
    image_arrays,
    image_fields,
    schema,
    vector_array,
)
from .incoming import Incoming, Origin
from .json_rows import as_float32, words_of
from .provenance import Provenance
from .selection import Block, Selection


def write(selection: Selection, place: Path) -> Sequence[str]:
    if not place.is_dir():
        if len(selection.settings) > 1:
            raise OptionError(
                f"a Parquet file holds one setting, and {len(selection.settings)} are chosen: choose one with -c or "
                "--setting, or name a folder, which gets a file for each"
            )
        _write_file(selection, selection.settings[0], place)
        return ["read it with: pyarrow, pandas, Polars, DuckDB, or `cie import FILE --format parquet`"]
    for label, setting in zip(selection.labels, selection.settings, strict=True):
        _write_file(selection, setting, place / f"{label}.parquet")
    return ["read them with: pyarrow, pandas, Polars, DuckDB, or `cie import FOLDER --format parquet`"]


def _write_file(selection: Selection, setting: Setting, place: Path) -> None:
    made = Provenance.of(selection.store, setting)
    made.write_fitted(place.parent)
    metadata = {METADATA_KEY: json.dumps(made.to_dict(), ensure_ascii=False).encode()}
    writer = None
    try:
        for block in selection.blocks(setting):
            fields = [
                ("image_id", pa.string()),
                ("condition", pa.string()),
                ("vector", pa.list_(pa.float32(), block.vectors.shape[1])),
                ("words", WORDS),
                *image_fields(thumbnails=True),
            ]
            writer = writer or pq.ParquetWriter(place, pa.schema(fields, metadata=metadata), compression="zstd")
            writer.write_batch(pa.RecordBatch.from_arrays(_arrays(setting, block), schema=writer.schema))
    finally:
        if writer is not None:
            writer.close()


def _arrays(setting: Setting, block: Block) -> list[pa.Array]:
    return [
        pa.array(block.image_ids, pa.string()),
        pa.array([setting.condition] * len(block), pa.string()),
        vector_array(block.vectors),
        words_column(block.words),
        *image_arrays(block.images, thumbnails=True),
    ]


def read(source: Path, origin: Origin) -> Iterator[Incoming]:
    files = sorted(source.glob("*.parquet")) if source.is_dir() else [source]
    if not files:
        raise OptionError(f"{source} has no Parquet files")
    for file in files:
        yield from _read_file(file, origin)


def _read_file(file: Path, origin: Origin) -> Iterator[Incoming]:
    columns = schema(file)
    vector = _first(VECTORS, columns, file, "vectors")
    image_id = _first(IDS, columns, file, "image ids")
    told = (columns.metadata or {}).get(METADATA_KEY)
    known: dict[str | None, Provenance] = {}
    made = None if told is None else _provenance(told, file)
    row = 0
    for batch in batches(file, (image_id, vector, "condition", "words", *COLUMNS)):
        cells = {name: batch.column(name).to_pylist() for name in batch.schema.names if name != vector}
        for index, values in enumerate(batch.column(vector)):
            row += 1
            place = f"{file}, row {row}"
            cell = {name: column[index] for name, column in cells.items()}
            if made is None and (condition := cell.get("condition")) not in known:
                known[condition] = origin.provenance("parquet", condition=condition)
            try:
                yield Incoming(
                    place,
                    made or known[cell.get("condition")],
                    cell[image_id],
                    _values(values),
                    words_of(cell.get("words")),
                    {name: cell.get(name) for name in COLUMNS},
                )
            except (TypeError, ValueError, AttributeError, pa.ArrowException):
                yield Incoming(place, problem="its vector is no list of numbers, or its words are none")


def _values(cell: Any) -> Any:
    if not cell.is_valid:
        return None
    return as_float32(np.asarray(cell.values.to_numpy(zero_copy_only=False), np.float64))


def _provenance(told: bytes, file: Path) -> Provenance:
    try:
        return Provenance.from_dict(json.loads(told), file.parent)
    except (ValueError, RecursionError) as error:
        raise OptionError(f"{file}: {error}") from error


def _first(names: Sequence[str], columns: pa.Schema, file: Path, what: str) -> str:
    if found := [name for name in names if name in columns.names]:
        return found[0]
    raise OptionError(
        f"{file} has no column of {what} ({' or '.join(names)}); its columns: {preview(columns.names, 10)}"
    )
