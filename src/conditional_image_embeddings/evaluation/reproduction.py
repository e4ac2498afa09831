"""The paper's tables: every model and method on every benchmark and aspect, embedded and scored in one run.

What is missing (a benchmark's files, a model, a text encoder, words for an aspect) is found out before the first image
is embedded. The job and the store are resumable, and so is this: what is there is not embedded again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from .. import datasets
from ..datasets import Aspect, Benchmark
from ..errors import CieError, DatasetError, EvaluationError, OptionError, ReproductionError, require
from ..methods.registry import METHODS
from ..methods.request import Request
from .embedders import Embedders
from .pace import Pace

if TYPE_CHECKING:
    from ..collection.storage.store import Store
    from ..methods import Embedder
    from ..methods.projected import Projected
    from ..methods.settings import Setting

TOP_WORDS = 5


@dataclass(frozen=True, kw_only=True)
class Work:
    """What one model and method have to do on one benchmark.

    Attributes:
        dataset: The benchmark.
        on_disk: Whether its files are there; if not, the counts are those of a complete copy.
        method: The method.
        model: The model, as the user named it.
        conditions: What its images are embedded under; None is "no condition".
        images: How many there are.
        already_there: How many of the `vectors` are stored, with their words where there are to be any.
        seconds: What embedding the rest takes, extrapolated from a few images; None where nothing was measured.
    """

    dataset: str
    on_disk: bool
    method: str
    model: str
    conditions: tuple[str | None, ...]
    images: int
    already_there: int
    seconds: float | None = None

    @property
    def vectors(self) -> int:
        """Images times conditions."""
        return self.images * len(self.conditions)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a run gave: `evaluation.evaluate`'s rows in the order of the table, and why images failed, by dataset."""

    rows: list[dict[str, Any]]
    failures: dict[str, dict[str, str]] = field(default_factory=dict)


