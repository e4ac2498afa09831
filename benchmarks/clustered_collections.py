"""Databases as large as one likes for `explorer.py`: clustered vectors, words, pictures, maps and indexes."""

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from conditional_image_embeddings.collection.projection import preferred
from conditional_image_embeddings.collection.storage.projection_table import Projection
from conditional_image_embeddings.collection.storage.store import Store
from conditional_image_embeddings.collection.storage.tables import FileStat, ImageRecord
from conditional_image_embeddings.methods.settings import Setting

WORDS = {
    "car color": ("red", "blue", "green", "black", "white", "silver", "yellow", "orange", "purple", "brown", "pink"),
    "car model": ("pickup", "van", "sedan", "coupe", "convertible", "hatchback", "wagon", "bus", "truck", "jeep"),
    "background": ("street", "beach", "forest", "garage", "desert", "snow", "field", "city", "mountain", "studio"),
}
CONDITIONS = tuple(WORDS)
SETTINGS = [
    Setting(dataset="photos", source="/photos", method="random", model="random", condition=each) for each in CONDITIONS
]
CLUSTERS, BATCH = 400, 20_000
KINDS, SIDE, GRAIN = 48, 160, 512  # pictures, pixels, bytes at the end of each that no other has


def make(directory: Path, images: int, dimensions: int) -> None:
    """Write one: each condition has its own clusters, whose first hundred have a common word, the others a rare one."""
    store, rng = Store(directory), np.random.default_rng(images)
    kinds = [picture(np.random.default_rng(kind)) for kind in range(KINDS)]
    image_ids = [f"album-{row // 500:03}/IMG_{row:08}.jpg" for row in range(images)]
    for start in range(0, images, BATCH):
        records = [
            ImageRecord(
                image_id=each, width=1200 + row % 800, height=900, content_hash=f"{row:064x}",
                place=FileStat(f"/photos/{each}", 100_000 + row, row), thumbnail=kinds[row % KINDS] + rng.bytes(GRAIN),
            )
            for row, each in enumerate(image_ids[start : start + BATCH], start)
        ]  # fmt: skip
        store.add_images("photos", "/photos", records)
    for setting in SETTINGS:
        centres = rng.standard_normal((CLUSTERS, dimensions), dtype=np.float32)
        of = (rng.pareto(1, images) * CLUSTERS / 20).astype(int) % CLUSTERS
        for start in range(0, images, BATCH):
            part = of[start : start + BATCH]
            vectors = centres[part] + rng.standard_normal((len(part), dimensions), dtype=np.float32)
            told = [said(setting.condition or "", number) for number in part.tolist()]
            store.add_vectors(setting, image_ids[start : start + BATCH], vectors, told)
        store.build_index(setting, show_progress_bar=False)
        places = (rng.uniform(-0.9, 0.9, (CLUSTERS, 2))[of] + 0.03 * rng.standard_normal((images, 2))).clip(-1, 1)
        projection = Projection(image_ids, places.astype(np.float32), np.ones(images, bool))
        store.keep_projection(setting, preferred(images, None), projection)
    store.compact(SETTINGS)


def said(condition: str, cluster: int) -> list[tuple[str, float]]:
    words = WORDS[condition]
    several = [words[(cluster + step) % len(words)] for step in range(4)]
    first = several[0] if cluster < 100 else f"{several[0]} {cluster}"
    return list(zip([first, *several[1:]], (0.6, 0.2, 0.1, 0.05), strict=True))


def picture(rng: np.random.Generator) -> bytes:
    """Shapes on a ground with grain: about as many bytes as a photograph of this size."""
    ground = rng.integers(40, 220, 3)
    image = Image.fromarray(np.clip(ground + rng.normal(0, 9, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        x, y, size = rng.integers(0, SIDE, 3).tolist()
        colour = tuple(rng.integers(0, 255, 3).tolist())
        draw.ellipse((x - size / 4, y - size / 4, x + size / 4, y + size / 4), fill=colour)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=70, method=2)
    return buffer.getvalue()
