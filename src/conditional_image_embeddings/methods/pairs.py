"""Images that are read together with a text, where a method's model reads both at once."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from ..errors import ImageError
from ..inputs.images import ImageInput, image_name, ordinary_image
from .embedder import ORDINARY, Embedder
from .options import Vectors
from .request import Embedded, Request
from .streaming import stream


class Pair(NamedTuple):
    """An image as it is read, and the text beside it."""

    image: Image.Image
    text: str


class _Pairs:
    """The stage that `stream` drives: the embedder's own, but for how a pair is prepared."""

    def __init__(self, embedder: Any) -> None:
        self._embedder = embedder
        self.budget = embedder.budget

    @property
    def lock(self) -> AbstractContextManager[Any]:
        found: AbstractContextManager[Any] = self._embedder.lock
        return found

    def prepare(self, pair: Pair, request: Request) -> Any:
        return self._embedder.prepare_pair(pair.image, pair.text, request)

    def cost(self, prepared: Any) -> int:
        return int(self._embedder.cost(prepared))

    def forward_batch(self, batch: Sequence[Any], request: Request) -> Sequence[Embedded]:
        found: Sequence[Embedded] = self._embedder.forward_batch(batch, request)
        return found

    def is_finite(self, result: Embedded) -> bool:
        return bool(self._embedder.is_finite(result))


def pair_vectors(
    embedder: Embedder, pairs: Iterable[tuple[ImageInput, str]], request: Request, *, batch_size: int | None = None
) -> Vectors:
    """Vectors (n, *request.shape, d) of images with a text each, in the order given.

    Args:
        embedder: One that reads pairs (`Embedder.reads_pairs`).
        pairs: An image and its text.
        request: What is asked for.
        batch_size: Pairs per batch at most.

    Raises:
        ImageError: an image cannot be read, or the model or its processor fails on the pair.
    """

    def read(key: int, pair: tuple[ImageInput, str]) -> Pair:
        return Pair(embedder.read(pair[0], name=image_name(pair[0], key)), pair[1])

    outcomes = stream(
        _Pairs(embedder),
        enumerate(pairs),
        request,
        read=read,
        ordinary=Pair(ordinary_image(min(embedder.image_max_size or ORDINARY, ORDINARY)), "a text"),
        name=lambda key, pair: image_name(pair[0], key),
        batch_size=batch_size,
    )
    found: dict[int, Vectors] = {}
    for index, outcome in outcomes:
        if isinstance(outcome, ImageError):
            raise outcome
        found[index] = outcome.vectors
    return np.stack([found[index] for index in range(len(found))])
