"""Rows that wait for their commit: a long job commits now and then, so that a kill loses little."""

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...methods.request import Embedded, WordScores
from ...methods.settings import Setting
from ..storage.store import Store
from ..storage.tables import ImageRecord

COMMIT_SECONDS = 15.0  # what a kill loses at most; each commit leaves a piece of its own on disk
COMMIT_ROWS = 4096
COMMIT_BYTES = 2**26


class Target(NamedTuple):
    """Where one of an image's vectors goes: its setting, its index in the request's shape, whether it is new there.

    To a vector that is there already only its words are added.
    """

    setting: Setting
    axes: tuple[int, ...]
    is_new: bool


class PendingRows:
    """What was embedded since the last commit.

    Args:
        store: Where it goes.
        dataset: The images' dataset.
        where: Their source, as a setting has it.
        targets: Where an image's vectors go.
        is_known: Whether `images` has an image already.
    """

    def __init__(
        self,
        store: Store,
        dataset: str,
        where: str | None,
        targets: Sequence[Target],
        is_known: Callable[[str], bool],
    ) -> None:
        self._store, self._dataset, self._where = store, dataset, where
        self._targets, self._is_known = targets, is_known
        self._clear()

    def add(self, record: ImageRecord, embedded: Embedded) -> None:
        self._records.append(record)
        self._vectors.append(np.array(embedded.vectors, np.float32))  # a copy: a view would keep its whole batch
        self._words.append(embedded.words)
        self._bytes += embedded.vectors.nbytes + len(record.thumbnail or b"")
        waited = time.monotonic() - self._since
        if len(self._records) >= COMMIT_ROWS or self._bytes >= COMMIT_BYTES or waited >= COMMIT_SECONDS:
            self.commit()

    def commit(self) -> None:
        """Rows of `images` first: an image that has a vector has its row there, whenever the process is killed."""
        records, vectors, words = self._records, self._vectors, self._words
        self._clear()
        if not records:
            return
        new = [record for record in records if not self._is_known(record.image_id)]
        if new:
            self._store.add_images(self._dataset, self._where, new)
        image_ids = [record.image_id for record in records]
        stacked: Any = np.stack(vectors)
        for setting, axes, is_new in self._targets:
            told = [None if each is None else each[axes[0]][axes[1]] for each in words]
            if is_new:
                self._store.add_vectors(setting, image_ids, stacked[(slice(None), *axes)], words=told)
            else:
                self._store.add_words(setting, image_ids, told)

    def _clear(self) -> None:
        self._records: list[ImageRecord] = []
        self._vectors: list[NDArray[np.float32]] = []
        self._words: list[list[list[WordScores]] | None] = []
        self._bytes = 0
        self._since = time.monotonic()
