"""Rows as Arrow columns, which the Parquet formats share."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ...errors import OptionError
from ..storage.tables import IMAGES
from .json_rows import IMAGE_COLUMNS
from .selection import Image

COLUMNS = (*IMAGE_COLUMNS, "thumbnail")  # of `images`
READ_ROWS = 1024
METADATA_KEY = b"conditional-image-embeddings"  # the setting and versions, JSON
IDS = ("image_id", "image_path", "path", "file_name", "id")
VECTORS = ("vector", "embedding", "embeddings", "emb", "image_embedding")


def image_fields(*, thumbnails: bool) -> list[pa.Field]:
    """The columns that tell of an image."""
    return [IMAGES.field(name) for name in COLUMNS if thumbnails or name != "thumbnail"]


def image_arrays(images: list[Image], *, thumbnails: bool) -> list[pa.Array]:
    return [
        pa.array([each.get(field.name) for each in images], field.type) for field in image_fields(thumbnails=thumbnails)
    ]


def vector_array(vectors: Any) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])


def batches(file: Path, columns: tuple[str, ...] | None = None) -> Iterator[pa.RecordBatch]:
    """The rows of a Parquet file, so many at a time.

    Raises:
        OptionError: it is none, or damaged.
    """
    with _explained(file):
        table = pq.ParquetFile(file)
    with table:
        names = [name for name in table.schema_arrow.names if columns is None or name in columns]
        rows = table.iter_batches(READ_ROWS, columns=names, use_threads=False)
        while True:
            with _explained(file):
                batch = next(rows, None)
            if batch is None:
                return
            yield batch


def schema(file: Path) -> pa.Schema:
    """A file's columns and metadata.

    Raises:
        OptionError: it is no Parquet file.
    """
    with _explained(file):
        return pq.read_schema(file)


def number_of_rows(file: Path) -> int:
    """How many there are.

    Raises:
        OptionError: it is no Parquet file.
    """
    with _explained(file):
        return int(pq.read_metadata(file).num_rows)


@contextmanager
def _explained(file: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, pa.ArrowException) as error:
        raise OptionError(f"{file} cannot be read as Parquet: {' '.join(str(error).split())[:200]}") from error
