"""Neighbours under one or several conditions at once, each with a weight.

An image's score is the weighted sum of its cosines to the query under each condition. A negative weight pushes away:
"this colour, but not this model". Cosines of different models or methods cannot be added: their percentiles are. What
is scored is exact; which images are scored is all of them, unless an index names candidates.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ...methods.settings import Setting
from ..percentiles import Percentiles, percentiles, sample
from ..storage.store import Store
from .cutoff import cutoff
from .hits import Choice, Hit
from .scoring import Vector, score_all, score_candidates

TIES = 1e-6  # what a cosine of 1 adds to a sum of percentiles
DECIMALS = 6  # images whose scores agree in so many are tied, and ordered by id


@dataclass(frozen=True, eq=False)
class Ranking:
    """The images that a search found, most similar first; what is told of each is fetched when it is asked for.

    Attributes:
        scores: The weighted sum of each image's cosines, or of their percentiles, float64 (n,).
        cosines: To the query under each of K conditions, float32 (n, K).
        conditions: With their weights.
        settings: By condition: where their vectors are.
        images: How many images were searched: those that fit the filters.
        cut: With `cut="auto"`: the score from which on an image matches; None where no group stands out.
        exact: Whether every image was scored.
    """

    scores: NDArray[np.float64]
    cosines: NDArray[np.float32]
    conditions: Mapping[str | None, float]
    settings: Mapping[str | None, Setting]
    images: int
    cut: float | None
    exact: bool
    _ids: pa.StringArray = field(repr=False)
    _store: Store = field(repr=False)
    _meaning: Callable[[], Sequence[Percentiles]] = field(repr=False)

    def __len__(self) -> int:
        return len(self.scores)

    @cached_property
    def image_ids(self) -> list[str]:
        """The images."""
        ids: list[str] = self._ids.to_pylist()
        return ids

    def hits(self, start: int = 0, stop: int | None = None) -> list[Hit]:
        """Those from `start` to before `stop`, as a slice counts, with their paths, words and percentiles.

        Raises:
            StoreError: a table is damaged.
        """
        rows = range(len(self))[start:stop]
        if not rows:
            return []
        scores, cosines = self.scores[rows.start : rows.stop], self.cosines[rows.start : rows.stop]
        image_ids = self._ids.slice(rows.start, len(rows)).to_pylist()
        first = next(iter(self.settings.values()))
        with self._store.reading():
            paths = self._store.image_paths(first.dataset, image_ids, source=first.source)
            words = {name: self._store.words(setting, image_ids) for name, setting in self.settings.items()}
            shares = [each.of(cosines[:, i]) for i, each in enumerate(self._percentiles)]
        return [
            Hit(
                rank=row + 1,
                image_id=image_id,
                path=paths.get(image_id),
                score=float(scores[at]),
                scores={name: float(cosines[at, i]) for i, name in enumerate(self.settings)},
                percentiles={name: _number(shares[i][at]) for i, name in enumerate(self.settings)},
                words={name: words[name].get(image_id) or [] for name in self.settings},
            )
            for at, (row, image_id) in enumerate(zip(rows, image_ids, strict=True))
        ]

    @cached_property
    def _percentiles(self) -> Sequence[Percentiles]:
        """Under each condition."""
        return self._meaning()


def rank(
    store: Store,
    settings: Mapping[str | None, Setting],
    weights: Mapping[str | None, float],
    vectors: Sequence[Vector],
    choice: Choice,
    *,
    of_pairs: bool = True,
    by_percentile: bool = False,
) -> Ranking:
    """The images that score highest.

    Args:
        store: The database.
        settings: By condition, of one space; of several with `by_percentile`.
        weights: By condition, see `weights_of`.
        vectors: The query's unit vector under each.
        choice: Which are hits.
        of_pairs: Whether percentiles are among random pairs of the collection's images, as suits an image; otherwise
            among pairs of this query and a random image, as suits a text, which is less similar to any image.
        by_percentile: Whether the score is the weighted sum of percentiles instead of cosines, every image scored.

    Raises:
        StoreError: a setting is damaged or has no vectors.
    """
    several, factors = list(settings.values()), np.array([weights[name] for name in settings])
    all_scored = choice.exact or choice.cut or by_percentile
    scored = None if all_scored else score_candidates(store, several, vectors, factors, choice)
    exact = scored is None
    if scored is None:
        scored = score_all(store, several, vectors)
    image_ids, cosines = scored.image_ids, scored.cosines

    def meaning() -> list[Percentiles]:
        return [
            percentiles(store, setting) if of_pairs else _of_query(store, setting, vectors[i], cosines[:, i], exact)
            for i, setting in enumerate(several)
        ]

    if by_percentile:
        shares = np.stack([each.of(cosines[:, i]) for i, each in enumerate(meaning())], axis=1)
        # Above all random pairs every percentile is 1: there, cosines still tell what is nearer.
        scores = np.nan_to_num(shares) @ factors + TIES * (cosines @ factors)
    else:
        scores = np.round(cosines @ factors, DECIMALS)
    allowed = _allowed(image_ids, choice)
    images = int(allowed.sum()) if exact else store.count(several[0]) if choice.among is None else len(choice.among)
    cut = cutoff(scores[allowed]) if choice.cut else None
    least = max((each for each in (choice.min_score, cut) if each is not None), default=-np.inf)
    best = top(image_ids, scores, allowed & (scores >= least - 10.0**-DECIMALS), choice.k)

    return Ranking(
        scores[best],
        cosines[best],
        dict(weights),
        settings,
        images=images,
        cut=cut,
        exact=exact,
        _ids=image_ids.take(pa.array(best)),
        _store=store,
        _meaning=meaning,
    )


def top(
    image_ids: pa.StringArray, scores: NDArray[np.float64], allowed: NDArray[np.bool_], k: int
) -> NDArray[np.int64]:
    """Rows of the k highest scores, ties by id."""
    rows = np.flatnonzero(allowed)
    if len(rows) > k:
        least = np.partition(scores[rows], -k)[-k]
        rows = rows[scores[rows] >= least]  # all that tie with the last one
    found = pa.table({"score": scores[rows], "image_id": image_ids.take(pa.array(rows))})
    order = pc.sort_indices(found, [("score", "descending"), ("image_id", "ascending")])
    best: NDArray[np.int64] = rows[order.to_numpy()[:k]]
    return best


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
