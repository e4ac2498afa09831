"""In which aspects two images agree: per condition their cosine, what it means in a collection, and their words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import NotStoredError
from ..inputs.conditions import Conditions, checked_conditions
from ..inputs.images import ImageInput
from ..methods.embedder import Embedder
from ..methods.registry import describe
from ..methods.settings import Setting
from ..vectors import pairwise_similarity
from .percentiles import percentiles
from .query_embedders import QueryEmbedders
from .searching.query import Query
from .storage.store import Store

TOP_WORDS = 5

Words = Sequence[tuple[str, float]]


@dataclass(frozen=True)
class Comparison:
    """Two images under one condition.

    Attributes:
        condition: What counts; None is "no condition".
        similarity: The cosine of their vectors.
        percentile: The share of the collection's random pairs that are at most as similar; None without a collection.
        words: Of each image, most probable first; [] where none are known.
    """

    condition: str | None
    similarity: float
    percentile: float | None
    words: tuple[Words, Words]

    def to_json(self) -> dict[str, Any]:
        """As `cie compare --json` prints it."""
        told = [[{"word": word, "probability": probability} for word, probability in each] for each in self.words]
        return {
            "condition": self.condition,
            "similarity": self.similarity,
            "percentile": self.percentile,
            "words": told,
        }


def compare(embedder: Embedder, a: ImageInput, b: ImageInput, conditions: Conditions = None) -> list[Comparison]:
    """Compare two images, in one pass each for all conditions.

    Args:
        embedder: What `conditional_image_embeddings.load` gives.
        a: An image, as `Embedder.encode` takes it.
        b: Another.
        conditions: What counts; several are compared one by one.

    Returns:
        One comparison per condition, in the order given; percentiles need a collection, see `Collection.compare`.

    Raises:
        ImageError: an image cannot be read.
        ModelError: the method takes no condition, or needs one.
    """
    names = checked_conditions(conditions)
    vectors = embedder.encode([a, b], names)
    similarities = pairwise_similarity(vectors[0], vectors[1])
    told: list[Any] = [[[] for _ in names], [[] for _ in names]]
    if describe(embedder.method).tells == "words" and embedder.has_words:
        told = embedder.words([a, b], names, k=TOP_WORDS)
    return [
        Comparison(name, float(similarity), None, (told[0][index], told[1][index]))
        for index, (name, similarity) in enumerate(zip(names, similarities, strict=True))
    ]


def compare_stored(
    store: Store, settings: Mapping[str | None, Setting], a: Any, b: Any, embedders: QueryEmbedders
) -> list[Comparison]:
    """Compare two images under settings of one space; a model is loaded for what is not in the collection.

    Args:
        store: The database.
        settings: By condition.
        a: The id of an image of the collection, or an image as `Embedder.encode` takes it.
        b: Another.
        embedders: Where the model comes from.

    Raises:
        StoreError: a setting is damaged.
        ImageError: an image that is neither in the collection nor can be read.
    """
    several = list(settings.values())
    sides = [_of_side(store, several, each, embedders) for each in (a, b)]
    found = []
    for index, (name, setting) in enumerate(settings.items()):
        similarity = float(pairwise_similarity(sides[0][0][index], sides[1][0][index]))
        share = float(percentiles(store, setting).of(similarity))
        found.append(
            Comparison(name, similarity, None if np.isnan(share) else share, (sides[0][1][index], sides[1][1][index]))
        )
    return found


def _of_side(
    store: Store, settings: Sequence[Setting], given: Any, embedders: QueryEmbedders
) -> tuple[list[NDArray[np.float32]], list[Words]]:
    """An image's vectors and words under each setting."""
    first = settings[0]
    is_stored = isinstance(given, str) and bool(store.among(first, [given]))
    if isinstance(given, str) and not is_stored and not Path(given).exists():
        raise NotStoredError(f"{given!r} is neither an image of {store.uri} nor a file")
    query = (Query.of(image_id=given) if is_stored else Query.of(image=[given])).known_to(store, first)
    vectors = query.vectors(store, settings, embedders)
    if query.image_ids:
        ((image_id, _),) = query.image_ids
        return vectors, [store.words(setting, [image_id]).get(image_id) or [] for setting in settings]
    words: list[Words] = [[] for _ in settings]
    with embedders.using(settings) as several:
        for index, bound in enumerate(several):
            if describe(bound.setting.method).tells == "words" and bound.embedder.has_words:
                words[index] = bound.words(given, k=TOP_WORDS)
    return vectors, words
