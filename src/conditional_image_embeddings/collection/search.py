"""Neighbours under one or several conditions at once, each with a weight.

An image's score is the weighted sum of its cosines to the query under each condition. A negative weight pushes away:
"this colour, but not this model". What is scored is exact; which images are scored is all of them, unless an index
names candidates.
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
from ..vectors import cosines
from .cutoff import cutoff
from .neighbours import MAX_CANDIDATES
from .percentiles import Percentiles, percentiles, sample
from .storage.store import Store
from .storage.vector_index import MIN_ROWS

MOST_HITS = 100_000
OVERSAMPLING = 20  # candidates per hit asked for, under several conditions: the best in all may be the best in none
MIN_CANDIDATES = 100
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
        cut: Whether the list ends by itself, see `cutoff`; that takes every image's score.
        exact: Score every image, index or not.
    """

    k: int = 20
    among: Collection[str] | None = None
    without: Collection[str] = field(default_factory=frozenset)
    min_score: float | None = None
    cut: bool = False
    exact: bool = False

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
    several, factors = list(settings.values()), np.array([weights[name] for name in settings])
    scored = None if choice.exact or choice.cut else score_candidates(store, several, vectors, factors, choice)
    exact = scored is None
    if scored is None:
        scored = score_all(store, several, vectors)
    scores = np.round(scored.cosines @ factors, DECIMALS)
    allowed = _allowed(scored.image_ids, choice)
    images = int(allowed.sum()) if exact else store.count(several[0]) if choice.among is None else len(choice.among)
    cut = cutoff(scores[allowed]) if choice.cut else None
    least = max((each for each in (choice.min_score, cut) if each is not None), default=-np.inf)
    best = top(scored.image_ids, scores, allowed & (scores >= least - 10.0**-DECIMALS), choice.k)
    meanings = [
        percentiles(store, setting) if of_pairs else _of_query(store, setting, vectors[i], scored.cosines[:, i], exact)
        for i, setting in enumerate(several)
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
    return Hits(hits, dict(weights), settings, images=images, cut=cut, exact=exact)


def score_candidates(
    store: Store, settings: Sequence[Setting], vectors: Sequence[Vector], factors: NDArray[np.float64], choice: Choice
) -> Scored | None:
    """The images that may score highest, and their cosines; None where all images are to be scored.

    They come from the index of each condition with a positive weight: with a negative one, an image is near by being
    far, and no index tells what is far. Then every candidate is scored under every condition.
    """
    rows = min(map(store.count, settings))
    asked = max(MIN_CANDIDATES, (choice.k + len(choice.without)) * (OVERSAMPLING if len(settings) > 1 else 2))
    if choice.among is not None:
        asked = -(-2 * asked * rows // max(1, len(choice.among)))
    if rows < MIN_ROWS or not 0 < asked <= min(MAX_CANDIDATES, rows // 4):
        return None
    found: dict[str, None] = {}
    for setting, vector, factor in zip(settings, vectors, factors, strict=True):
        if factor > 0:
            found.update(dict.fromkeys(store.candidates(setting, vector, asked).image_ids))
    image_ids = list(found)
    columns: list[dict[str, float]] = []
    for setting, vector in zip(settings, vectors, strict=True):
        there, stored = store.vectors_of(setting, image_ids)
        columns.append(dict(zip(there, cosines(stored, vector).tolist(), strict=True)))
    image_ids = [image_id for image_id in image_ids if all(image_id in column for column in columns)]
    scored = Scored(
        pa.array(image_ids, pa.string()),
        np.array([[column[image_id] for column in columns] for image_id in image_ids], np.float32).reshape(
            -1, len(columns)
        ),
    )
    enough = int(_allowed(scored.image_ids, choice).sum()) >= choice.k
    return scored if enough else None


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


def _of_query(store: Store, setting: Setting, vector: Vector, scored: Vector, exact: bool) -> Percentiles:
    """Among pairs of the query and each image; where not all were scored, each of a sample."""
    return Percentiles.fit(scored if exact else sample(store, setting)[1] @ vector)


def _allowed(image_ids: pa.StringArray, choice: Choice) -> NDArray[np.bool_]:
    def isin(several: Collection[str]) -> NDArray[np.bool_]:
        found = pc.is_in(image_ids, value_set=pa.array(sorted(several), pa.string()))
        return np.asarray(found.to_numpy(zero_copy_only=False), bool)

    allowed = np.ones(len(image_ids), bool) if choice.among is None else isin(choice.among)
    return allowed & ~isin(choice.without)


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
