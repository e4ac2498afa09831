"""The words that explain vectors: the column `words` of each setting's table."""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ...methods.settings import Setting
from .setting_tables import COLUMNS
from .tables import Words, rows_of, scan, words_column
from .vector_index import VectorIndexes


class StoredWords(VectorIndexes):
    """A database with the words of its images."""

    def words(
        self, setting: Setting, image_ids: Sequence[str] | None = None
    ) -> dict[str, list[tuple[str, float]] | None]:
        """Image id to the words that explain its vector, most probable first; None where none were stored.

        `image_ids`: of these images only.

        Raises:
            StoreError: there is no such setting here, or its table is damaged.
        """
        table = self._table_to_read(setting)
        with self._explained("read", table.name):
            return {
                row["image_id"]: row["words"] and [(each["word"], each["probability"]) for each in row["words"]]
                for row in rows_of(table, ["image_id", "words"], image_ids)
            }

    def image_ids_with_word(self, setting: Setting, word: str) -> set[str]:
        """The images that have a word among those that explain their vector, whatever its case."""
        table = self._table_to_read(setting)
        found: set[str] = set()
        with self._explained("read", table.name):
            for batch in scan(table, ["image_id", "words"]):
                words = batch.column("words")
                said = pc.utf8_lower(pc.list_flatten(words).field("word"))
                rows = pc.list_parent_indices(words).filter(pc.equal(said, word.lower()))
                found.update(batch.column("image_id").take(rows).to_pylist())
        return found

    def count_words(self, setting: Setting) -> int:
        """How many images have words with their vector."""
        table = self._table_to_read(setting)
        with self._explained("read", table.name):
            return int(table.count_rows("words IS NOT NULL"))

    def first_words(self, setting: Setting) -> Iterator[pa.RecordBatch]:
        """`image_id`, and the most probable word of each image with its `probability`; null where none were stored.

        Raises:
            StoreError: there is no such setting here, or its table is damaged.
        """
        table = self._table_to_read(setting)
        with self._explained("read", table.name):
            for batch in scan(table, ["image_id", "words"]):
                first = pc.list_slice(batch.column("words"), 0, 1)
                told = pc.list_flatten(first)
                # Not `list_element`: a list may be empty.
                place = pc.index_in(_numbers(len(batch)), value_set=pc.list_parent_indices(first).cast(pa.int64()))
                word, probability = (told.field(name).take(place) for name in ("word", "probability"))
                ids = batch.column("image_id").cast(pa.string())
                yield pa.RecordBatch.from_arrays([ids, word, probability], ["image_id", "word", "probability"])

    def add_words(self, setting: Setting, image_ids: Sequence[str], words: Sequence[Words | None]) -> None:
        """Commit the words that explain vectors which are there already; the vectors stay as they are."""
        table = self._table_to_read(setting)
        columns = [pa.array(image_ids, pa.string()), words_column(words)]
        schema = pa.schema([COLUMNS.field("image_id"), COLUMNS.field("words")])
        with self._written(table.name):
            merge = table.merge_insert(["image_id"]).when_matched_update_all()
            merge.execute(pa.Table.from_arrays(columns, schema=schema))


def _numbers(count: int) -> pa.Array:
    return pa.array(np.arange(count, dtype=np.int64))
