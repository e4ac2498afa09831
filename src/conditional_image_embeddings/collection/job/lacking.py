"""What each image of a source lacks of a job's settings, and which vectors are of pictures that are no longer there.

Ids are compared by digests of 64 bits. Where one digest stands for two ids (listed, or stored), these are looked up by
their names: nothing is lost. A file whose size, time or place changed since it was embedded is hashed. If its content
changed, its vectors are removed from every setting of its source, as are those of an image whose row in `images` is
gone: of what picture they are cannot be known. Rows of a Parquet or Lance file are not checked for changes.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ...errors import ImageError
from ...inputs.encoded import FileStat, read_encoded
from ...inputs.images import LazyImage
from ...inputs.references import ImageSource
from ...methods.settings import Setting
from ..storage.database import ReadOnlyError
from ..storage.digests import digest, digests, doubled, has, span
from ..storage.image_tables import place_key
from ..storage.store import Store

CHECKED_TOGETHER = 500
COUNTED_TOGETHER = 2**16

Pattern = tuple[int, ...]  # for each setting of the job: what an image lacks of it
NOTHING, WORDS, VECTOR = range(3)  # who lacks the vector lacks its words too
Keys = NDArray[np.int64]

logger = logging.getLogger(__name__)


class Lacking:
    """What is there of a source's images under some settings.

    Args:
        store: Where it is looked up, and where vectors of changed pictures are removed.
        source: The images.
        where: The source as a setting has it.
        settings: The job's, in the order of its patterns.
        tells_words: Whether vectors can get the words that they were stored without; None: words are not asked for.
        blocked: Why the store cannot be written, if so: raised where something has to be removed.

    Attributes:
        patterns: How many images lack exactly this.
        repeated: For each setting whether an earlier one is the same, as layer -1 and the last are.
    """

    def __init__(
        self,
        store: Store,
        source: ImageSource,
        where: str | None,
        settings: list[Setting],
        *,
        tells_words: Callable[[], bool] | None = None,
        blocked: ReadOnlyError | None = None,
    ) -> None:
        self._store, self._source, self._where, self._settings = store, source, where, settings
        self._tells_words, self._blocked = tells_words, blocked
        first = {setting.name: index for index, setting in reversed(list(enumerate(settings)))}
        self.repeated = [first[setting.name] != index for index, setting in enumerate(settings)]
        self._exact: dict[str, Pattern] = {}
        self._ambiguous: set[int] = set()  # digests that stand for more than one id, or may stand for another's
        self._load()
        self._forget_images_without_row()
        self._check_files()
        self._remove_doubled()
        self._load()
        self.patterns = self._count()

    def of(self, image_id: str) -> Pattern:
        """What the image lacks."""
        key = digest(image_id)
        if key in self._ambiguous:
            if image_id not in self._exact:
                self._exact[image_id] = self._looked_up(image_id)
            return self._exact[image_id]
        return tuple(
            NOTHING if repeated or has(done, key) else WORDS if has(there, key) else VECTOR
            for repeated, there, done in zip(self.repeated, self._there, self._done, strict=True)
        )

    def is_known(self, image_id: str) -> bool:
        """Whether `images` had the image, for certain."""
        key = digest(image_id)
        return key not in self._ambiguous and has(self._known, key)

    def is_expected(self, image_id: str, place: FileStat) -> bool:
        """Whether this is the file that `images` knows, or that of an image which it does not know."""
        return not self.is_known(image_id) or self._is_at(image_id, place)

    def _load(self) -> None:
        self._known, self._places = self._store.places(self._source.dataset, self._where)
        self._there = self._done = [self._store.ids(setting) for setting in self._settings]  # `_done`: with the words

    def _count(self) -> "Counter[Pattern]":
        if self._tells_words is not None:
            told = [self._store.ids(setting, with_words=True) for setting in self._settings]
            # Asked only where it matters: the answer may take loading the model.
            if list(map(len, told)) != list(map(len, self._there)) and self._tells_words():
                self._done = told
        listed = np.sort(digests(image_id for image_id, _ in self._source.references()))
        self._ambiguous.update(doubled(listed).tolist(), doubled(self._known).tolist())
        unclear = np.isin(listed, np.array([*self._ambiguous], np.int64))
        counted: Counter[Pattern] = Counter()
        for part in np.array_split(listed[~unclear], len(listed) // COUNTED_TOGETHER + 1):
            for pattern, number in zip(*np.unique(self._patterns(part), axis=0, return_counts=True), strict=True):
                counted[tuple(pattern.tolist())] += int(number)
        if unclear.any():
            ids = (image_id for image_id, _ in self._source.references() if digest(image_id) in self._ambiguous)
            counted.update(map(self.of, ids))
        return counted

    def _patterns(self, keys: Keys) -> NDArray[np.int8]:
        """What images of these digests lack, (n, settings)."""
        lacks = np.zeros((len(keys), len(self._settings)), np.int8)
        for index, (there, done) in enumerate(zip(self._there, self._done, strict=True)):
            if not self.repeated[index]:
                lacks[:, index] = np.where(np.isin(keys, done), NOTHING, np.where(np.isin(keys, there), WORDS, VECTOR))
        return lacks

    def _looked_up(self, image_id: str) -> Pattern:
        def lacks(setting: Setting) -> int:
            if not self._store.among(setting, [image_id]):
                return VECTOR
            with_words = self._done is not self._there
            return WORDS if with_words and not self._store.among(setting, [image_id], with_words=True) else NOTHING

        return tuple(
            NOTHING if repeated else lacks(setting)
            for repeated, setting in zip(self.repeated, self._settings, strict=True)
        )

    def _is_at(self, image_id: str, place: FileStat) -> bool:
        first, last = span(self._known, digest(image_id))
        return digest(place_key(image_id, place)) in self._places[first:last]

    def _forget_images_without_row(self) -> None:
        """A job stores an image's row before its vectors: a vector without one tells of a table that was removed.

        Unless it was imported: of another tool's vectors there may be no more than their ids.
        """
        owner = (self._source.dataset, self._where)
        stored = [
            each
            for each in self._store.settings()
            if (each.dataset, each.source) == owner and "imported" not in each.extra
        ]
        more = any(self._store.count(setting) > len(self._known) for setting in stored)
        if not more and all(np.isin(there, self._known).all() for there in self._there):
            return
        ids = [self._store.ids(setting) for setting in stored]
        lost = np.unique(np.concatenate([np.setdiff1d(each, self._known) for each in (*ids, *self._there)]))
        self._forget(image_id for image_id, _ in self._source.references() if has(lost, digest(image_id)))

    def _check_files(self) -> None:
        """Forget images whose file's content is not what was embedded; note where the others are now."""
        if not len(self._known):
            return
        suspects = (
            (image_id, reference, place)
            for image_id, reference in self._source.references()
            if has(self._known, digest(image_id))
            and (place := self._source.stat(reference)) is not None
            and not self._is_at(image_id, place)
        )
        while part := list(islice(suspects, CHECKED_TOGETHER)):
            stored = self._store.content_hashes(self._source.dataset, self._where, [each for each, _, _ in part])
            # An id that only has the digest of a stored one is no image that changed.
            self._ambiguous.update(digest(each) for each, _, _ in part if each not in stored)
            opened = self._source.open((each, reference) for each, reference, _ in part if each in stored)
            unchanged = {each for each, image in opened if _content_hash(image) == stored[each]}
            same = {each: place for each, _, place in part if each in unchanged}
            self._forget(each for each, _, _ in part if each in stored and each not in same)
            if same and self._blocked is None:
                self._store.move_images(self._source.dataset, self._where, same)

    def _remove_doubled(self) -> None:
        """Remove the vectors of images that have several: earlier versions could store them so."""
        for setting, there in zip(self._settings, self._there, strict=True):
            keys = doubled(there)
            if self._blocked is None and len(keys):
                suspects = [image_id for image_id, _ in self._source.references() if has(keys, digest(image_id))]
                rows = Counter(self._store.among(setting, suspects))
                if several := [image_id for image_id, number in rows.items() if number > 1]:
                    logger.warning(
                        "%d images of %s had more than one vector; they are embedded anew", len(several), setting.name
                    )
                    self._store.remove(setting, several)

    def _forget(self, image_ids: Iterable[str]) -> None:
        image_ids = iter(image_ids)
        while part := list(islice(image_ids, CHECKED_TOGETHER)):
            if self._blocked is not None:
                raise self._blocked
            self._store.forget(self._source.dataset, self._where, part)


def _content_hash(image: LazyImage) -> str | None:
    """None for one that cannot be read (any more)."""
    try:
        return read_encoded(cast("Any", image() if callable(image) else image)).sha256
    except ImageError:
        return None
