"""Neighbours under one or several conditions at once, each with a weight.

An image's score is the weighted sum of its cosines to the query under each condition. A negative weight pushes away:
"this colour, but not this model". What is scored is exact; which images are scored is all of them, unless an index
names candidates.
"""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ...methods.settings import Setting
from ..percentiles import Percentiles, percentiles, sample
from ..storage.store import Store
from .cutoff import cutoff
from .hits import Choice, Hit, Hits
from .scoring import Vector, score_all, score_candidates

DECIMALS = 6  # images whose scores agree in so many are tied, and ordered by id


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
