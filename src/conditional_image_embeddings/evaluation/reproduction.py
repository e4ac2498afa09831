"""The paper's tables: every model and method on every benchmark and aspect, embedded and scored in one run.

What is missing (a benchmark's files, a model, a text encoder, words for an aspect) is found out before the first image
is embedded. The job and the store are resumable, and so is this: what is there is not embedded again.
"""

import gc
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from .. import datasets
from ..datasets import Aspect, Benchmark
from ..errors import CieError, DatasetError, EvaluationError, OptionError, ReproductionError, require
from ..methods import load, supported_methods, with_method
from ..methods.registry import FAMILIES, METHODS
from ..methods.request import Request

if TYPE_CHECKING:
    from ..collection.store import Store
    from ..methods import Embedder
    from ..methods.projected import Projected
    from ..methods.settings import Setting

TOP_WORDS = 5
CALIBRATION = 8  # images that are timed, after one that warms up
PHOTO_SIZE = 500  # the longer side of most of the benchmarks' photographs, in pixels


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
        ways: The methods and models, in the order of the table.
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
        self.ways: list[tuple[str, str]] = []
        self.missing: list[str] = []
        self._batch_size, self._loading, self._as_reference = batch_size, loading, as_reference
        self._of_lvlms: dict[str, Any] = {} if positions is None else {"positions": positions}
        self._of_generative = {"text_encoder": text_encoder} if text_encoder else {}
        if as_reference:
            _check_free({**loading, **self._of_lvlms})
        self._at_hand: tuple[str, dict[str, Any]] | None = None  # the model that is loaded, and how
        self._embedders: dict[str, Embedder] = {}  # of that model, by method
        for name in self.names:
            try:
                self.benchmarks[name] = _scorable(datasets.get(name, datasets_dir))
            except (DatasetError, EvaluationError) as error:
                self._misses(name, error)
        self._find_ways(tuple(dict.fromkeys(models)), methods)

    def plan(self, store: "Store | None", *, estimate: bool = False) -> list[Work]:
        """Load each model and ask it for its settings: what is to do, and in `missing` what cannot be.

        The last one stays loaded, and `run` begins with it.

        Args:
            store: Where vectors may be already; None where there is no database yet.
            estimate: Whether a few images are embedded, not stored, to say how long the rest takes.
        """
        works: dict[tuple[str, str], list[Work]] = {}
        clock = _Clock(self.benchmarks, self._batch_size) if estimate else None
        for way in self._by_model():
            try:
                works[way] = [self._work(store, *way, name, clock) for name in self.names]
            except (CieError, ValueError, OSError) as error:
                self.ways.remove(way)
                self._misses(" with ".join(way), error)
        return [work for way in self.ways for work in works[way]]

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
        if not (self.benchmarks and self.ways):
            what = "benchmark is on disk" if self.ways else "model can be used with these methods"
            raise ReproductionError(f"no {what}, so there is nothing to embed")

    def run(self, store: "Store", *, metric: str = "euclidean", clustering: bool = True) -> Outcome:
        """Embed what is not there yet, and score everything; images that cannot be embedded are left out and told.

        Raises:
            StoreError: the database cannot be written. What was committed stays, and the next run goes on from there.
        """
        require("eval", "scoring")
        from ..collection.embedding_job import run_job
        from . import evaluate_settings

        rows: dict[tuple[str, str], list[dict[str, Any]]] = {way: [] for way in self.ways}
        failures: dict[str, dict[str, str]] = {}
        for way in self._by_model():
            for name, benchmark in self.benchmarks.items():
                request = _request(self._load(*way), benchmark.aspects)
                report = run_job(store, benchmark, self._load(*way), request, batch_size=self._batch_size)
                if report.failures:
                    failures.setdefault(name, {}).update(report.failures)
                rows[way] += evaluate_settings(
                    store,
                    [each.setting for each in report.settings],
                    metric=metric,
                    benchmark=benchmark,
                    allow_missing=True,
                    clustering=clustering,
                )
        return Outcome(rows=[row for way in self.ways for row in rows[way]], failures=failures)

    def _find_ways(self, models: Sequence[str], methods: Sequence[str] | None) -> None:
        find = {name: value for name, value in self._loading.items() if name != "image_max_size"}
        allowed: dict[str, tuple[str, ...]] = {}
        for model in models:
            try:
                allowed[model] = supported_methods(model, **find)
            except (CieError, ValueError, OSError) as error:
                self._misses(model, error)
        for method in dict.fromkeys(methods or METHODS):
            family = METHODS[method].model_family
            able = [model for model in allowed if method in allowed[model]]
            if methods and family is None:
                able = [method]
            self.ways += [(method, model) for model in able]
            if methods and family and not able:
                kind = FAMILIES[family]
                self.missing.append(f"{method}: none of the models named can be used with it; name a {kind} (-m)")

    def _by_model(self) -> list[tuple[str, str]]:
        """The ways model by model, the one at hand first, so that none is loaded twice on the way."""
        models = [self._how(*way)[0] for way in self.ways]
        # Those that are loaded in the same way first, then the others of the model.
        return sorted(
            self.ways, key=lambda way: (self._how(*way)[0] != self._at_hand, models.index(self._how(*way)[0]))
        )

    def _how(self, method: str, model: str) -> tuple[tuple[str, dict[str, Any]], dict[str, Any]]:
        """What is loaded, which methods with equal options share, and the method's own options."""
        entry = METHODS[method]
        own = dict(self._of_generative) if "text_encoder" in entry.options else {}
        shared = dict(self._loading) if entry.model_family else {}
        if "positions" in (*entry.options, *entry.backbone_options):
            shared |= self._of_lvlms
        if self._as_reference:
            for name, value in entry.reference.items():
                (own if entry.backbone and name in entry.options else shared)[name] = value
        return (model, shared), own

    def _load(self, method: str, model: str) -> "Embedder":
        """The embedder; a model is kept for all its methods that load it alike: two large ones need not fit at a time.

        So nobody but this object may hold an embedder while the next model is loaded.
        """
        wanted, own = self._how(method, model)
        if wanted != self._at_hand:
            self._embedders.clear()
            gc.collect()  # an embedder is part of a cycle: its memory is needed now
            self._at_hand = wanted
        if method not in self._embedders:
            other = next(iter(self._embedders.values()), None)
            self._embedders[method] = (
                with_method(other, method, **own) if other else load(model, method=method, **wanted[1], **own)
            )
        return self._embedders[method]

    def _work(self, store: "Store | None", method: str, model: str, name: str, clock: "_Clock | None") -> Work:
        embedder = self._load(method, model)
        benchmark = self.benchmarks.get(name)
        known = datasets.description(name)
        request = _request(embedder, benchmark.aspects if benchmark else known.paper_aspects)
        # Without its files, a benchmark's images count as those that are stored, up to the complete number.
        ids = None if benchmark is None else np.fromiter(map(hash, benchmark.images), np.int64)
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

    def _misses(self, what: str, error: Exception) -> None:
        said = " ".join(str(error).split())
        self.missing.append(said if said.startswith(what) else f"{what}: {said}")


