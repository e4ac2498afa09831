"""An embedder of every method on the bundled models."""

from collections.abc import Sequence
from typing import Any

from PIL import Image

import conditional_image_embeddings as cie
from conditional_image_embeddings.methods import with_method


def load_every_method(images: Sequence[Image.Image], dior: Any = None) -> dict[str, Any]:
    """By method, those of one model on one backbone, none of them used yet but for CLAY, which has learnt these images.

    Args:
        images: CLAY's collection.
        dior: The first of them; None loads it.
    """
    dior, clip = dior or cie.load("builtin", device="cpu"), cie.load("builtin-clip", device="cpu")
    clay: Any = with_method(clip, "clay")
    clay.fit(images)
    return {
        "dior": dior,
        "generative": with_method(dior, "generative", text_encoder="minilm"),
        "clip": clip,
        "indirect": with_method(clip, "indirect", solver="svd"),
        "clay": clay,
        "pixels": cie.load("pixels"),
    }
