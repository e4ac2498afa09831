"""Embed a folder under two conditions, and find each image's nearest neighbour under either.

uv run python examples/neighbours.py [FOLDER]    without a folder: twelve rendered cars
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

import conditional_image_embeddings as cie
from conditional_image_embeddings.datasets.synthetic_cars import make

CONDITIONS = ["car color", "car model"]


def main(folder: Path) -> None:
    """Print each image's nearest neighbours, one for each condition."""
    paths = sorted(folder.glob("*.png"))
    embedder = cie.load("builtin")  # it knows rendered cars; for photographs: "Qwen/Qwen2.5-VL-7B-Instruct"
    vectors = embedder.encode(paths, conditions=CONDITIONS)  # (n, 2, d)
    for axis, condition in enumerate(CONDITIONS):
        scores = cie.similarity(vectors[:, axis], vectors[:, axis])
        np.fill_diagonal(scores, -1)  # an image is not its own neighbour
        for path, nearest in zip(paths, scores.argmax(axis=1), strict=True):
            print(f"{condition}: {path.name} is nearest to {paths[nearest].name}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as directory:
            make(Path(directory), images=12)
            main(Path(directory) / "cars")
