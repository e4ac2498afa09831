"""Neighbours under one or several conditions at once, each with a weight.

An image's score is the weighted sum of its cosines to the query under each condition. A negative weight pushes away:
"this colour, but not this model". What is scored is exact; which images are scored is all of them, unless an index
names candidates (see `candidates`).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import isfinite
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ..errors import OptionError, StoreError
from ..inputs.arguments import checked_count
from ..inputs.conditions import Conditions, checked_condition, checked_conditions
from ..methods.settings import Setting
from .cutoff import cutoff
from .percentiles import Percentiles, percentiles
from .storage.store import Store

MOST_HITS = 100_000
DECIMALS = 6  # images whose scores agree in so many are tied, and ordered by id

Vector = NDArray[np.float32]


@dataclass(frozen=True)
class Hit:
    """An image that was found.

    Attributes:
        rank: From 1.
        image_id: Its id in the collection.
        path: Where its file was last seen; None for one that is no file of its own.
        score: The weighted sum of `scores`.
        scores: Its cosine to the query under each condition, -1 to 1.
        percentiles: Under each condition, the share of random pairs that are at most as similar, 0 to 1; None where the
            collection has too few images to say.
        words: The words stored with it under each condition, most probable first; [] where there are none.
    """

    rank: int
    image_id: str
    path: str | None
    score: float
    scores: Mapping[str | None, float]
    percentiles: Mapping[str | None, float | None]
    words: Mapping[str | None, Sequence[tuple[str, float]]]

    def to_json(self) -> dict[str, Any]:
        """As `cie search --json` prints it; "null" is no condition."""
        words = {
            condition: [{"word": word, "probability": probability} for word, probability in several]
            for condition, several in self.words.items()
        }
        return {**asdict(self), "words": words}


@dataclass(frozen=True)
class Hits(Sequence[Hit]):
    """What a search found, most similar first.

    Attributes:
        hits: The images.
        conditions: With their weights.
        settings: By condition: where their vectors are.
        images: How many images were searched: those that fit the filters.
        cut: With `cut="auto"`: the score from which on an image matches; None where no group stands out.
        exact: Whether every image was scored.
    """

    hits: Sequence[Hit]
    conditions: Mapping[str | None, float]
    settings: Mapping[str | None, Setting]
    images: int
    cut: float | None = None
    exact: bool = True

    @overload
    def __getitem__(self, index: int) -> Hit: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Hit]: ...
    def __getitem__(self, index: int | slice) -> Hit | Sequence[Hit]:
        return self.hits[index]

    def __len__(self) -> int:
        return len(self.hits)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which of the images that were scored are hits.

    Attributes:
        k: How many at most.
        among: Only these; None: all.
        without: Not these: what was searched for.
        min_score: No score below this.
        cut: Whether the list ends by itself, see `cutoff`.
    """

    k: int = 20
    among: Collection[str] | None = None
    without: Collection[str] = field(default_factory=frozenset)
    min_score: float | None = None
    cut: bool = False

    def __post_init__(self) -> None:
        checked_count("k", self.k)
        if self.k > MOST_HITS:
            raise OptionError(f"k is {self.k}; at most {MOST_HITS} hits are given")
        if self.min_score is not None and not isfinite(self.min_score):
            raise OptionError(f"min_score is {self.min_score}, not a finite number")


@dataclass(frozen=True, eq=False)
class Scored:
    """Images and their cosines to the query, (n, K), under each of K conditions."""

    image_ids: pa.StringArray
    cosines: NDArray[np.float32]


def weights_of(conditions: Conditions | Mapping[str | None, float]) -> dict[str | None, float]:
    """Conditions with their weights; without weights each has 1.

    Raises:
        OptionError: none is positive, or one is no number.
        ConditionError: a condition that is unusable, or none at all.
    """
    if isinstance(conditions, Mapping):
        checked_conditions(list(conditions))
        given = {checked_condition(name): weight for name, weight in conditions.items()}
    else:
        given = dict.fromkeys(checked_conditions(conditions), 1.0)
    for name, weight in given.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not isfinite(weight):
            raise OptionError(f"the weight of {name!r} is {weight!r}, not a finite number")
    if not any(weight > 0 for weight in given.values()):
        raise OptionError(
            "no condition has a positive weight: a negative one pushes hits away that another condition draws near; "
            "give at least one a weight above 0"
        )
    return {name: float(weight) for name, weight in given.items() if weight}


