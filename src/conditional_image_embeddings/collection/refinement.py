"""Aftercare of stored vectors: centred, whitened, shortened; settings of their own, fitted on the collection.

Off unless asked for. What is refined is a function of the whole collection: where that has changed, all of it is made
anew.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import StoreError

if TYPE_CHECKING:
    from ..methods.settings import Setting
    from .store import Store

SHRINKAGE = 1e-3  # of the mean variance, added to each: directions that hold nothing but rounding are not blown up


@dataclass(frozen=True)
class Refinement:
    """A map of vectors: less `mean`, then through `matrix`.

    Attributes:
        mean: float32 (d,).
        matrix: float32 (k, d); None leaves the directions as they are.
        dimensions: How many of the values are kept.
    """

    mean: NDArray[np.float32]
    matrix: NDArray[np.float32] | None
    dimensions: int

    @property
    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """Its numbers by name, to keep."""
        matrix = {} if self.matrix is None else {"refinement matrix": self.matrix}
        return {"refinement mean": self.mean, **matrix}

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]], dimensions: int | None) -> "Refinement":
        """From what `arrays` kept, and the dimensions that were asked for."""
        mean, matrix = arrays["refinement mean"], arrays.get("refinement matrix")
        return cls(mean, matrix, dimensions or len(mean))

    def apply(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Vectors (n, d) as (n, dimensions), float32."""
        moved = vectors - self.mean
        mapped = moved if self.matrix is None else moved @ self.matrix.T
        return np.ascontiguousarray(mapped[:, : self.dimensions], dtype=np.float32)


def fit(
    parts: Iterable[NDArray[np.float32]], *, center: bool = True, whiten: bool = False, dimensions: int | None = None
) -> Refinement:
    """Learn a refinement from vectors (n, d), part by part; memory does not grow with n.

    Args:
        parts: The vectors.
        center: Subtract their mean.
        whiten: Turn to their principal components, each scaled to the same variance; centres too.
        dimensions: Keep so many: the strongest components if whitened, else the first values.

    Raises:
        ValueError: no vectors, or more dimensions than there are.
    """
    count, total, outer = 0, np.zeros(0), np.zeros((0, 0))
    for part in parts:
        if not count:
            total = np.zeros(part.shape[1])
            outer = np.zeros((part.shape[1],) * 2) if whiten else outer
        values = part.astype(np.float64)
        count, total = count + len(values), total + values.sum(axis=0)
        if whiten:
            outer += values.T @ values
    if not count:
        raise ValueError("there are no vectors to learn a refinement from")
    kept = len(total) if dimensions is None else dimensions
    if not 1 <= kept <= len(total):
        raise ValueError(f"dimensions is {dimensions}; these vectors have {len(total)}")
    mean = total / count if center or whiten else np.zeros_like(total)
    matrix = None
    if whiten:
        variances, directions = np.linalg.eigh(outer / count - np.outer(mean, mean))
        order = np.argsort(-variances)[:kept]
        scales = np.sqrt(np.maximum(variances[order], 0) + SHRINKAGE * max(variances.mean(), 1e-30))
        matrix = (directions[:, order] / scales).T.astype(np.float32)
    return Refinement(mean.astype(np.float32), matrix, kept)


def refine(
    store: "Store", settings: "Sequence[Setting]", *, center: bool = True, whiten: bool = False,
    dimensions: int | None = None,
) -> "list[tuple[Setting, bool]]":  # fmt: skip
    """Write refined settings beside these.

    Returns:
        For each setting its refined one, and whether it had to be made.

    Raises:
        StoreError: nothing to refine.
        ValueError: nothing is asked for, or more dimensions than there are.
    """
    if not (center or whiten or dimensions):
        raise ValueError("nothing to do: ask for centring, whitening or fewer dimensions")
    originals = [setting for setting in settings if "refined" not in setting.extra]
    if not originals:
        raise StoreError(f"no setting of {store.uri} matches that is not refined already")
    choice: dict[str, Any] = {"center": center or whiten, "whiten": whiten, "dimensions": dimensions}
    from .embedding_job import is_outdated

    done = []
    with store.writing():
        for original in originals:
            refined = replace(original, extra={**original.extra, "refined": choice})
            stale = is_outdated(store, refined, store.ids(original))
            if stale:
                learned = fit(
                    (part for _, part in store.scan(original)), center=center, whiten=whiten, dimensions=dimensions
                )
                parts = ((ids, learned.apply(part)) for ids, part in store.scan(original))
                store.replace_vectors(refined, parts, {**(store.fitted(original) or {}), **learned.arrays})
            done.append((refined, stale))
    return done
