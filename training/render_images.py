"""Render the training images once: pixels, labels and, per patch, how much of it each part of a car covers.

    uv run python training/render_images.py --images 100000 --out /tmp/cars

The files are memory-mapped, so that training may start on a part of them while the rest is still being rendered.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from conditional_image_embeddings.datasets.car_bodies import MODELS, Part
from conditional_image_embeddings.datasets.car_colors import COLORS, colour_name
from conditional_image_embeddings.datasets.car_renderer import (
    PATTERNS,
    VIEWPOINTS,
    Scene,
    render_with_parts,
    sample_scene,
)

SIZE, PATCH = 96, 12
ASPECTS = {
    "car model": MODELS,
    "car color": COLORS,
    "background color": COLORS,
    "viewpoint": VIEWPOINTS,
    "paint pattern": PATTERNS,
}
"""The conditions and the words that answer them; labels are indices into the words."""
SEEDS = 1_000_000  # training seeds start here; the benchmark's frames use other generators
CHUNK = 250


def labels(scene: Scene) -> list[int]:
    words = (
        scene.model,
        colour_name(*scene.color_hsv),
        colour_name(*scene.background_hsv),
        scene.viewpoint,
        scene.pattern,
    )
    return [choices.index(word) for choices, word in zip(ASPECTS.values(), words, strict=True)]


def patch_parts(parts: np.ndarray) -> np.ndarray:
    """The share of each part in each patch, in 255ths: (size, size) to (patches, parts)."""
    side = len(parts) // PATCH
    cells = parts.reshape(side, PATCH, side, PATCH).transpose(0, 2, 1, 3).reshape(side * side, -1)
    return np.stack([(cells == part).mean(1) * 255 for part in Part], axis=1).astype(np.uint8)


def render_chunk(directory: Path, start: int, stop: int, held_out: bool) -> int:
    images, shares, targets = (
        np.load(directory / f"{name}.npy", mmap_mode="r+") for name in ("images", "parts", "labels")
    )
    for k in range(start, stop):
        scene = sample_scene(np.random.default_rng(SEEDS + k), held_out=held_out)
        images[k], parts = render_with_parts(scene, SIZE)
        shares[k] = patch_parts(parts)
        targets[k] = labels(scene)
    return stop - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--workers", type=int)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    patches = (SIZE // PATCH) ** 2
    shapes = {
        "images": (np.uint8, (SIZE, SIZE, 3)),
        "parts": (np.uint8, (patches, len(Part))),
        "labels": (np.int8, (len(ASPECTS),)),
    }
    for name, (dtype, shape) in shapes.items():
        array = np.lib.format.open_memmap(options.out / f"{name}.npy", "w+", dtype, (options.images, *shape))
        if name == "labels":
            array[:] = -1  # not rendered yet
            array.flush()
    with ProcessPoolExecutor(options.workers) as pool, tqdm(total=options.images, unit="image") as bar:
        jobs = [
            pool.submit(render_chunk, options.out, start, min(start + CHUNK, options.images), False)
            for start in range(0, options.images, CHUNK)
        ]
        for job in jobs:
            bar.update(job.result())


if __name__ == "__main__":
    main()
