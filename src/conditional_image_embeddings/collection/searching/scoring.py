"""Which images are scored, and their exact cosines to the query under each condition."""

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ...errors import StoreError
from ...methods.settings import Setting
from ...vectors import cosines
from ..storage.store import Store
from ..storage.vector_index import MIN_ROWS
from .hits import Choice
from .neighbours import MAX_CANDIDATES, nearest

SCORED = 20  # candidates per hit asked for that are scored, under several conditions, but
MIN_SCORED = 400  # never fewer than so many
LOOKED_UP = 80  # to look up one image's vectors takes as long as to read those of so many in their order

Vector = NDArray[np.float32]
Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class Scored:
    """Images and their cosines to the query, (n, K), under each of K conditions."""

    image_ids: pa.StringArray
    cosines: NDArray[np.float32]


def score_candidates(
    store: Store, settings: Sequence[Setting], vectors: Sequence[Vector], factors: NDArray[np.float64], choice: Choice
) -> Scored | None:
    """The images that may score highest, and their cosines; None where all images are to be scored.

    They come from the index of each condition with a positive weight: with a negative one, an image is near by being
    far, and no index tells what is far. Of several conditions' candidates, those are scored whose sum can be highest,
    going by what each index roughly says, and, where it does not list an image, by the last that it lists.
    """
    rows = min(map(store.count, settings))
    asked = choice.k + len(choice.without)
    if rows < MIN_ROWS or not 0 < asked <= MAX_CANDIDATES // 4:
        return None
    most_scored = max(MIN_SCORED, asked * SCORED)
    if len(settings) > 1 and min(most_scored, MAX_CANDIDATES) * LOOKED_UP > rows:
        return None
    if len(settings) == 1:
        image_ids, similarities = nearest(store, settings[0], vectors[0], asked, where_ids=choice.among)
        return Scored(pa.array(image_ids, pa.string()), similarities[:, None])
    near = [each for each in zip(settings, vectors, factors, strict=True) if each[2] > 0]
    count = min(MAX_CANDIDATES, rows // 4)
    listed = _side_by_side(lambda each: store.rough_candidates(each[0], each[1], count), near)
    most: Counter[str] = Counter()
    for (_, _, factor), rough in zip(near, listed, strict=True):
        least = min(rough.values(), default=0.0)
        most.update({image_id: factor * (similar - least) for image_id, similar in rough.items()})
    among = None if choice.among is None else set(choice.among)
    names = [name for name, _ in most.most_common() if among is None or name in among]
    scored = _scored(store, settings, vectors, names[:most_scored])
    return scored if len(scored.image_ids) >= min(asked, rows) else None


def _scored(store: Store, settings: Sequence[Setting], vectors: Sequence[Vector], image_ids: Sequence[str]) -> Scored:
    """Those of these images that have a vector under each setting."""

    def column(asked: tuple[Setting, Vector]) -> dict[str, float]:
        there, stored = store.vectors_of(asked[0], image_ids)
        return dict(zip(there, cosines(stored, asked[1]).tolist(), strict=True))

    columns = _side_by_side(column, list(zip(settings, vectors, strict=True)))
    names = [name for name in image_ids if all(name in column for column in columns)]
    similar = [[column[name] for column in columns] for name in names]
    return Scored(pa.array(names, pa.string()), np.array(similar, np.float32).reshape(-1, len(columns)))


def _side_by_side(function: Callable[[Any], Result], arguments: Sequence[Any]) -> list[Result]:
    """What it gives for each, in threads of this context: LanceDB computes without Python's lock."""
    with ThreadPoolExecutor(len(arguments)) as threads:
        return [each.result() for each in [threads.submit(copy_context().run, function, each) for each in arguments]]


def score_all(store: Store, settings: Sequence[Setting], vectors: Sequence[Vector]) -> Scored:
    """Every image that has a vector under each setting, and its cosines.

    Raises:
        StoreError: there is none.
    """
    (image_ids, first), *rest = _side_by_side(
        lambda each: store.similarities(*each), list(zip(settings, vectors, strict=True))
    )
    columns = [first]
    for others, similarities in rest:
        rows = pc.index_in(image_ids, value_set=others)
        there = rows.is_valid()
        if not pc.all(there, min_count=0).as_py():
            kept = there.to_numpy(zero_copy_only=False)
            image_ids, rows, columns = image_ids.filter(there), rows.drop_null(), [each[kept] for each in columns]
        columns.append(similarities[rows.to_numpy()])
    if not len(image_ids):
        raise StoreError(f"no image of {store.uri} has a vector under each condition: run its `cie embed` again")
    return Scored(image_ids, np.stack(columns, axis=1))
