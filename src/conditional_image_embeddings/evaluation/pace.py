"""How long embedding takes on this machine, extrapolated from a few images: what `cie reproduce --dry-run` says."""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..datasets import Benchmark
from ..methods.request import Request

if TYPE_CHECKING:
    from ..methods import Embedder
    from ..methods.projected import Projected

CALIBRATION = 8  # images that are timed, after one that warms up
PHOTO_SIZE = 500  # the longer side of most of the benchmarks' photographs, in pixels


class Pace:
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


def _rendered(size: int | None) -> list[Any]:
    from PIL import Image

    from ..datasets.car_renderer import render, sample_scene

    cars = [Image.fromarray(render(sample_scene(np.random.default_rng(seed)))) for seed in range(CALIBRATION + 1)]
    return cars if size is None else [car.resize((size, size)) for car in cars]
