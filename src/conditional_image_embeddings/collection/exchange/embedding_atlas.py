"""One Parquet file for Apple's Embedding Atlas: a row per image, and per condition its place, words and neighbors.

The columns are those that its options ask for: coordinates, `{ids, distances}` of the nearest by row number, and a
picture as a data URL.
"""

import base64
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ...methods.settings import Setting
from ...vectors import unit
from ..projection import matrix, plane, preferred
from .neighbors import neighbors
from .selection import Image, Selection

NEIGHBORS = pa.struct([("ids", pa.list_(pa.int32())), ("distances", pa.list_(pa.float32()))])
ROWS = 1024


def write(selection: Selection, place: Path) -> Sequence[str]:
    image_ids = selection.image_ids
    row_of = {image_id: row for row, image_id in enumerate(image_ids)}
    suffixes = [""] if len(selection.settings) == 1 else [f"_{label}" for label in selection.labels]
    maps, commands = [], []
    for suffix, setting in zip(suffixes, selection.settings, strict=True):
        found = _Map(selection, setting, row_of, place.parent)
        maps.append(found)
        commands.append(
            f"open it ({found.made_by}) with: embedding-atlas {place.name} --x x{suffix} --y y{suffix} "
            f"--neighbors neighbors{suffix} --text words{suffix} --disable-projection"
        )
    fields: list[Any] = [("image_id", pa.string()), ("image", pa.string()), ("path", pa.string())]
    fields += [("width", pa.int32()), ("height", pa.int32())]
    for suffix in suffixes:
        fields += [(f"{name}{suffix}", kind) for name, kind in _COLUMNS]
    with pq.ParquetWriter(place, pa.schema(fields), compression="zstd") as writer:
        for start, block in zip(range(0, len(image_ids), ROWS), selection.joined(ROWS), strict=True):
            stop = start + len(block.image_ids)
            arrays = [pa.array(block.image_ids), pa.array(map(_picture, block.images), pa.string())]
            arrays += [pa.array([each.get(name) for each in block.images], writer.schema.field(name).type)
                       for name in ("path", "width", "height")]  # fmt: skip
            for label, each in zip(selection.labels, maps, strict=True):
                arrays += each.columns(start, stop)
                words = block.words[label]
                arrays += [pa.array([told[0][0] if told else None for told in words], pa.string())]
                arrays += [pa.array([", ".join(f"{word} {p:.2f}" for word, p in told) if told else None
                                     for told in words], pa.string())]  # fmt: skip
            writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=writer.schema))
    return commands


_COLUMNS = (
    ("x", pa.float32()), ("y", pa.float32()), ("neighbors", NEIGHBORS), ("word", pa.string()), ("words", pa.string()),
)  # fmt: skip


class _Map:
    """A setting's images on the plane, in the rows of the file; an image without a vector has no place."""

    def __init__(self, selection: Selection, setting: Setting, row_of: dict[str, int], folder: Path) -> None:
        self._rows = np.full(len(row_of), -1, np.int64)  # of the file, to those that have a vector
        at: list[int] = []

        def parts() -> Iterator[tuple[slice, NDArray[np.float32]]]:
            for block in selection.blocks(setting):
                kept = [
                    row for row, image_id in enumerate(block.image_ids) if image_id in row_of
                ]  # a job may be writing
                at.extend(row_of[block.image_ids[row]] for row in kept)
                yield slice(len(at) - len(kept), len(at)), unit(block.vectors[kept])

        with matrix(parts(), len(row_of), folder) as every:
            values = every[: len(at)]  # an image may have no vector
            self.made_by = preferred(len(at), None)
            self._place = plane(values, self.made_by)
            ids, self._distances = neighbors(values)
        self._ids = np.array(at)[ids]
        self._rows[at] = np.arange(len(at))

    def columns(self, start: int, stop: int) -> list[pa.Array]:
        rows = self._rows[start:stop]
        missing = rows < 0
        x, y = (np.where(missing, 0, self._place[rows, axis]).astype(np.float32) for axis in (0, 1))
        near = [
            None if row < 0 else {"ids": self._ids[row].tolist(), "distances": self._distances[row].tolist()}
            for row in rows
        ]
        return [pa.array(x, mask=missing), pa.array(y, mask=missing), pa.array(near, NEIGHBORS)]


def _picture(image: Image) -> str | None:
    thumbnail = image.get("thumbnail")
    return None if thumbnail is None else f"data:image/webp;base64,{base64.b64encode(thumbnail).decode()}"
