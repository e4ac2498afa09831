"""The images nearest to a vector: candidates from an index where there is one, and exact where it can be.

Whatever the candidates come from, the cosines are computed from the stored vectors. What an index cannot answer (more
neighbours than it is good for, vectors without a direction) is answered by comparing all.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import OptionError, StoreError, preview
from ...inputs.conditions import checked_condition
from ...methods.settings import Setting
from ...vectors import unit
from ..storage.store import Store
from ..storage.vector_index import MIN_ROWS, IndexReport

logger = logging.getLogger(__name__)

LISTED = 1000  # so few images are looked up by their ids
MIN_CANDIDATES = 100  # of fewer, an index misses more where neighbours differ by little
MAX_CANDIDATES = 4096  # asked of an index; for more, all are compared

Neighbours = tuple[list[str], NDArray[np.float32]]


def nearest(
    store: Store, setting: Setting, query: ArrayLike, k: int, *, where_ids: Iterable[str] | None = None
) -> Neighbours:
    """The k images most similar to a query.

    Below `vector_index.MIN_ROWS` images exactly these. Above, an image is missed now and then: see docs/performance.md.

    Args:
        store: The database.
        setting: Whose vectors are searched.
        query: One vector (d,) of any length; a zero vector is similar to nothing.
        k: How many; all, if there are no more.
        where_ids: Search these images only.

    Returns:
        Image ids, the most similar first, ties by id; and their cosines, float32.

    Raises:
        StoreError: there is no such setting, or it is damaged.
        OptionError: the query has other dimensions than the setting, or is not finite.
    """
    if not np.isfinite(query).all():
        raise OptionError("the query holds NaN or infinity")
    direction = unit(query)
    wanted = None if where_ids is None else set(where_ids)
    if wanted is not None and len(wanted) <= LISTED:
        return _best(*_scored(*store.vectors_of(setting, sorted(wanted)), direction), k)
    # Of a filter that lets a tenth pass, twenty times as many: those nearby may pass less often than others.
    asked = k if wanted is None else -(-2 * k * store.count(setting) // len(wanted))
    while direction.any() and 0 < asked <= MAX_CANDIDATES:
        # One more than asked for shows that no equal of the last was left out.
        count = max(asked + 1, MIN_CANDIDATES)
        image_ids, cosines = _scored(*store.candidates(setting, direction, count), direction)
        best = _best(*_kept(image_ids, cosines, wanted), k)
        if len(best[0]) == k and best[1][-1] > max(0, cosines.min()):
            return best
        if len(image_ids) < count:
            break
        asked *= 4
    every, cosines = store.similarities(setting, direction)
    return _best(*_kept(every.to_pylist(), np.nan_to_num(cosines), wanted), k)


def build_indexes(
    store: Store, settings: Sequence[Setting], *, show_progress_bar: bool | None = None
) -> Iterator[IndexReport]:
    """Build the index of each setting, or bring it up to date.

    A setting whose index cannot be built does not keep the others from theirs; its error comes at the end.

    Raises:
        StoreError: a setting is damaged, or the database is being written or cannot be.
    """
    failed = []
    for setting in settings:
        try:
            yield store.build_index(setting, show_progress_bar=show_progress_bar)
        except StoreError as error:
            failed.append(error)
    if failed:
        raise failed[0]


def build_due_indexes(store: Store, settings: Iterable[Setting]) -> None:
    """Build or update those indexes that are due; where that cannot be at this moment, a warning says so."""
    for setting in filter(store.index_is_due, settings):
        try:
            store.build_index(setting)
        except StoreError as error:
            logger.warning("searched with the index as it is: %s", error)


def settings_to_index(store: Store, conditions: Iterable[str | None] = (), pattern: str = "*") -> list[Setting]:
    """The settings that a glob selects, of these conditions (whatever their case) or, if there are none, of all.

    Raises:
        StoreError: there are none, or none of one of the conditions.
    """
    found = store.settings(pattern)
    if not found:
        raise StoreError(f"no setting of {store.uri} matches {pattern!r}")
    wanted = [(checked_condition(condition) or "").casefold() for condition in conditions]
    there = {(setting.condition or "").casefold() for setting in found}
    for condition in wanted:
        if condition not in there:
            conditions_there = preview([repr(setting.condition) for setting in found])
            raise StoreError(f"no setting of {store.uri} is under {condition!r}; there are {conditions_there}")
    return [each for each in found if not wanted or (each.condition or "").casefold() in wanted]


def summary(report: IndexReport) -> str:
    """One line for people."""
    size = f"{report.kind}, {(report.size_bytes or 0) / 1e6:,.1f} MB"
    said = {
        "exact": f"none is needed, fewer than {MIN_ROWS:,} are all compared",
        "current": f"up to date ({size})",
        "updated": f"updated in {report.seconds:.1f} s ({size})",
        "built": f"built in {report.seconds:.1f} s ({size})",
    }
    return f"{report.setting.name}: {report.rows:,} vectors: {said[report.action]}"


def _scored(image_ids: list[str], vectors: NDArray[np.float32], direction: NDArray[np.float32]) -> Neighbours:
    if vectors.shape[1:] != direction.shape:
        raise OptionError(f"a query of shape {direction.shape} fits no vectors of {vectors.shape[1]} dimensions")
    # Row by row: a matrix product rounds a row differently in another block, and equal vectors would not tie.
    with np.errstate(invalid="ignore"):
        cosines = np.einsum("ij,j->i", unit(vectors), direction)
    return image_ids, np.where(np.isfinite(cosines), cosines, 0).astype(np.float32)


def _kept(image_ids: list[str], cosines: NDArray[np.float32], wanted: set[str] | None) -> Neighbours:
    if wanted is None:
        return image_ids, cosines
    rows = [row for row, image_id in enumerate(image_ids) if image_id in wanted]
    return [image_ids[row] for row in rows], cosines[rows]


def _best(image_ids: list[str], cosines: NDArray[np.float32], k: int) -> Neighbours:
    """The first k by similarity, then by id."""
    rows = np.arange(len(cosines))
    if len(rows) > k > 0:
        rows = np.flatnonzero(cosines >= -np.partition(-cosines, k - 1)[k - 1])
    order = sorted(rows, key=lambda row: (-cosines[row], image_ids[row]))[: max(k, 0)]
    return [image_ids[row] for row in order], cosines[order]
