"""Images alike in an aspect, or in several at once: groups of what may be one picture too many.

Each image of a group is alike to the first, which is the largest where the others are alike to that one: see `leaders`.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import OptionError
from ...methods.settings import Setting
from ..filters import EVERY, Filter
from ..percentiles import percentiles
from ..storage.store import Store
from .leaders import cosines_of_pairs, leaders
from .selection import selected_ids, unit_vectors

THRESHOLD = 0.999  # of random pairs of the collection


@dataclass(frozen=True)
class Duplicate:
    """An image of a group, compared with the group's first image.

    Attributes:
        group: The group's number, from 1: that with the most images first.
        image_id: The image.
        path: Where its file was last seen; None for one that is no file of its own.
        similarity: Its cosine; of several conditions the lowest.
        percentile: The fraction of random pairs that are at most as similar; of several conditions the lowest.
        similarities: The cosine under each condition.
        percentiles: The percentile under each condition.
        size: Width and height in pixels; None where they are not known.
        same_file_as: The first image of the group whose file has the same bytes, if there is one before this.
    """

    group: int
    image_id: str
    path: str | None
    similarity: float
    percentile: float
    similarities: dict[str | None, float]
    percentiles: dict[str | None, float]
    size: tuple[int, int] | None
    same_file_as: str | None


def duplicates(
    store: Store,
    settings: Mapping[str | None, Setting],
    *,
    threshold: float | None = None,
    similarity: float | None = None,
    only: Filter = EVERY,
    show_progress_bar: bool | None = None,
) -> list[Duplicate]:
    """The images that are alike under every one of these conditions, group by group.

    All is exact, compared in blocks; the vectors are held in memory (4 bytes per number), pairs are not.

    Args:
        store: The database.
        settings: Settings by condition, as `spaces.choose` finds them.
        threshold: The fraction of random pairs of the collection, under each condition, that are less alike; by default
            .999.
        similarity: The least cosine, under each condition, instead of `threshold`.
        only: Which images.
        show_progress_bar: On stderr; by default where that is a terminal.

    Returns:
        The images of every group of two or more: the one that all are alike to first, then the most similar to it.

    Raises:
        OptionError: a threshold that is none, or two; a filter that cannot be read or leaves none.
        StoreError: a setting is not there, damaged or empty.
    """
    _check(threshold, similarity)
    first = next(iter(settings.values()))
    image_ids = selected_ids(store, settings, only)
    sizes = store.image_sizes(first.dataset, first.source)
    image_ids.sort(key=lambda image_id: (-math.prod(sizes.get(image_id, (0, 0))), image_id))
    scales = {condition: percentiles(store, setting) for condition, setting in settings.items()}
    fraction = THRESHOLD if threshold is None else threshold
    least = [each.similarity_at(fraction) if similarity is None else similarity for each in scales.values()]
    if len(image_ids) < 2 or not np.isfinite(least).all():
        return []
    vectors = {condition: unit_vectors(store, setting, image_ids) for condition, setting in settings.items()}
    # A zero vector has no direction: it is alike to nothing, whatever the threshold.
    nonzero = np.all([each.any(axis=1) for each in vectors.values()], axis=0)
    if not nonzero.all():
        image_ids = [image_ids[row] for row in np.flatnonzero(nonzero)]
        vectors = {condition: each[nonzero] for condition, each in vectors.items()}
    led = leaders(list(vectors.values()), least, show_progress_bar=show_progress_bar)
    rows = np.flatnonzero(np.bincount(led, minlength=len(led))[led] > 1)
    cosines = {condition: cosines_of_pairs(each, rows, led[rows]) for condition, each in vectors.items()}
    shares = {condition: scales[condition].of(values) for condition, values in cosines.items()}
    pairs = [
        _Pair(
            image_id=image_ids[row],
            leader=image_ids[leader],
            similarities={condition: float(values[place]) for condition, values in cosines.items()},
            percentiles={condition: float(values[place]) for condition, values in shares.items()},
        )
        for place, (row, leader) in enumerate(zip(rows, led[rows], strict=True))
    ]
    return _listed(store, first, pairs, sizes)


@dataclass(frozen=True)
class _Pair:
    """An image and the leader of its group, which may be itself."""

    image_id: str
    leader: str
    similarities: dict[str | None, float]
    percentiles: dict[str | None, float]


def _listed(
    store: Store, setting: Setting, pairs: Sequence[_Pair], sizes: Mapping[str, tuple[int, int]]
) -> list[Duplicate]:
    """In their order, with what the database knows of the images."""
    shown = [pair.image_id for pair in pairs]
    paths = store.image_paths(setting.dataset, shown, source=setting.source)
    hashes = store.content_hashes(setting.dataset, setting.source, shown)
    members = Counter(pair.leader for pair in pairs)
    numbers = {leader: number for number, leader in enumerate(sorted(members, key=lambda one: (-members[one], one)), 1)}
    found = []
    same_bytes: dict[tuple[str, str], str] = {}  # the first image of a group with these bytes
    for pair in sorted(
        pairs,
        key=lambda pair: (
            numbers[pair.leader],
            pair.image_id != pair.leader,
            -min(pair.similarities.values()),
            pair.image_id,
        ),
    ):
        content = (pair.leader, hashes.get(pair.image_id) or f"not known of {pair.image_id}")
        found.append(
            Duplicate(
                group=numbers[pair.leader],
                image_id=pair.image_id,
                path=paths.get(pair.image_id),
                similarity=min(pair.similarities.values()),
                percentile=min(pair.percentiles.values()),
                similarities=pair.similarities,
                percentiles=pair.percentiles,
                size=sizes.get(pair.image_id),
                same_file_as=same_bytes.get(content),
            )
        )
        same_bytes.setdefault(content, pair.image_id)
    return found


def _check(threshold: float | None, similarity: float | None) -> None:
    if threshold is not None and similarity is not None:
        raise OptionError("threshold (a fraction of random pairs) and similarity (a cosine) are two bounds: give one")
    if threshold is not None and not 0 <= threshold <= 1:
        raise OptionError(f"threshold is {threshold}; it is a fraction of random pairs, from 0 to 1, such as .999")
    if similarity is not None and not -1 <= similarity <= 1:
        raise OptionError(f"similarity is {similarity}; it is a cosine, from -1 to 1")
