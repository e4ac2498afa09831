"""What a type checker knows of the public surface; `poe typecheck` and CI read it, nothing runs it."""

from collections.abc import Iterator
from typing import Any, assert_type

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

import conditional_image_embeddings as cie

Vectors = NDArray[np.float32]


def readme() -> None:
    embedder = cie.load("builtin")
    vectors = embedder.encode(["a.jpg", "b.jpg"], conditions=["car color", "car model"])
    cie.similarity(vectors[:, 0], vectors[:, 0])
    embedder.words("a.jpg", conditions="car color")
    cie.similarity(embedder.encode_text("red", conditions="car color"), vectors[:, 0])


def forms(embedder: cie.Embedder, image: Image.Image, texts: Iterator[str]) -> None:
    assert_type(embedder.encode([image, "a.jpg", b"", np.zeros((2, 2, 3), np.uint8)], layer=[-1, -2]), Vectors)
    assert_type(embedder.encode(image, "color", convert_to_tensor=True, normalize_embeddings=True), torch.Tensor)
    assert_type(embedder.encode(image, convert_to_tensor=True, convert_to_numpy=True), torch.Tensor)
    assert_type(embedder.encode(image, convert_to_numpy=False), list[torch.Tensor] | torch.Tensor)
    assert_type(embedder.encode_text(texts, "color", batch_size=8), Vectors)
    assert_type(embedder.encode_text("red", convert_to_tensor=True), torch.Tensor)
    assert_type(embedder.encode_stream(each for each in [image]), Iterator[Vectors])
    assert_type(embedder.encode_stream([image], errors="yield", workers=2), Iterator[Vectors | cie.ImageError])
    assert_type(embedder.words(image, k=2), list[Any])
    assert_type(embedder.get_embedding_dimension(["color", None], prompt_type="express"), int)
    with embedder as same:
        assert_type(same, cie.Embedder)
    embedder.encode(image, "color", batchsize=8)  # type: ignore[call-overload]
    embedder.encode_text(["red"], embedding_source="first_output")  # type: ignore[call-overload]
