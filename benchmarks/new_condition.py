"""A new condition on images that CLIP has embedded: InDiReCT and CLAY on stored vectors, against embedding anew.

    uv run --group benchmarks python benchmarks/new_condition.py [--images 100000]

The stored vectors are random; the rival embeds small images for real, and its time is scaled to as many.
"""

import argparse
import io
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import measuring
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

import conditional_image_embeddings as cie
from conditional_image_embeddings.collection.job.embedding_job import run_job
from conditional_image_embeddings.collection.storage.store import FileStat, ImageRecord, Store
from conditional_image_embeddings.inputs.sources import find
from conditional_image_embeddings.methods.request import Request

MODEL = "builtin-clip"
CALIBRATION = 512


def encoded(index: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(index).integers(0, 255, (96, 96, 3), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def table(path: Path, images: int) -> None:
    """So many rows with the same image: the job lists the ids, and reads none of them."""
    data = encoded(0)
    ids = [f"{index:07d}" for index in range(images)]
    pq.write_table(pa.table({"image_id": ids, "image": pa.array([data] * images, pa.binary())}), path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=100_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        table(Path(folder) / "photos.parquet", arguments.images)
        (source,) = find([Path(folder) / "photos.parquet"])
        store, clip = Store(Path(folder) / "db"), cie.load(MODEL)
        (setting,) = clip.settings(Request(), dataset=source.dataset, source=source.root)
        ids = [image_id for image_id, _ in source]
        vectors = np.random.default_rng(0).normal(size=(len(ids), clip.encode_text("x").shape[0])).astype(np.float32)
        with store.writing():
            nothing = ImageRecord(image_id="", width=1, height=1, content_hash="", place=FileStat(), thumbnail=b"")
            store.add_images(source.dataset, source.root, [replace(nothing, image_id=image_id) for image_id in ids])
            store.add_vectors(setting, ids, vectors)
        print(measuring.machine())
        seconds = {}
        for name, options in (("clay", {}), ("indirect", {"solver": "svd"}), ("indirect", {"solver": "adam"})):
            embedder = cie.load(MODEL, method=name, **options)
            started = time.perf_counter()
            report = run_job(store, source, embedder, Request(conditions=("car color",)), show_progress_bar=False)
            seconds[f"{name} {options.get('solver', '')}".strip()] = time.perf_counter() - started
            assert report.settings[0].embedded == arguments.images  # noqa: S101
        images = [encoded(index) for index in range(CALIBRATION)]
        clip.encode(images[:64], show_progress_bar=False)
        started = time.perf_counter()
        clip.encode(images, show_progress_bar=False)
        again = (time.perf_counter() - started) * arguments.images / CALIBRATION
        rows = [[name, f"{value:.1f}", f"{again / value:.0f}"] for name, value in seconds.items()]
        rows.append([f"the images again ({CALIBRATION} measured, scaled)", f"{again:.0f}", "1"])
        print(measuring.table([f"{arguments.images:,} images, one new condition", "seconds", "times faster"], rows))


if __name__ == "__main__":
    main()
