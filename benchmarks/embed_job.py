"""How much of `cie embed`'s wall time the model has: decoding, preparing and storing should hide behind it.

    uv run --group benchmarks python benchmarks/embed_job.py [--images 64] [--conditions 4]

The model is the random-weight Qwen2.5-VL of 70 million parameters; images are 1,600-pixel photographs-to-be (JPEG).
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import measuring
import random_qwen
from engine_vs_rivals import write_images

import conditional_image_embeddings as cie
from conditional_image_embeddings.collection.job.embedding_job import run_job
from conditional_image_embeddings.collection.storage.store import Store
from conditional_image_embeddings.inputs import sources
from conditional_image_embeddings.methods.request import Request


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--conditions", type=int, default=4)
    parser.add_argument("--side", type=int, default=1600, help="pixels of the files")
    parser.add_argument("--max-size", type=int, default=448, help="pixels that the model sees (longer side)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        directory = random_qwen.save("small", Path(folder) / "model")
        images = Path(folder) / "images"
        write_images(images, arguments.images, arguments.side)
        embedder = cie.load(str(directory), device="cpu", image_max_size=arguments.max_size)
        inside = 0.0
        run = embedder.forward_batch

        def timed(batch: Sequence[Any], request: Request) -> Any:
            nonlocal inside
            started = time.perf_counter()
            vectors = run(batch, request)
            inside += time.perf_counter() - started
            return vectors

        embedder.forward_batch = timed  # type: ignore[method-assign]
        request = Request(conditions=random_qwen.CONDITIONS[: arguments.conditions])
        (source,) = sources.find([str(images)])
        started = time.perf_counter()
        run_job(Store(Path(folder) / "db"), source, embedder, request, show_progress_bar=False)
        wall = time.perf_counter() - started
    print(measuring.machine())
    print(
        f"{arguments.images} images of {arguments.side} px, {arguments.conditions} conditions: {wall:.1f} s, "
        f"{arguments.images / wall:.2f} images/s; the model's share of the wall time: {inside / wall:.1%}"
    )


if __name__ == "__main__":
    main()
