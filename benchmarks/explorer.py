"""How fast `cie explore` is: what a user waits for in the browser, and what each of the server's answers takes.

    uv run --group benchmarks python benchmarks/explorer.py [--images 1000 20000 100000] [--dimensions 256]
"""

import argparse
import io
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from conditional_image_embeddings.collection.storage.store import Store
from conditional_image_embeddings.collection.storage.tables import FileStat, ImageRecord
from conditional_image_embeddings.methods.settings import Setting

CONDITIONS = ("car color", "car model", "background")
SETTINGS = [
    Setting(dataset="photos", source="/photos", method="random", model="random", condition=each) for each in CONDITIONS
]
WORDS = (
    ("red", "blue", "green", "black", "white", "silver", "yellow", "orange", "purple", "brown", "pink", "gold"),
    ("pickup", "van", "sedan", "coupe", "convertible", "hatchback", "wagon", "bus", "truck", "jeep", "limousine"),
    ("street", "beach", "forest", "garage", "desert", "snow", "field", "city", "mountain", "studio", "parking lot"),
)
CLUSTERS, BATCH = 400, 20_000
KINDS, SIDE = 48, 160  # pictures, pixels


def make(directory: Path, images: int, dimensions: int) -> None:
    """A database of clustered vectors with words under each condition, and pictures."""
    store, rng = Store(directory), np.random.default_rng(images)
    kinds = [picture(np.random.default_rng(kind)) for kind in range(KINDS)]
    image_ids = [f"album-{row // 500:03}/IMG_{row:08}.jpg" for row in range(images)]
    for start in range(0, images, BATCH):
        records = [
            ImageRecord(
                image_id=each, width=1200 + row % 800, height=900, content_hash=f"{row:064x}",
                place=FileStat(f"/photos/{each}", 100_000 + row, row), thumbnail=kinds[row % KINDS] + rng.bytes(512),
            )
            for row, each in enumerate(image_ids[start : start + BATCH], start)
        ]  # fmt: skip
        store.add_images("photos", "/photos", records)
    for setting, words in zip(SETTINGS, WORDS, strict=True):
        centres = rng.standard_normal((CLUSTERS, dimensions), dtype=np.float32)
        for start in range(0, images, BATCH):
            rows = min(BATCH, images - start)
            of = (rng.pareto(1, rows) * CLUSTERS / 20).astype(int) % CLUSTERS
            vectors = centres[of] + rng.standard_normal((rows, dimensions), dtype=np.float32)
            shares = rng.uniform(0.3, 1, rows).tolist()
            told = [
                [(said(words, number), share), *((said(words, number + step), (1 - share) / step) for step in (1, 2, 3))]
                for number, share in zip(of.tolist(), shares, strict=True)
            ]
            store.add_vectors(setting, image_ids[start : start + BATCH], vectors, told)
    store.compact(SETTINGS)
    for setting in SETTINGS:
        store.build_index(setting, show_progress_bar=False)


def said(words: tuple[str, ...], number: int) -> str:
    """A cluster's word: the first hundred have common ones, the others rare ones."""
    word = words[number % len(words)]
    return word if number < 100 else f"{word} {number}"


def picture(rng: np.random.Generator) -> bytes:
    """Shapes on a ground with grain, about as many bytes as a photograph of this size."""
    ground = rng.integers(40, 220, 3)
    pixels = np.clip(ground + rng.normal(0, 9, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
    image = Image.fromarray(pixels)
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        x, y, size = rng.integers(0, SIDE, 3).tolist()
        draw.ellipse((x - size / 4, y - size / 4, x + size / 4, y + size / 4), fill=tuple(rng.integers(0, 255, 3).tolist()))
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=70, method=2)
    return buffer.getvalue()


if __name__ == "__main__":
    for images in (1000, 20000, 100000):
        t = time.perf_counter()
        make(Path(f"/tmp/bench/db{images}"), images, 256)
        print(images, time.perf_counter() - t, len(picture(np.random.default_rng(0))))
