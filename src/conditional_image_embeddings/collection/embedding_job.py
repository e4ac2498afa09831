"""Images -> embedder -> store: the job behind `cie embed`, which goes on where a killed one stopped.

An image is embedded only under what it lacks, its row in `images` is committed before its vectors, and a batch of rows
is committed whole. So whatever moment a job is killed at, the same job again finds exactly what is missing. Where words
are asked for, a vector that was stored without them lacks them: they are added to its row, and it stays as it is.

A file whose size, time or place changed since it was embedded is hashed; if its content changed, its vectors are
removed from every setting of its source and made anew. Rows of a Parquet or Lance file are not checked so.
"""

import hashlib
import logging
import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm.auto import tqdm

from ..datasets.benchmark import Benchmark
from ..errors import ImageError, StoreError
from ..inputs.images import image_name, read_image, stored_size, thumbnail
from ..inputs.sources import ImageSource, listing, path_to_text, select
from ..methods.embedder import Embedder
from ..methods.registry import describe
from ..methods.request import Embedded, Request, WordScores
from ..methods.settings import Setting, versions
from .lazy_embedder import LazyEmbedder
from .store import FileStat, ImageRecord, Store

if TYPE_CHECKING:
    from ..methods.projected import Projected

COMMIT_SECONDS = 15.0  # what a kill loses at most; each commit leaves a piece of its own on disk
COMMIT_ROWS = 4096
COMMIT_BYTES = 2**26
CHECKED_TOGETHER = 500

logger = logging.getLogger(__name__)

Pattern = tuple[int, ...]  # for each setting of the job: what an image lacks of it
NOTHING, WORDS, VECTOR = range(3)  # who lacks the vector lacks its words too


@dataclass(frozen=True, kw_only=True)
class SettingReport:
    """What a job did for one setting, in images. `failed` lack it (or its words) still: they cannot be read, or the
    model or its processor fails on them.

    `words_added` is of those already there: how many got the words that they had been stored without. `empty_answers`
    is of the generative method: of those embedded, how many the model answered with nothing.
    """

    setting: Setting
    embedded: int
    already_there: int
    failed: int
    words_added: int = 0
    empty_answers: int = 0


@dataclass(frozen=True, kw_only=True)
class JobReport:
    """What a job did: one report a setting, in the order of the request's axes, and why images failed, by image id."""

    settings: list[SettingReport]
    failures: dict[str, str] = field(default_factory=dict)
    seconds: float


def run_job(
    store: Store,
    source: ImageSource,
    embedder: Embedder | LazyEmbedder,
    request: Request,
    *,
    batch_size: int | None = None,
    workers: int | None = None,
    show_progress_bar: bool | None = None,
) -> JobReport:
    """Embed a source's images under each setting of the request that the store lacks, and commit them.

    With nothing to do, the embedder is asked for its settings only. Memory does not grow with the images, but for 16
    bytes an image, and 8 more a setting (16 with words), that are there already. Images that cannot be read, or that
    the model or its processor fails on, are reported, listed in the table `failures` (which has those of the last job
    over the source), and tried again by the next job.

    Args:
        store: Where the vectors go.
        source: The images: a folder, files, a table, a benchmark.
        embedder: What `conditional_image_embeddings.load` gives.
        request: The conditions, and all else that decides a vector.
        batch_size: At most so many images a batch; None leaves it to the embedder.
        workers: Threads that read images ahead of the model.
        show_progress_bar: On stderr; None shows it on a terminal only.

    Raises:
        StoreError: another job is writing to the store, or it cannot be written. What was committed stays.
        ModelError: the model or its processor fails on every image, an ordinary picture too. What was committed stays.
    """
    started = time.perf_counter()
    request = request.distinct()
    if not isinstance(embedder, LazyEmbedder) and embedder.entry.is_derived:
        of_base = run_job(
            store, source, embedder.backbone, Request(),
            batch_size=batch_size, workers=workers, show_progress_bar=show_progress_bar,
        )  # fmt: skip
        return derive(store, of_base, cast("Projected", embedder), request, started)
    where = None if isinstance(source, Benchmark) else source.root
    settings = embedder.settings(request, dataset=source.dataset, source=where)
    with store.writing():
        job = _Job(store, source, where, embedder, request, settings)
        job.check_changes()
        job.count()
        total = sum(number for pattern, number in job.patterns.items() if any(pattern))
        if total:
            _tell_versions(store, settings)
        with tqdm(
            total=total,
            desc=source.dataset,
            unit="image",
            disable=None if show_progress_bar is None else not show_progress_bar,
        ) as bar:
            for pattern in [pattern for pattern in job.patterns if any(pattern)]:
                job.run(pattern, bar, batch_size, workers)
        store.replace_failures(source.dataset, where, job.failures)
        if total:
            store.compact(job.settings)
    return JobReport(settings=job.reports(), failures=job.failures, seconds=time.perf_counter() - started)


