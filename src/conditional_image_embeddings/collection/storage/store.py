"""Embeddings on disk: one table per setting, and the tables `images`, `failures` and `fitted` beside them.

A table's schema carries its whole setting, so that two settings never mix; each commit is one atomic merge by image id,
so that a row is there whole or not at all, and never twice.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ...errors import StoreError
from ...methods.settings import Setting
from ...vectors import cosines
from .digests import digests
from .setting_tables import METADATA_KEY, Fitted, fitted_digest, fitted_with
from .stored_words import StoredWords
from .tables import (
    IMAGES,
    ImageRecord,
    Words,
    filters,
    owned_by,
    scan,
    vector_rows,
    vector_schema,
)

__all__ = ["METADATA_KEY", "ImageRecord", "Store"]


class Store(StoredWords):
    """A database of embeddings: a LanceDB directory, or any URI that LanceDB takes (`s3://...`).

    Args:
        uri: The directory or URI.
        create: Make the directory where there is none; otherwise that is an error.

    Raises:
        StoreError: the path is a file, is missing, or cannot be opened.
    """

    def read(self, setting: Setting) -> tuple[list[str], NDArray[np.float32]]:
        """Image ids, sorted, and their vectors, float32 (n, d).

        Raises:
            StoreError: there is no such setting here, or its table is damaged.
        """
        ids: list[str] = []
        parts = []
        for part_ids, vectors in self.scan(setting):
            ids += part_ids
            parts.append(vectors)
        order = sorted(range(len(ids)), key=ids.__getitem__)
        return [ids[index] for index in order], np.concatenate(parts)[order]

    def scan(self, setting: Setting) -> Iterator[tuple[list[str], NDArray[np.float32]]]:
        """As `read`, in parts of bounded size, in the order that they were stored in; at least one part.

        Raises:
            StoreError: there is no such setting here, or its table is damaged.
        """
        table = self._table_to_read(setting)
        dimensions = _dimensions(table)
        yield [], np.empty((0, dimensions), np.float32)
        batches = iter(scan(table, ["image_id", "vector"]))
        while True:
            with self._explained("read", table.name):
                batch = next(batches, None)
                if batch is None:
                    return
                column = batch.column("vector")
                if column.null_count or batch.column("image_id").null_count:
                    raise self._damaged(table.name, "rows without an image id or a vector")
                vectors = column.flatten().to_numpy().reshape(-1, dimensions)
                ids = batch.column("image_id").to_pylist()
            yield ids, vectors

    def image_ids(self, setting: Setting) -> list[str]:
        """The images that have a vector, in the order that they were stored in."""
        table = self._table_to_read(setting)
        with self._explained("read", table.name):
            return [each for batch in scan(table, ["image_id"]) for each in batch.column(0).to_pylist()]

    def vectors_of(self, setting: Setting, image_ids: Sequence[str]) -> tuple[list[str], NDArray[np.float32]]:
        """Those of these images that have a vector, in the order asked for, and their vectors, float32 (n, d)."""
        table = self._table_to_read(setting)
        dimensions = _dimensions(table)
        found: dict[str, NDArray[np.float32]] = {}
        with self._explained("read", table.name):
            for where in filters("TRUE", image_ids):
                for batch in scan(table, ["image_id", "vector"], where=where):
                    vectors = batch.column("vector").flatten().to_numpy().reshape(-1, dimensions)
                    found.update(zip(batch.column("image_id").to_pylist(), vectors, strict=True))
        there = [image_id for image_id in image_ids if image_id in found]
        empty = np.empty((0, dimensions), np.float32)
        return there, np.stack([found[image_id] for image_id in there]) if there else empty

    def similarities(self, setting: Setting, vector: NDArray[np.float32]) -> tuple[pa.StringArray, NDArray[np.float32]]:
        """Image ids, and the cosine of each image's vector and this one: of all images, exactly.

        Memory grows with the images by their ids and 4 bytes; a zero vector is similar to nothing (0).

        `image_ids`: of those of these that have a vector; by default of all.

        Raises:
            StoreError: there is no such setting here, or its table is damaged.
        """
        table = self._table_to_read(setting)
        dimensions = _dimensions(table)
        ids: list[Any] = [pa.array([], pa.string())]
        parts = [np.empty(0, np.float32)]
        with self._explained("read", table.name):
            for batch in scan(table, ["image_id", "vector"]):
                vectors = batch.column("vector").flatten().to_numpy().reshape(-1, dimensions)
                parts.append(cosines(vectors, vector))
                ids.append(batch.column("image_id").cast(pa.string()))
        return pa.concat_arrays(ids), np.concatenate(parts)

    # What a job needs to write.

    def ids(self, setting: Setting, *, with_words: bool = False) -> NDArray[np.int64]:
        """The digest of the id of each image that has its vector, sorted: 8 bytes an image.

        `with_words`: of each whose vector has its words too.
        """
        table = self._setting_table(setting)
        if table is None:
            return np.empty(0, np.int64)
        with self._explained("read", table.name):
            batches = scan(table, ["image_id"], where="words IS NOT NULL" if with_words else None)
            return np.sort(
                np.concatenate([np.empty(0, np.int64), *(digests(b.column(0).to_pylist()) for b in batches)])
            )

    def count(self, setting: Setting) -> int:
        """How many vectors the setting has."""
        table = self._setting_table(setting)
        if table is None:
            return 0
        with self._explained("read", table.name):
            return int(table.count_rows())

    def state(self, settings: Iterable[Setting]) -> str:
        """A text that is another one after these settings, or what is known of images, were written to."""
        with self.reading():
            tables = [self._open("images"), *map(self._setting_table, settings)]
            with self._explained("read"):
                return "-".join("none" if table is None else str(table.version) for table in tables)

    def among(self, setting: Setting, image_ids: Sequence[str], *, with_words: bool = False) -> list[str]:
        """Those of these images that have a vector, once a row; `with_words`: and its words."""
        table = self._setting_table(setting)
        if table is None:
            return []
        with self._explained("read", table.name):
            return [
                image_id
                for where in filters("words IS NOT NULL" if with_words else "TRUE", image_ids)
                for batch in scan(table, ["image_id"], where=where)
                for image_id in batch.column(0).to_pylist()
            ]

    def add_vectors(
        self,
        setting: Setting,
        image_ids: Sequence[str],
        vectors: NDArray[np.float32],
        words: Sequence[Words | None] | None = None,
        fitted: Fitted | None = None,
        information: Mapping[str, str] | None = None,
    ) -> None:
        """Commit vectors, float32 (n, d), and the words that explain each. An image that has a vector keeps it.

        `fitted`: the arrays that made them, which are those of the whole setting. `information`: what a new table notes
        of the versions that its vectors are made with; by default those that are installed.

        Raises:
            StoreError: another number of dimensions than the setting's, other arrays, or the disk is full or read-only.
        """
        dimensions = vectors.shape[1]
        table = self._setting_table(setting)
        if table is None:
            schema = vector_schema(dimensions, self._metadata(setting, fitted, information=information))
            with self._written(setting.name):
                table = self._open_or_create(setting.name, schema)
        stored = fitted_with(table)
        if (fitted or stored) and fitted_digest(fitted or {}) != stored:
            raise StoreError(f"{setting.name} was fitted on something else: make it anew, whole")
        if _dimensions(table) != dimensions:
            raise StoreError(f"{setting.name} has vectors of {_dimensions(table)} dimensions, not of {dimensions}")
        with self._written(table.name):
            # Through an index of ids Lance sees no conflict of two merges: where nothing is locked it goes without.
            merge = table.merge_insert(["image_id"]).use_index(self.directory is not None).when_not_matched_insert_all()
            merge.execute(
                pa.Table.from_batches([vector_rows(vector_schema(dimensions, {}), image_ids, vectors, words)])
            )

    def replace_vectors(
        self,
        setting: Setting,
        parts: Iterator[tuple[Sequence[str], NDArray[np.float32]]],
        fitted: Fitted | None = None,
        made_of: NDArray[np.int64] | None = None,
    ) -> None:
        """Make these all the vectors of a setting, in one commit: image ids and float32 (n, d), part by part.

        `fitted`: the arrays by name that made them; `made_of`: the images that these are of (see `is_made_of`).
        """
        first = next(parts)
        schema = vector_schema(first[1].shape[1], self._metadata(setting, fitted, made_of=made_of))
        batches = (vector_rows(schema, image_ids, vectors, None) for image_ids, vectors in chain([first], parts))
        self.forget_projection(setting)
        table = self._setting_table(setting)
        name, mode = (setting.name, "create") if table is None else (table.name, "overwrite")
        with self._written(name):
            reader = pa.RecordBatchReader.from_batches(schema, batches)
            self._db.create_table(name, data=reader, schema=schema, mode=mode)
        self._settings.pop(name, None)  # it may have been in an earlier format
        self.forget_quantiles(setting)
        self._drop_unused_arrays()

    def forget(self, dataset: str, source: str | None, image_ids: Sequence[str]) -> None:
        """Remove images whose content changed from every setting of their source, and then from `images`."""
        # In this order, so that a job that was killed on the way finds the change again.
        for setting in self.settings():
            if (setting.dataset, setting.source) == (dataset, source):
                self.remove(setting, image_ids)
        images = self._open("images", IMAGES)
        if images is not None:
            self._delete(images, owned_by(dataset, source), image_ids)

    def remove(self, setting: Setting, image_ids: Sequence[str]) -> None:
        """Remove images from one setting."""
        table = self._setting_table(setting)
        if table is not None:
            self.forget_projection(setting, image_ids)  # first: a job that is killed on the way leaves no former place
            self._delete(table, "TRUE", image_ids)

    def compact(self, settings: Iterable[Setting]) -> None:
        """Merge the many small pieces that a long job leaves, for these settings and `images`.

        Without a lock another job may be writing: what stays in pieces then is only slower to read.
        """
        for table in [self._open("images"), *map(self._setting_table, settings)]:
            try:
                if table is not None:
                    self._compact(table)
            except StoreError as error:
                if self.directory is not None:
                    raise
                self._warn(error)


def _dimensions(table: Any) -> int:
    return int(table.schema.field("vector").type.list_size)