class _Clock:
    """Times a few images with each embedder: of the benchmark itself, else of another, else rendered cars."""

    def __init__(self, benchmarks: Mapping[str, Benchmark], batch_size: int | None) -> None:
        self._benchmarks, self._batch_size = benchmarks, batch_size
        self._paces: dict[tuple[str, str, str, int], float] = {}
        self._fits: dict[tuple[str, str], float] = {}
        self._charged: set[tuple[str, str, str]] = set()
        self._pictures: dict[str, list[Any]] = {}

    def seconds(self, embedder: "Embedder", name: str, request: Request, images: int) -> float:
        """For so many images of a benchmark; 0 where an earlier method of the plan makes the same vectors."""
        job = (embedder.method, embedder.model, name)
        if not images or job in self._charged:
            return 0.0
        self._charged.add(job)
        return images * self._pace(embedder, name, request)

    def fitting(self, embedder: "Projected", name: str, request: Request) -> float:
        """For one condition's map."""
        key = (embedder.method, embedder.model)
        if key not in self._fits:
            embedder.fit(self._images(name))
            start = time.perf_counter()
            embedder.matrix(str(request.conditions[0]))
            self._fits[key] = time.perf_counter() - start
        return self._fits[key]

    def _pace(self, embedder: "Embedder", name: str, request: Request) -> float:
        """Seconds an image."""
        key = (embedder.method, embedder.model, self._place(name), len(request.conditions))
        if key not in self._paces:
            images = self._images(name)
            for part in (images[:1], images[1:] or images):
                start = time.perf_counter()
                for _ in embedder.stream(enumerate(part), request, batch_size=self._batch_size):
                    pass
                self._paces[key] = (time.perf_counter() - start) / len(part)
        return self._paces[key]

    def _place(self, name: str) -> str:
        """Where images like this benchmark's come from."""
        if name in self._benchmarks or not self._benchmarks:
            return name if name in self._benchmarks else "cars" if name == "synthetic_cars" else "photos"
        return next((other for other in self._benchmarks if other != "synthetic_cars"), "photos")

    def _images(self, name: str) -> list[Any]:
        place = self._place(name)
        if place not in self._pictures:
            if place in self._benchmarks:
                files = list(self._benchmarks[place].images.values())
                self._pictures[place] = files[:: max(1, len(files) // (CALIBRATION + 1))][: CALIBRATION + 1]
            else:
                self._pictures[place] = _rendered(PHOTO_SIZE if place == "photos" else None)
        return self._pictures[place]


def _check_free(options: Mapping[str, Any]) -> None:
    """Raise an OptionError if one of these is set that the reference implementation has its own of."""
    if taken := [name for name in options if any(name in method.reference for method in METHODS.values())]:
        raise OptionError(f"as_reference sets {' and '.join(taken)} by itself: leave out the one or the other")


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


def _rendered(size: int | None) -> list[Any]:
    from PIL import Image

    from ..datasets.car_renderer import render, sample_scene

    cars = [Image.fromarray(render(sample_scene(np.random.default_rng(seed)))) for seed in range(CALIBRATION + 1)]
    return cars if size is None else [car.resize((size, size)) for car in cars]