class Reproduction:
    """What is to be reproduced, and what of it can be.

    Made, it knows which data is missing; after `find_models`, which models are; after `plan`, what there is to do.

    Args:
        models: Image-text-to-text models for DIOR and the generative method, dual encoders for the others.
        methods: Some of `methods.METHODS`; None takes all that the models allow.
        names: Benchmarks, some of `datasets.NAMES`.
        datasets_dir: Where they are.
        text_encoder: Of the generative method; None is the paper's.
        batch_size: Images a batch at most; None leaves it to the embedders.
        positions: "native" or "flat", of DIOR and the generative method; None is the embedders' default.
        as_reference: Everything as the paper's reference implementation has it: `Method.reference`.
        loading: `device`, `dtype` and whatever else `methods.load` takes for every model.

    Attributes:
        benchmarks: Those on disk by name, each with the paper's aspects only.
        lines: The methods and models, in the order of the table, once they were looked for.
        missing: What is not there, one line each with what to do.

    Raises:
        ValueError: an unknown method, or an option that `as_reference` has its own of.
        DatasetError: an unknown benchmark.
    """

    def __init__(
        self,
        *,
        models: Sequence[str],
        methods: Sequence[str] | None = None,
        names: Sequence[str] = datasets.NAMES,
        datasets_dir: Path | str = "./datasets",
        text_encoder: str | None = None,
        batch_size: int | None = None,
        positions: str | None = None,
        as_reference: bool = False,
        **loading: Any,
    ) -> None:
        if unknown := [method for method in methods or () if method not in METHODS]:
            raise OptionError(f"unknown method {unknown[0]!r}; known: {', '.join(METHODS)}")
        self.names = tuple(dict.fromkeys(datasets.description(name).name for name in names))
        self.benchmarks: dict[str, Benchmark] = {}
        self.lines: list[tuple[str, str]] = []
        self.missing: list[str] = []
        self._batch_size = batch_size
        self._embedders = Embedders(loading, text_encoder=text_encoder, positions=positions, as_reference=as_reference)
        for name in self.names:
            try:
                self.benchmarks[name] = _scorable(datasets.get(name, datasets_dir))
            except (DatasetError, EvaluationError) as error:
                self._misses(name, error)
        self._asked = tuple(dict.fromkeys(models)), methods

    def plan(self, store: "Store | None", *, estimate: bool = False) -> list[Work]:
        """Load each model and ask it for its settings: what is to do, and in `missing` what cannot be.

        The last one stays loaded, and `run` begins with it.

        Args:
            store: Where vectors may be already; None where there is no database yet.
            estimate: Whether a few images are embedded, not stored, to say how long the rest takes.
        """
        works: dict[tuple[str, str], list[Work]] = {}
        clock = Pace(self.benchmarks, self._batch_size) if estimate else None
        for line in self._embedders.by_model(self.lines):
            try:
                works[line] = [self._work(store, *line, name, clock) for name in self.names]
            except (CieError, ValueError, OSError) as error:
                self.lines.remove(line)
                self._misses(" with ".join(line), error)
        return [work for line in self.lines for work in works[line]]

    def require(self, *, skip_missing: bool = False) -> None:
        """Refuse to begin unless all is there; with `skip_missing`, unless anything is.

        Raises:
            ReproductionError: something is missing, or nothing would be left.
        """
        if self.missing and not skip_missing:
            raise ReproductionError(
                f"nothing was embedded, because {len(self.missing)} of what was asked for is missing: get it, or leave "
                "it out (--skip-missing)"
            )
        if not (self.benchmarks and self.lines):
            what = "benchmark is on disk" if self.lines else "model can be used with these methods"
            raise ReproductionError(f"no {what}, so there is nothing to embed")

    def run(self, store: "Store", *, metric: str = "euclidean", clustering: bool = True) -> Outcome:
        """Embed what is not there yet, and score everything; images that cannot be embedded are left out and told.

        Raises:
            StoreError: the database cannot be written. What was committed stays, and the next run goes on from there.
        """
        require("eval", "scoring")
        from ..collection.job.embedding_job import run_job
        from . import evaluate

        rows: dict[tuple[str, str], list[dict[str, Any]]] = {line: [] for line in self.lines}
        failures: dict[str, dict[str, str]] = {}
        for line in self._embedders.by_model(self.lines):
            for name, benchmark in self.benchmarks.items():
                request = _request(self._embedders.load(*line), benchmark.aspects)
                report = run_job(store, benchmark, self._embedders.load(*line), request, batch_size=self._batch_size)
                if report.failures:
                    failures.setdefault(name, {}).update(report.failures)
                rows[line] += evaluate(
                    store,
                    [each.setting for each in report.settings],
                    metric=metric,
                    benchmark=benchmark,
                    allow_missing=True,
                    clustering=clustering,
                )
        return Outcome(rows=[row for line in self.lines for row in rows[line]], failures=failures)

    def find_models(self) -> None:
        """Look for the models, and for what methods each is; `require` before it says at once what data is missing.

        Looking for them takes its time: transformers is imported, and the hub asked.
        """
        self.lines, absent = self._embedders.find(*self._asked)
        for what, error in absent:
            self._misses(what, error)

    def _work(self, store: "Store | None", method: str, model: str, name: str, clock: Pace | None) -> Work:
        from ..collection.storage.digests import digests

        embedder = self._embedders.load(method, model)
        benchmark = self.benchmarks.get(name)
        known = datasets.description(name)
        request = _request(embedder, benchmark.aspects if benchmark else known.paper_aspects)
        # Without its files, a benchmark's images count as those that are stored, up to the complete number.
        ids = None if benchmark is None else digests(benchmark.images)
        images = known.images if ids is None else len(ids)

        def there(of: "Embedder", asked: Request) -> list[int]:
            """How many images are embedded under all of the settings, and under each."""
            words = asked.top_words > 0
            stored = [_stored(store, setting, words) for setting in of.settings(asked, dataset=known.name)]
            if ids is None:
                counts = [min(len(each), images) for each in stored]
                return [min(counts), *counts]
            present = np.array([np.isin(ids, each) for each in stored])
            return [int(present.all(axis=0).sum()), *map(int, present.sum(axis=1))]

        whole, *each = there(embedder, request)
        seconds = None
        if clock is not None and not embedder.entry.is_derived:
            seconds = clock.seconds(embedder, name, request, images - whole)
        elif clock is not None:
            of_base, _ = there(embedder.backbone, Request())
            maps = sum(count < images for count in each)
            seconds = clock.seconds(embedder.backbone, name, Request(), images - of_base)
            seconds += maps * clock.fitting(cast("Projected", embedder), name, request)
        return Work(
            dataset=known.name,
            on_disk=benchmark is not None,
            method=method,
            model=model,
            conditions=request.conditions,
            images=images,
            already_there=sum(each),
            seconds=seconds,
        )

    def _misses(self, what: str, error: Exception | str) -> None:
        said = " ".join(str(error).split())
        self.missing.append(said if said.startswith(what) else f"{what}: {said}")


def _request(embedder: "Embedder", aspects: Sequence[Aspect]) -> Request:
    words = TOP_WORDS if embedder.entry.tells == "words" else 0
    return Request(conditions=embedder.benchmark_conditions([aspect.condition for aspect in aspects]), top_words=words)


def _stored(store: "Store | None", setting: "Setting", words: bool) -> Any:
    return np.empty(0, np.int64) if store is None else store.ids(setting, with_words=words)


def _scorable(benchmark: Benchmark) -> Benchmark:
    """The benchmark with the paper's aspects only.

    Raises:
        EvaluationError: the labels of one of them cannot be scored.
    """
    from . import check_labels

    papers = datasets.description(benchmark.name).paper_aspects
    labels = {aspect: labels for aspect, labels in benchmark.labels.items() if aspect in papers}
    for aspect, each in labels.items():
        try:
            check_labels(list(each.values()))
        except EvaluationError as error:
            raise EvaluationError(f"{benchmark.name}: {aspect.name} cannot be scored: {error}; get all of it") from None
    return replace(benchmark, labels=labels)