def derive(store: Store, of_base: JobReport, embedder: "Projected", request: Request, started: float) -> JobReport:
    """Make each condition's vectors from the base's stored ones, all of a setting in one commit.

    A setting that has not exactly the base's images is made anew, whole: its map may depend on the collection. So is
    one of an earlier version, which did not keep its map.
    """
    (base,) = of_base.settings
    settings = embedder.settings(request, dataset=base.setting.dataset, source=base.setting.source)
    reports = []
    with store.writing():
        there = store.ids(base.setting)
        stale = [is_outdated(store, setting, there) for setting in settings]
        if any(stale) and len(there):
            embedder.fit_vectors(vectors for _, vectors in store.scan(base.setting))
        for setting, each, is_stale in zip(settings, request.by_condition(), stale, strict=True):
            if is_stale:
                parts = ((ids, embedder.under(part, each)[:, 0, 0, 0, 0]) for ids, part in store.scan(base.setting))
                store.replace_vectors(setting, parts, embedder.fitted(each))
            done = len(there)
            reports.append(
                SettingReport(
                    setting=setting,
                    embedded=done if is_stale else 0,
                    already_there=0 if is_stale else done,
                    failed=base.failed,
                )
            )
    return JobReport(settings=reports, failures=of_base.failures, seconds=time.perf_counter() - started)


def is_outdated(store: Store, setting: Setting, there: NDArray[np.int64]) -> bool:
    """Whether vectors made from stored ones are to be made anew: of other images, or without what made them."""
    try:
        return not np.array_equal(store.ids(setting), there) or store.fitted(setting) is None
    except StoreError:  # it is lost
        return True


def _tell_versions(store: Store, settings: Sequence[Setting]) -> None:
    """Say once that vectors are added to those of other versions, which may differ by more than rounding."""
    here = versions()
    for setting in settings:
        then = {name: version for name, version in store.versions(setting).items() if here.get(name) != version}
        if then:
            told = ", ".join(f"{name} {version} (here {here.get(name)})" for name, version in then.items())
            logger.warning("%s was begun with %s: its new vectors are made with what is here", setting.name, told)
            return


