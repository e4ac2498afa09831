"""Collections as several test files search them: random vectors, and rendered cars under the bundled model."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import conditional_image_embeddings as cie
from conditional_image_embeddings import datasets
from conditional_image_embeddings.collection.job.embedding_job import run_job
from conditional_image_embeddings.collection.storage.store import Store
from conditional_image_embeddings.collection.storage.tables import ImageRecord
from conditional_image_embeddings.datasets.synthetic_cars import make
from conditional_image_embeddings.inputs.encoded import FileStat
from conditional_image_embeddings.methods.request import Request
from conditional_image_embeddings.methods.settings import Setting


def setting(condition: str | None = "color", **own: object) -> Setting:
    """Of a source and method that no model stands behind."""
    given = {"dataset": "photos", "source": "/photos", "method": "tiny", "model": "tiny", "condition": condition}
    return Setting(**{**given, **own})  # type: ignore[arg-type]


def names(number: int) -> list[str]:
    return [f"{index:05d}.png" for index in range(number)]


def add(
    store: Store,
    of: Setting,
    image_ids: Sequence[str],
    vectors: NDArray[np.float32],
    words: Sequence[Sequence[tuple[str, float]] | None] | None = None,
) -> None:
    """Vectors, and a row of `images` for each image, 10 pixels wide for the first, 11 for the second, ..."""
    records = [
        ImageRecord(
            image_id=image_id, width=10 + index, height=10, content_hash=f"{index:064d}",
            place=FileStat(f"/photos/{image_id}", index, index), thumbnail=b"",
        )
        for index, image_id in enumerate(image_ids)
    ]  # fmt: skip
    store.add_images(of.dataset, of.source, records)
    store.add_vectors(of, image_ids, vectors, words=words)


def random_store(path: Path, number: int, *conditions: str | None, dimensions: int = 8, seed: int = 0) -> Store:
    """Random vectors of various lengths, of the same images under each condition, stored in different orders."""
    store, generator, image_ids = Store(path), np.random.default_rng(seed), names(number)
    for condition in conditions:
        order = generator.permutation(number)
        vectors = generator.normal(size=(number, dimensions)) * generator.uniform(0.1, 10, (number, 1))
        add(store, setting(condition), [image_ids[i] for i in order], vectors.astype(np.float32))
    return store


class Cars:
    """Rendered cars under conditions of the bundled model, with their labels: condition to image id to label."""

    def __init__(self, root: Path, images: int, *conditions: str) -> None:
        self.folder, self.db = root / "datasets" / "synthetic_cars", root / "db"
        make(self.folder, images=images)
        benchmark = datasets.get("synthetic_cars", root / "datasets")
        self.labels = {aspect.condition: dict(labels) for aspect, labels in benchmark.labels.items()}
        with cie.load("builtin", device="cpu") as embedder:
            run_job(Store(self.db), benchmark, embedder, Request(conditions=conditions, top_words=2))
        self.collection = cie.open(self.db, device="cpu")
