"""The shapes of answers: what the page is told of a space, an image, a hit and a map."""

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...collection.searching.hits import Hit
from ...collection.spaces import Space
from ...collection.storage.store import Store
from ...collection.words import setting_telling
from ...methods.registry import describe
from ...methods.settings import Setting
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
            {"condition": name, "images": store.count(setting), "has_words": _has_words(store, setting)}
            for name, setting in space.settings.items()
        ],
        "state": db.state_of(space),
    }


def _has_words(store: Store, setting: Setting) -> bool:
    telling = setting_telling(store, setting)
    return telling is not None and store.count_words(telling) > 0


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
    numbers = np.full(len(image_ids), NO_WORD, np.uint8)
    found = db.space(space).find(condition)
    setting = None if found is None else setting_telling(db.collection.store, found)
    if setting is None or not db.collection.store.count_words(setting):
        return [], numbers
    counted = db.collection.facets([condition], setting=space)
    (several,) = counted.by_condition.values()
    words = [facet for facet in several if next(iter(facet.words.values())) is not None][:MAP_WORDS]
    places = {image_id: place for place, image_id in enumerate(image_ids)}
    number_of = {next(iter(facet.words.values())): number for number, facet in enumerate(words)}
    for batch in db.collection.store.first_words(setting):
        for image_id, word in zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True):
            if word in number_of and image_id in places:
                numbers[places[image_id]] = number_of[word]
    return [{"word": next(iter(facet.words.values())), "count": facet.count} for facet in words], numbers


def packed(array: NDArray[Any]) -> str:
    """An array's bytes in base64."""
    return base64.b64encode(array.tobytes()).decode("ascii")
