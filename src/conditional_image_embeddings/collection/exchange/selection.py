"""What is exported: settings and images of a database, block by block, with what is known of each image."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import OptionError, StoreError, preview
from ...inputs.conditions import checked_condition
from ...methods.settings import Setting
from ..spaces import choose
from ..storage.store import Store
from ..storage.tables import Words

Image = dict[str, Any]  # a row of `images`


@dataclass(frozen=True)
class Block:
    """Rows of a setting. `images` has {} for an image of which nothing is known."""

    image_ids: list[str]
    vectors: NDArray[np.float32]
    words: list[Words | None]
    images: list[Image]

    def __len__(self) -> int:
        return len(self.image_ids)

    def rows(self, start: int, stop: int) -> "Block":
        """Those from `start` to `stop`, or to the last."""
        part = slice(start, stop)
        return Block(self.image_ids[part], self.vectors[part], self.words[part], self.images[part])


@dataclass(frozen=True)
class JoinedBlock:
    """Images with their vectors under several settings; by label. A row without a vector has zeros and no words."""

    image_ids: list[str]
    images: list[Image]
    vectors: dict[str, NDArray[np.float32]]
    there: dict[str, NDArray[np.bool_]]
    words: dict[str, list[Words | None]]


class Selection:
    """Settings of a database, and which of their images.

    Args:
        store: The database.
        conditions: Those wanted, whatever their case; None of them is "no condition". None at all takes every one.
        pattern: Glob over the settings' names.
        where: A filter over the columns of `images`.

    Raises:
        StoreError: there are no such settings, or no vectors.
        OptionError: `where` is no filter, or no image fits it.
    """

    def __init__(
        self, store: Store, conditions: Sequence[str | None] | None, pattern: str = "*", where: str | None = None
    ) -> None:
        self.store = store
        found = store.settings(pattern)
        if conditions is not None:
            wanted = [_folded(checked_condition(condition)) for condition in conditions]
            found = [each for each in found if _folded(each.condition) in wanted]
            found.sort(key=lambda each: wanted.index(_folded(each.condition)))
        lacking = set() if conditions is None else set(wanted) - {_folded(each.condition) for each in found}
        if not found or lacking:
            found = list(choose(store, [None] if conditions is None else conditions, pattern).values())
        self._wanted: dict[tuple[str, str | None], set[str]] = {}
        if where is not None:
            for each in found:
                if _source(each) not in self._wanted:
                    self._wanted[_source(each)] = set(store.image_ids_where(each.dataset, each.source, where))
            if not any(self._wanted.values()):
                raise OptionError(f"no image fits {where[:100]!r}")
        self.settings = [each for each in found if self.count(each)]
        if not self.settings:
            raise StoreError(f"{store.uri} has no vectors to export: embed some with `cie embed ... -e {store.uri}`")

    @property
    def labels(self) -> list[str]:
        """What to call each setting's file or column: its condition where that says it all, else its name."""
        slugs = [_slug(each.condition) for each in self.settings]
        repeated = {slug for slug, number in Counter(slug.lower() for slug in slugs).items() if number > 1}
        return [
            each.name if slug.lower() in repeated else slug for each, slug in zip(self.settings, slugs, strict=True)
        ]

    def count(self, setting: Setting) -> int:
        """How many vectors `blocks` gives."""
        wanted = self._wanted.get(_source(setting))
        if wanted is None:
            return self.store.count(setting)
        return sum(each in wanted for each in self.store.image_ids(setting))

    def blocks(self, setting: Setting) -> Iterator[Block]:
        """The setting's rows in parts of bounded size, none empty.

        Raises:
            StoreError: the table is damaged, or a vector is not finite.
        """
        wanted = self._wanted.get(_source(setting))
        for image_ids, vectors in self.store.scan(setting):
            kept = [row for row, each in enumerate(image_ids) if wanted is None or each in wanted]
            if not kept:
                continue
            ids, values = [image_ids[row] for row in kept], vectors[kept]
            if not (finite := np.isfinite(values).all(axis=1)).all():
                broken = ids[int(np.argmin(finite))]
                raise StoreError(f"{setting.name}: the vector of {broken} holds NaN or infinity: embed it in float32")
            words = self.store.words(setting, ids)
            rows = self.store.image_rows(setting.dataset, setting.source, ids)
            yield Block(ids, values, [words.get(each) for each in ids], [rows.get(each, {}) for each in ids])

    def joined(self, rows: int = 1024) -> Iterator[JoinedBlock]:
        """The images that have a vector under any of the settings, sorted by id, in parts of so many rows.

        Raises:
            StoreError: the settings are of several sources: their ids may mean different images.
        """
        image_ids = self.image_ids
        first = self.settings[0]
        for start in range(0, len(image_ids), rows):
            ids = image_ids[start : start + rows]
            known = self.store.image_rows(first.dataset, first.source, ids)
            block = JoinedBlock(ids, [known.get(each, {}) for each in ids], {}, {}, {})
            row_of = {image_id: row for row, image_id in enumerate(ids)}
            for label, setting in zip(self.labels, self.settings, strict=True):
                there, vectors = self.store.vectors_of(setting, ids)
                at = [row_of[each] for each in there]
                block.vectors[label] = np.zeros((len(ids), vectors.shape[1]), np.float32)
                block.vectors[label][at] = vectors
                block.there[label] = np.isin(np.arange(len(ids)), at)
                words = self.store.words(setting, ids)
                block.words[label] = [words.get(each) for each in ids]
            yield block

    @property
    def image_ids(self) -> list[str]:
        """The images of `joined`."""
        first = self.settings[0]
        if others := [each.name for each in self.settings if _source(each) != _source(first)]:
            raise StoreError(
                f"{first.name} and {preview(others, 2)} are of several sources: choose one with --setting (setting=)"
            )
        wanted = self._wanted.get(_source(first))
        there = {image_id for setting in self.settings for image_id in self.store.image_ids(setting)}
        return sorted(there if wanted is None else there & wanted)


def _source(setting: Setting) -> tuple[str, str | None]:
    return setting.dataset, setting.source


def _folded(condition: str | None) -> str | None:
    return None if condition is None else condition.casefold()


def _slug(condition: str | None) -> str:
    return re.sub(r"\W+", "_", condition or "none").strip("_")[:60] or "condition"
