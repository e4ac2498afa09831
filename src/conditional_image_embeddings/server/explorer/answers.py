"""The shapes of answers: what the page is told of a space, an image, a hit and a map."""

import base64
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...collection.searching.hits import Hit
from ...collection.spaces import Space
from ...collection.words import counts_by_condition, setting_telling
from ...methods.registry import describe
from .opened import OpenedCollection
from .requests import Answer

MAP_WORDS = 11  # that have a colour of their own
NO_WORD = 255


def space_answer(db: OpenedCollection, space: Space) -> Answer:
    """A space, its conditions with how many images have a vector under each, and its state."""
    store, first = db.collection.store, space.shared
    method = describe(first.method)
    return {
        "space": space.name,
        "method": first.method,
        "title": method.title,
        "model": first.model,
        "is_refined": space.is_refined,
        "source": first.source or first.dataset,
        "conditions": [
            {"condition": each.condition, "images": each.images, "has_words": each.has_words}
            for each in counts_by_condition(store, space)
        ],
        "state": db.state_of(space),
    }


def hit_answer(hit: Hit, names: Sequence[str | None]) -> Answer:
    """A hit; lists have an entry per condition."""
    return {
        "rank": hit.rank,
        "image_id": hit.image_id,
        "score": hit.score,
        "scores": [hit.scores.get(name) for name in names],
        "percentiles": [hit.percentiles.get(name) for name in names],
        "words": [words_answer(hit.words.get(name)) for name in names],
    }


def words_answer(told: Sequence[tuple[str, float]] | None) -> list[dict[str, Any]]:
    """Words, the most probable first."""
    return [{"word": word, "probability": probability} for word, probability in told or []]


def map_words(
    db: OpenedCollection, space: str, condition: str | None, image_ids: Sequence[str]
) -> tuple[list[Answer], NDArray[np.uint8]]:
    """The most frequent first words with their counts, and which of them each image has; `NO_WORD` is none of them."""
    store, found = db.collection.store, db.space(space).find(condition)
    setting = None if found is None else setting_telling(store, found)
    said: dict[str, str] = {}
    if setting is not None:
        there = set(image_ids)
        for batch in store.first_words(setting):
            pairs = zip(batch.column("image_id").to_pylist(), batch.column("word").to_pylist(), strict=True)
            said.update((image_id, word) for image_id, word in pairs if word is not None and image_id in there)
    counted = sorted(Counter(said.values()).items(), key=lambda each: (-each[1], each[0]))[:MAP_WORDS]
    number_of: dict[str | None, int] = {word: number for number, (word, _) in enumerate(counted)}
    words = map(said.get, image_ids)  # None, where there is none, has no number either
    numbers = np.array([number_of.get(word, NO_WORD) for word in words], np.uint8)
    return [{"word": word, "count": count} for word, count in counted], numbers


def packed(array: NDArray[Any]) -> str:
    """An array's bytes in base64."""
    return base64.b64encode(array.tobytes()).decode("ascii")