class _Job:
    """One run of `embed`: what is there, what is missing, and what became of it."""

    def __init__(
        self,
        store: Store,
        source: ImageSource,
        where: str | None,
        embedder: Embedder | LazyEmbedder,
        request: Request,
        settings: list[Setting],
    ) -> None:
        self.store, self.source, self.where = store, source, where
        self.embedder, self.request = embedder, request
        self.settings = settings
        self.failures: dict[str, str] = {}
        self.patterns: Counter[Pattern] = Counter()
        self._embedded: Counter[Pattern] = Counter()
        self._failed: Counter[Pattern] = Counter()
        self._empty: Counter[str] = Counter()  # by setting
        self._there: list[NDArray[np.int64]] = []
        self._done = self._there  # with the words, if they are asked for
        self._known: NDArray[np.int64] = np.empty(0, np.int64)

    def check_changes(self) -> None:
        """Forget images whose file's content is not what was embedded."""
        known, places = self.store.places(self.source.dataset, self.where)
        if not len(known):
            return
        files = ((image_id, path) for image_id, path in listing(self.source) if path is not None)
        suspects = (
            (image_id, path, place)
            for image_id, path in files
            if (index := _index(known, hash(image_id))) is not None
            and (place := _place(path)) is not None
            and hash(place) != places[index]
        )
        while part := list(islice(suspects, CHECKED_TOGETHER)):
            stored = self.store.content_hashes(self.source.dataset, self.where, [image_id for image_id, _, _ in part])
            same = {image_id: place for image_id, path, place in part if _hash_of(path) == stored.get(image_id)}
            changed = [image_id for image_id, _, _ in part if image_id not in same]
            if same:
                self.store.move_images(self.source.dataset, self.where, same)
            if changed:
                self.store.forget(self.source.dataset, self.where, changed)

    def count(self) -> None:
        """Find which settings each image lacks: how many images there are of each such pattern."""
        first = {setting.name: index for index, setting in reversed(list(enumerate(self.settings)))}
        self._there = self._done = [self.store.ids(setting) for setting in self.settings]
        if self.request.top_words:
            told = [self.store.ids(setting, with_words=True) for setting in self.settings]
            # Asked only where it matters: the answer may take loading the model.
            if list(map(len, told)) != list(map(len, self._there)) and self.embedder.has_words:
                self._done = told
        # Two layers may be one setting (-1 and the last): its vectors are stored once.
        self._repeated = [first[setting.name] != index for index, setting in enumerate(self.settings)]
        self._known = self.store.places(self.source.dataset, self.where)[0]
        self.patterns = Counter(self._lacks(image_id) for image_id, _ in listing(self.source))

    def run(self, pattern: Pattern, bar: Any, batch_size: int | None, workers: int | None) -> None:
        """Embed the images that lack exactly this, under these settings only."""
        lacking = np.array(pattern).reshape(self.request.shape)
        request, kept = self.request.only(lacking != NOTHING)
        settings: Any = np.array(self.settings, object).reshape(lacking.shape)[np.ix_(*kept)]
        lacking = lacking[np.ix_(*kept)]
        places = [(settings[axes], axes, lacking[axes] == VECTOR) for axes in zip(*np.nonzero(lacking), strict=True)]
        reader = _Reader(self.embedder.image_max_size, as_reference=self.embedder.image_reading == "reference")
        pending = (
            (image_id, image)
            for image_id, image in select(self.source, lambda image_id: self._lacks(image_id) == pattern)
        )
        rows = _Rows(self, places)
        try:
            for image_id, outcome in self.embedder.stream(
                pending, request, batch_size=batch_size, workers=workers, read=reader
            ):
                record = reader.records.pop(image_id, None)
                if isinstance(outcome, ImageError) or record is None:
                    self.failures[image_id] = " ".join(str(outcome).split())
                    self._failed[pattern] += 1
                    bar.set_postfix(failed=len(self.failures))
                else:
                    rows.add(record, outcome)
                    self._embedded[pattern] += 1
                    self._count_empty(places, outcome)
                bar.update()
        finally:
            rows.commit()  # also what was made before Ctrl-C or an error

    def _count_empty(self, places: "Sequence[_Place]", embedded: Embedded) -> None:
        if embedded.words is not None:
            for setting, (condition, prompt_type, *_), _ in places:
                if describe(setting.method).tells == "answer" and embedded.words[condition][prompt_type][0][0] == "":
                    self._empty[setting.name] += 1

    def reports(self) -> list[SettingReport]:
        return [
            SettingReport(
                setting=setting,
                embedded=_sum(self._embedded, index, VECTOR),
                already_there=_sum(self.patterns, index, NOTHING, WORDS),
                failed=_sum(self._failed, index, WORDS, VECTOR),
                words_added=_sum(self._embedded, index, WORDS),
                empty_answers=self._empty[setting.name],
            )
            for index, setting in enumerate(self.settings)
            if not self._repeated[index]
        ]

    def is_known(self, image_id: str) -> bool:
        """Whether `images` had the image before this job."""
        return _has(self._known, hash(image_id))

    def _lacks(self, image_id: str) -> Pattern:
        key = hash(image_id)
        return tuple(
            NOTHING if repeated or _has(done, key) else WORDS if _has(there, key) else VECTOR
            for repeated, there, done in zip(self._repeated, self._there, self._done, strict=True)
        )


