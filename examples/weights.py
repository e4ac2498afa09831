"""Rank images by two conditions at once: alike in one, different in the other.

uv run python examples/weights.py [FOLDER]    without a folder: twelve rendered cars
"""

import sys
import tempfile
from pathlib import Path

import conditional_image_embeddings as cie
from conditional_image_embeddings.datasets.synthetic_cars import make

WEIGHTS = {"car color": 1.0, "car model": -0.5}  # the query's colour on another model


def main(folder: Path) -> None:
    """Take the first image as the query, and print the others, the best match first."""
    paths = sorted(folder.glob("*.png"))
    embedder = cie.load("builtin")
    vectors = embedder.encode(paths, conditions=list(WEIGHTS))  # (n, 2, d)
    color, model = (cie.similarity(vectors[0, axis], vectors[:, axis]) for axis in range(2))
    scores = WEIGHTS["car color"] * color + WEIGHTS["car model"] * model
    print(f"query: {paths[0].name}")
    for score, path in sorted(zip(scores[1:], paths[1:], strict=True), reverse=True):
        print(f"{score:.3f}  {path.name}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as directory:
            make(Path(directory), images=12)
            main(Path(directory) / "cars")
