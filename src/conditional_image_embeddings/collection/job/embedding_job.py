"""Images -> embedder -> store: the job behind `cie embed`, which goes on where a killed one stopped.

An image is embedded only under what it lacks (see `lacking`), its row in `images` is committed before its vectors, and
a batch of rows is committed whole. So whatever moment a job is killed at, the same job again finds exactly what is
missing. Where words are asked for, a vector that was stored without them lacks them: they are added to its row, and it
stays as it is.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from tqdm.auto import tqdm

from ...datasets.benchmark import Benchmark
from ...errors import ImageError
from ...inputs.arguments import optional_count
from ...inputs.references import ImageSource, Reference
from ...methods.embedder import Embedder
from ...methods.registry import describe
from ...methods.request import Embedded, Request
from ...methods.settings import Setting
from ..storage.store import Store
from ..storage.versions import installed_versions
from . import pruning
from .derivation import derive
from .job_images import JobImage, Reader
from .job_report import JobReport, SettingReport
from .lacking import NOTHING, VECTOR, WORDS, Lacking, Pattern
from .lazy_embedder import LazyEmbedder
from .pending_rows import PendingRows, Target

if TYPE_CHECKING:
    from ...methods.projected import Projected
    from .distributed.ray_embedder import RayEmbedder

logger = logging.getLogger(__name__)

__all__ = ["JobReport", "SettingReport", "run_job"]


def run_job(
    store: Store,
    source: ImageSource,
    embedder: "Embedder | LazyEmbedder | RayEmbedder",
    request: Request,
    *,
    batch_size: int | None = None,
    workers: int | None = None,
    show_progress_bar: bool | None = None,
    prune: bool = False,
    on_work: Callable[[], None] = lambda: None,
) -> JobReport:
    """Embed a source's images under each setting of the request that the store lacks, and commit them.

    With nothing to do, the embedder is asked for its settings only, and the store may be read-only. Memory does not
    grow with the images, but for 24 bytes per image, and 8 more per setting (16 with words). Images that cannot be
    read, or that the model or its processor fails on, are reported, listed in the table `failures` (which has those of
    the last job over the source), and tried again by the next job.

    Args:
        store: Where the vectors go.
        source: The images: a folder, files, a table, a benchmark.
        embedder: What `conditional_image_embeddings.load` gives; or one on a cluster.
        request: The conditions, and all else that decides a vector.
        batch_size: At most so many images per batch; None leaves it to the embedder.
        workers: Threads that read images ahead of the model.
        show_progress_bar: On stderr; None shows it on a terminal only.
        prune: Remove first what the store has of images that are gone (see `pruning`). A benchmark's are kept.
        on_work: Called before anything is embedded or removed, if there is anything.

    Raises:
        SourceError: the source has no images now, or its rows no ids: nothing is pruned.
        StoreError: another job is writing to the store, or it cannot be written, is damaged, or was deleted meanwhile.
            What was committed stays.
        ModelError: the model or its processor fails on every image, an ordinary picture too. What was committed stays.
    """
    started = time.perf_counter()
    batch_size, workers = optional_count("batch_size", batch_size), optional_count("workers", workers)
    request = request.distinct()
    if prune and not isinstance(source, Benchmark):
        pruned = pruning.prune(store, source, on_work)
        done = run_job(
            store, source, embedder, request,
            batch_size=batch_size, workers=workers, show_progress_bar=show_progress_bar, on_work=on_work,
        )  # fmt: skip
        return replace(done, pruned=pruned)
    if isinstance(embedder, Embedder) and embedder.entry.is_derived:
        of_base = run_job(
            store, source, embedder.backbone, Request(),
            batch_size=batch_size, workers=workers, show_progress_bar=show_progress_bar, on_work=on_work,
        )  # fmt: skip
        return derive(store, of_base, cast("Projected", embedder), request, started)
    where = None if isinstance(source, Benchmark) else source.root
    settings = embedder.settings(request, dataset=source.dataset, source=where)
    with store.writing(required=False) as blocked:
        tells_words = (lambda: embedder.has_words) if request.top_words else None
        lacking = Lacking(store, source, where, settings, tells_words=tells_words, blocked=blocked)
        job = _Job(store, source, where, embedder, request, settings, lacking)
        total = sum(number for pattern, number in lacking.patterns.items() if any(pattern))
        if total and blocked is not None:
            raise blocked
        if total:
            on_work()
            _tell_versions(store, settings)
        with tqdm(
            total=total,
            desc=source.dataset,
            unit="image",
            disable=not total or (None if show_progress_bar is None else not show_progress_bar),
        ) as bar:
            for pattern in filter(any, lacking.patterns):
                job.run(pattern, bar, batch_size, workers)
        if blocked is None:
            store.replace_failures(source.dataset, where, job.failures)
        if total:
            store.compact(settings)
    return JobReport(settings=job.reports(), failures=job.failures, seconds=time.perf_counter() - started)


def _tell_versions(store: Store, settings: Sequence[Setting]) -> None:
    """Say once that vectors are added to those of other versions, which may differ by more than rounding."""
    here = installed_versions()
    for setting in settings:
        begun = store.information(setting) if store.count(setting) else {}
        if then := {name: version for name, version in begun.items() if here.get(name) != version}:
            told = ", ".join(f"{name} {version} (here {here.get(name)})" for name, version in then.items())
            logger.warning("%s was begun with %s: its new vectors are made with what is here", setting.name, told)
            return


class _Job:
    """One run of `run_job`: what became of the images."""

    def __init__(
        self,
        store: Store,
        source: ImageSource,
        where: str | None,
        embedder: "Embedder | LazyEmbedder | RayEmbedder",
        request: Request,
        settings: list[Setting],
        lacking: Lacking,
    ) -> None:
        self.store, self.source, self.where = store, source, where
        self.embedder, self.request = embedder, request
        self.settings, self.lacking = settings, lacking
        self.failures: dict[str, str] = {}
        self._shown: dict[str, Any] = {}
        self._embedded: Counter[Pattern] = Counter()
        self._failed: Counter[Pattern] = Counter()
        self._empty: Counter[str] = Counter()  # by setting

    def run(self, pattern: Pattern, bar: Any, batch_size: int | None, workers: int | None) -> None:
        """Embed the images that lack exactly this, under these settings only."""
        lacks = np.array(pattern).reshape(self.request.shape)
        request, kept = self.request.only(lacks != NOTHING)
        settings: Any = np.array(self.settings, object).reshape(lacks.shape)[np.ix_(*kept)]
        lacks = lacks[np.ix_(*kept)]
        targets = [Target(settings[axes], axes, lacks[axes] == VECTOR) for axes in zip(*np.nonzero(lacks), strict=True)]
        read = Reader(
            self.embedder.image_max_size,
            as_reference=self.embedder.image_reading == "reference",
            is_expected=self.lacking.is_expected,
        )
        rows = PendingRows(self.store, self.source.dataset, self.where, targets, self.lacking.is_known)
        wanted = (each for each in self.source.references() if self.lacking.of(each[0]) == pattern)
        try:
            for image, outcome in self._outcomes(wanted, request, read=read, batch_size=batch_size, workers=workers):
                if isinstance(outcome, ImageError) or image.record is None:
                    self.failures[image.image_id] = " ".join(str(outcome).split())
                    self._failed[pattern] += 1
                else:
                    rows.add(image.record, outcome)
                    self._embedded[pattern] += 1
                    self._count_empty(targets, outcome)
                self._show(bar)
                bar.update()
        finally:
            rows.commit()  # also what was made before Ctrl-C or an error

    def _outcomes(
        self, references: Iterable[tuple[str, Reference]], request: Request, **how: Any
    ) -> Iterator[tuple[JobImage, Embedded | ImageError]]:
        if isinstance(self.embedder, Embedder | LazyEmbedder):
            images = ((JobImage(image_id), image) for image_id, image in self.source.open(references))
            return self.embedder.stream(images, request, **how)
        return self.embedder.embed(self.source, references, request, **how)

    def _show(self, bar: Any) -> None:
        """Beside the bar: of a cluster its workers; how many images failed."""
        workers = {} if isinstance(self.embedder, Embedder | LazyEmbedder) else self.embedder.progress
        shown = {**workers, **({"failed": len(self.failures)} if self.failures else {})}
        if shown != self._shown:
            bar.set_postfix(shown, refresh=False)
            self._shown = shown

    def reports(self) -> list[SettingReport]:
        there = self.lacking.patterns
        return [
            SettingReport(
                setting=setting,
                embedded=_sum(self._embedded, index, VECTOR),
                already_there=_sum(there, index, NOTHING, WORDS),
                failed=_sum(self._failed, index, WORDS, VECTOR),
                words_added=_sum(self._embedded, index, WORDS),
                empty_answers=self._empty[setting.name],
            )
            for index, setting in enumerate(self.settings)
            if not self.lacking.repeated[index]
        ]

    def _count_empty(self, targets: Sequence[Target], embedded: Embedded) -> None:
        if embedded.words is not None:
            for setting, (condition, prompt_type, *_), _ in targets:
                if describe(setting.method).tells == "answer" and embedded.words[condition][prompt_type][0][0] == "":
                    self._empty[setting.name] += 1


def _sum(images: Counter[Pattern], index: int, *lacking: int) -> int:
    """How many images lacked one of these of the setting with this index."""
    return sum(number for pattern, number in images.items() if pattern[index] in lacking)