_Place = tuple[Setting, tuple[int, ...], bool]  # where a vector goes, which of an image's, whether it is not there yet


class _Rows:
    """Rows that wait for their commit."""

    def __init__(self, job: _Job, places: "Sequence[_Place]") -> None:
        self._job, self._places = job, places
        self._clear()

    def add(self, record: ImageRecord, embedded: Embedded) -> None:
        self._records.append(record)
        self._vectors.append(np.array(embedded.vectors, np.float32))  # a copy: a view would keep its whole batch
        self._words.append(embedded.words)
        self._bytes += embedded.vectors.nbytes + len(record.thumbnail)
        waited = time.monotonic() - self._since
        if len(self._records) >= COMMIT_ROWS or self._bytes >= COMMIT_BYTES or waited >= COMMIT_SECONDS:
            self.commit()

    def commit(self) -> None:
        """Rows of `images` first: an image that has a vector has its row there, whenever the process is killed."""
        job, records, vectors, words = self._job, self._records, self._vectors, self._words
        self._clear()
        if not records:
            return
        new = [record for record in records if not job.is_known(record.image_id)]
        if new:
            job.store.add_images(job.source.dataset, job.where, new)
        image_ids = [record.image_id for record in records]
        stacked: Any = np.stack(vectors)
        for setting, axes, is_new in self._places:
            told = [None if each is None else each[axes[0]][axes[1]] for each in words]
            if is_new:
                job.store.add_vectors(setting, image_ids, stacked[(slice(None), *axes)], words=told)
            else:
                job.store.add_words(setting, image_ids, told)

    def _clear(self) -> None:
        self._records: list[ImageRecord] = []
        self._vectors: list[NDArray[np.float32]] = []
        self._words: list[list[list[WordScores]] | None] = []
        self._bytes = 0
        self._since = time.monotonic()


class _Reader:
    """Reads an image in a worker, and notes what the table `images` keeps of it."""

    def __init__(self, max_size: int, *, as_reference: bool) -> None:
        self._max_size, self._as_reference = max_size, as_reference
        self.records: dict[str, ImageRecord] = {}

    def __call__(self, image_id: str, given: Any) -> Image.Image:
        if callable(given):
            given = given()
        path = Path(given) if isinstance(given, str | os.PathLike) else None
        place = None if path is None else _place(path)  # before it is read: a change while it is read is seen next time
        name = image_name(given, image_id)
        image = read_image(given, max_size=self._max_size, as_reference=self._as_reference, name=name)
        width, height = _upright_size(given if path is None else path, image)
        self.records[image_id] = ImageRecord(
            image_id=image_id,
            width=width,
            height=height,
            content_hash=(None if path is None else _hash_of(path)) or _hash_of_value(given, image),
            place=place or FileStat(),
            thumbnail=thumbnail(image),
        )
        return image


def _upright_size(given: Any, image: Image.Image) -> tuple[int, int]:
    if not isinstance(given, bytes | Path):
        return image.size
    width, height = stored_size(given)
    turned = (width - height) * (image.width - image.height) < 0  # by its EXIF orientation
    return (height, width) if turned else (width, height)


def _place(path: Path) -> FileStat | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return FileStat(path_to_text(path.absolute()), status.st_size, status.st_mtime_ns)


def _hash_of(path: Path) -> str | None:
    """SHA-256 of the file's bytes; None for a file that cannot be read (any more)."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def _hash_of_value(given: Any, image: Image.Image) -> str:
    return hashlib.sha256(given if isinstance(given, bytes) else image.tobytes()).hexdigest()


def _sum(images: Counter[Pattern], index: int, *lacking: int) -> int:
    """How many images lacked one of these of the setting with this index."""
    return sum(number for pattern, number in images.items() if pattern[index] in lacking)


def _has(values: NDArray[np.int64], key: int) -> bool:
    return _index(values, key) is not None


def _index(values: NDArray[np.int64], key: int) -> int | None:
    """Where the key is in the sorted values."""
    index = int(np.searchsorted(values, key))
    return index if index < len(values) and values[index] == key else None
