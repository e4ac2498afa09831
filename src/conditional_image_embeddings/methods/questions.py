"""Open questions about images: what a vision-language model answers in its own words, for as many as are asked.

An image is read once for all questions, as it is for all conditions. Images go the way of `streaming`, so that one that
cannot be read is one failure.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, cast

from PIL import Image

from ..engine.generation import Sampling, end_tokens, written
from ..engine.prompts import Prepared, PromptMaker
from ..errors import ImageError
from ..inputs.images import image_name, ordinary_image
from .dior import DIOR
from .embedder import ORDINARY, Embedder
from .streaming import Key, stream


class OpenAnswer(NamedTuple):
    """What was written, and whether it ended before it had to."""

    text: str
    complete: bool


def ask(
    embedder: Embedder,
    images: Iterable[tuple[Key, Any]],
    questions: Sequence[str],
    *,
    read: Callable[[Key, Any], Image.Image],
    max_new_tokens: int = 64,
) -> Iterator[tuple[Key, list[OpenAnswer] | ImageError]]:
    """`(key, answers)` for each image, one answer per question, or `(key, ImageError)`; in any order.

    Args:
        embedder: One that stands on a vision-language model.
        images: Pairs of a key and what `read` takes.
        questions: Whole texts, put behind the image as they are.
        read: From a key and its image to the picture, in a worker.
        max_new_tokens: Of an answer, at most.

    Raises:
        ModelError: the model generates nothing.
    """
    stage = _Questions(cast(DIOR, embedder.backbone), questions, max_new_tokens)
    return stream(
        stage,
        images,
        None,
        read=read,
        ordinary=ordinary_image(min(embedder.image_max_size or ORDINARY, ORDINARY)),
        name=lambda key, image: image_name(image, key),
    )


class _Questions:
    """The stage that `stream` drives."""

    def __init__(self, backbone: DIOR, questions: Sequence[str], max_new_tokens: int) -> None:
        self._backbone, self._sampling = backbone, Sampling(max_new_tokens)
        self._maker = PromptMaker(backbone.lvlm, questions, flat_positions=backbone.positions == "flat")
        self.budget = backbone.budget

    @property
    def lock(self) -> AbstractContextManager[Any]:
        return self._backbone.lock

    def prepare(self, image: Image.Image, _: None) -> Prepared:
        return self._maker(image)

    def cost(self, prepared: Prepared) -> int:
        return self._backbone.cost(prepared)

    def is_finite(self, _: Any) -> bool:
        return True

    def forward_batch(self, batch: Sequence[Prepared], _: None) -> list[list[OpenAnswer]]:
        lvlm, given = self._backbone.lvlm, self._backbone.answers(batch, self._sampling)
        ends, most = end_tokens(lvlm), self._sampling.max_new_tokens
        texts = [
            OpenAnswer(
                written(lvlm.tokenizer, [token for token in answer.tokens if token not in ends]),
                len(answer.tokens) < most,
            )
            for answer in given
        ]
        asked = len(texts) // len(batch)
        return [texts[start : start + asked] for start in range(0, len(texts), asked)]
