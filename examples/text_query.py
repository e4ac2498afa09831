"""Find images by a word: a text under a condition is a vector in the images' own space.

uv run python examples/text_query.py [FOLDER WORD CONDITION]    without: red among twelve rendered cars
"""

import sys
import tempfile
from pathlib import Path

import conditional_image_embeddings as cie
from conditional_image_embeddings.datasets.synthetic_cars import make


def main(folder: Path, word: str = "red", condition: str = "car color") -> None:
    """Print the images of a folder, the best match first, with what the model itself says of each."""
    paths = sorted(folder.glob("*.png"))
    embedder = cie.load("builtin")
    scores = cie.similarity(embedder.encode_text(word, condition), embedder.encode(paths, condition))
    said = embedder.words(paths, condition, k=1)
    for score, path, words in sorted(zip(scores, paths, said, strict=True), reverse=True):
        print(f"{score:.3f}  {path.name}  {words[0][0]}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]), *sys.argv[2:])
    else:
        with tempfile.TemporaryDirectory() as directory:
            make(Path(directory), images=12)
            main(Path(directory) / "cars")
