"""Images under very many conditions at once: each is read once, and several go together.

An image under 40 conditions costs as many tokens as the batches of a CPU hold, and alone it would leave each of the
model's passes nearly empty: the prompts go through in groups of one length. So batches are larger here (2.5 times as
fast on the bundled model).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

from PIL import Image

from ..inputs.arguments import optional_count
from ..inputs.images import image_name, ordinary_image
from ..methods.embedder import ORDINARY, Embedder
from ..methods.request import Embedded, Request
from ..methods.streaming import Key, stream

BUDGET = 8192  # tokens per batch at the least


def embed_together(
    embedder: Embedder,
    images: Sequence[tuple[Key, Any]],
    request: Request,
    *,
    read: Callable[[Key, Any], Image.Image],
    batch_size: int | None,
) -> Iterator[tuple[Key, Any]]:
    """As `Embedder.stream`, in larger batches.

    Raises:
        ModelError: the model or its processor fails on every image.
        ConditionError: a condition that the model has another meaning for.
    """
    embedder.settings(request, dataset="")  # refuses what cannot be asked of this embedder
    return stream(
        _Wide(embedder),
        images,
        request,
        read=read,
        ordinary=ordinary_image(min(embedder.image_max_size or ORDINARY, ORDINARY)),
        name=lambda key, image: image_name(image, key),
        batch_size=optional_count("batch_size", batch_size),
    )


class _Wide:
    """The embedder as `stream` drives it, with a budget of its own."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self.budget = max(BUDGET, embedder.budget)

    @property
    def lock(self) -> AbstractContextManager[Any]:
        return self._embedder.lock

    def prepare(self, image: Image.Image, request: Request) -> Any:
        return self._embedder.prepare(image, request)

    def cost(self, prepared: Any) -> int:
        return self._embedder.cost(prepared)

    def forward_batch(self, batch: Sequence[Any], request: Request) -> list[Embedded]:
        return self._embedder.forward_batch(batch, request)

    def is_finite(self, result: Embedded) -> bool:
        return self._embedder.is_finite(result)
