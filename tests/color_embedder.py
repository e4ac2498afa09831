"""A tiny deterministic embedder, and a program that runs a job with it and can kill itself at a chosen moment."""

import json
import os
import signal
import sys
import types
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from conditional_image_embeddings.methods.embedder import Embedder
from conditional_image_embeddings.methods.request import Embedded, Request
from conditional_image_embeddings.methods.settings import Setting


class ColorEmbedder(Embedder):
    """A 4 x 4 thumbnail, projected by a matrix that the condition's and layer's name seed."""

    method, model, revision, conditional, image_max_size, budget = "color", "tiny", None, True, 64, 16

    has_hidden_states = True
    has_words = True

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.images = 0

    def prepare(self, image: Image.Image, request: Request) -> NDArray[np.float32]:
        return np.asarray(image.resize((4, 4)), np.float32).ravel() / 255

    def cost(self, prepared: Any) -> int:
        return 1

    def forward_batch(self, batch: Sequence[Any], request: Request) -> list[Embedded]:
        self.requests.append(request)
        self.images += len(batch)
        return [Embedded(self.one(image, request)[:, None, None], self.words(image, request)) for image in batch]

    def one(self, image: NDArray[np.float32], request: Request) -> NDArray[np.float32]:
        def matrix(condition: str | None, layer: int) -> NDArray[np.float32]:
            seed = zlib.crc32(f"{condition} {layer}".encode())
            return np.random.default_rng(seed).normal(size=(8, 48)).astype(np.float32)

        return np.array([[matrix(c, layer) @ image for layer in request.layers] for c in request.conditions])

    def words(self, image: NDArray[np.float32], request: Request) -> list[list[list[tuple[str, float]]]] | None:
        """For each condition and prompt type, if asked for: how bright the image is."""
        word = ("bright" if image.mean() > 0.5 else "dark", round(float(image.mean()), 2))
        return [[[word]] for _ in request.conditions] if request.top_words else None

    def settings(self, request: Request, *, dataset: str, source: str | None = None) -> list[Setting]:
        return [
            Setting(dataset=dataset, source=source, method=self.method, model=self.model, condition=c, layer=layer)
            for c in request.conditions
            for layer in request.layers
        ]


def draw(folder: Path, number: int, size: tuple[int, int] = (24, 16)) -> Path:
    """A folder with so many images, each another."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    for index in range(number):
        pixels = generator.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index:05d}.png")
    return folder


def main(folder: str, db: str, moment: str, times: str, top_words: str = "0") -> None:
    """Run the job; kill this process just before the given call of "Class.method" (so many before it go well)."""
    # Nothing here computes with torch; without its import a killed process costs a test one second instead of five.
    sys.modules["torch"] = types.SimpleNamespace(OutOfMemoryError=MemoryError, get_num_threads=lambda: 1)  # type: ignore[assignment]
    from conditional_image_embeddings.collection.job import embedding_job, pending_rows
    from conditional_image_embeddings.collection.storage import store
    from conditional_image_embeddings.inputs.sources import find

    pending_rows.COMMIT_ROWS = 20
    if moment != "never":
        owner_name, name = moment.split(".")
        owner = {"Store": store.Store, "ColorEmbedder": ColorEmbedder}[owner_name]
        original, left = getattr(owner, name), iter(range(int(times)))

        def fatal(*args: Any, **kwargs: Any) -> Any:
            if next(left, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*args, **kwargs)

        setattr(owner, name, fatal)
    request = Request(conditions=("color", "shape"), layers=(1, -1), top_words=int(top_words))
    print("started", flush=True)  # noqa: T201
    report = embedding_job.run_job(store.Store(db), find([folder])[0], ColorEmbedder(), request)
    print(json.dumps([[each.embedded, each.already_there, each.failed] for each in report.settings]))  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