def search(
    store: Store,
    settings: Mapping[str | None, Setting],
    weights: Mapping[str | None, float],
    vectors: Sequence[Vector],
    choice: Choice,
    *,
    of_pairs: bool = True,
) -> Hits:
    """The images that score highest.

    Args:
        store: The database.
        settings: By condition, of one space.
        weights: By condition, see `weights_of`.
        vectors: The query's unit vector under each.
        choice: Which are hits.
        of_pairs: Whether percentiles are among random pairs of the collection's images, as suits an image; otherwise
            among pairs of this query and a random image, as suits a text, which is less similar to any image.

    Raises:
        StoreError: a setting is damaged or has no vectors.
    """
    scored = score_all(store, list(settings.values()), vectors)
    factors = np.array([weights[name] for name in settings])
    scores = np.round(scored.cosines @ factors, DECIMALS)
    allowed = _allowed(scored.image_ids, choice)
    cut = cutoff(scores[allowed]) if choice.cut else None
    least = max((each for each in (choice.min_score, cut) if each is not None), default=-np.inf)
    best = top(scored.image_ids, scores, allowed & (scores >= least - 10.0**-DECIMALS), choice.k)
    meanings = [
        percentiles(store, setting) if of_pairs else Percentiles.fit(scored.cosines[:, index])
        for index, setting in enumerate(settings.values())
    ]
    shares = np.stack([each.of(scored.cosines[best, i]) for i, each in enumerate(meanings)], axis=1)
    image_ids = scored.image_ids.take(pa.array(best, pa.int64())).to_pylist()
    first = next(iter(settings.values()))
    paths = store.image_paths(first.dataset, image_ids, source=first.source)
    words = {name: store.words(setting, image_ids) for name, setting in settings.items()}
    hits = [
        Hit(
            rank=rank,
            image_id=image_id,
            path=paths.get(image_id),
            score=float(scores[row]),
            scores={name: float(scored.cosines[row, i]) for i, name in enumerate(settings)},
            percentiles={name: _number(shares[rank - 1, i]) for i, name in enumerate(settings)},
            words={name: words[name].get(image_id) or [] for name in settings},
        )
        for rank, (row, image_id) in enumerate(zip(best, image_ids, strict=True), start=1)
    ]
    return Hits(hits, dict(weights), settings, images=int(allowed.sum()), cut=cut)


def score_all(store: Store, settings: Sequence[Setting], vectors: Sequence[Vector]) -> Scored:
    """Every image that has a vector under each setting, and its cosines.

    Raises:
        StoreError: there is none.
    """
    image_ids, similarities = store.similarities(settings[0], vectors[0])
    columns = [similarities]
    for setting, vector in zip(settings[1:], vectors[1:], strict=True):
        others, similarities = store.similarities(setting, vector)
        rows = pc.index_in(image_ids, value_set=others)
        there = rows.is_valid()
        if not pc.all(there, min_count=0).as_py():
            kept = there.to_numpy(zero_copy_only=False)
            image_ids, rows, columns = image_ids.filter(there), rows.drop_null(), [each[kept] for each in columns]
        columns.append(similarities[rows.to_numpy()])
    if not len(image_ids):
        raise StoreError(f"no image of {store.uri} has a vector under each condition: run its `cie embed` again")
    return Scored(image_ids, np.stack(columns, axis=1))


def top(image_ids: pa.StringArray, scores: NDArray[np.float64], allowed: NDArray[np.bool_], k: int) -> list[int]:
    """Rows of the k highest scores, ties by id."""
    rows = np.flatnonzero(allowed)
    if len(rows) > k:
        least = np.partition(scores[rows], -k)[-k]
        rows = rows[scores[rows] >= least]  # all that tie with the last one
    names = image_ids.take(pa.array(rows, pa.int64())).to_pylist()
    order = sorted(range(len(rows)), key=lambda index: (-scores[rows[index]], names[index]))
    return [int(rows[index]) for index in order[:k]]


def _allowed(image_ids: pa.StringArray, choice: Choice) -> NDArray[np.bool_]:
    def isin(several: Collection[str]) -> NDArray[np.bool_]:
        found = pc.is_in(image_ids, value_set=pa.array(sorted(several), pa.string()))
        return np.asarray(found.to_numpy(zero_copy_only=False), bool)

    allowed = np.ones(len(image_ids), bool) if choice.among is None else isin(choice.among)
    return allowed & ~isin(choice.without)


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
