"""Post-processing of stored vectors: centred, whitened, shortened; settings of their own, fitted on the collection.

Off unless asked for. What is refined is a function of the whole collection: where that has changed, all of it is made
anew.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import OptionError, StoreError
from ..inputs.arguments import optional_count
from .job.derivation import is_stale
from .storage.digests import doubled

if TYPE_CHECKING:
    from ..methods.settings import Setting
    from .storage.store import Store

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

    def apply(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Vectors (n, d) as (n, dimensions), float32."""
        moved = vectors - self.mean
        mapped = moved if self.matrix is None else moved @ self.matrix.T
        return np.ascontiguousarray(mapped[:, : self.dimensions], dtype=np.float32)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """What a table keeps of it: see `Store.fitted`."""
        matrix = {} if self.matrix is None else {"matrix": self.matrix}
        return {"mean": self.mean, "dimensions": np.array(self.dimensions), **matrix}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> "Refinement":
        """The refinement that `to_arrays` was asked of."""
        return cls(arrays["mean"], arrays.get("matrix"), int(arrays["dimensions"]))


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
        OptionError: no vectors, some that are not finite, or more dimensions than there are.
    """
    count, total, outer = 0, np.zeros(0), np.zeros((0, 0))
    for part in parts:
        if not count:
            total = np.zeros(part.shape[1])
            outer = np.zeros((part.shape[1],) * 2) if whiten else outer
        values = part.astype(np.float64)
        with np.errstate(invalid="ignore"):  # of infinities: refused below
            count, total = count + len(values), total + values.sum(axis=0)
        if whiten:
            outer += values.T @ values
    if not count:
        raise OptionError("there are no vectors to learn a refinement from")
    if not np.isfinite(total).all():
        raise OptionError("some vectors hold NaN or infinity: embed with dtype float32")
    kept = optional_count("dimensions", dimensions) or len(total)
    if kept > len(total):
        raise OptionError(f"dimensions is {dimensions}; these vectors have {len(total)}")
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

    A setting that cannot be refined does not keep the others from it; its error comes at the end.

    Returns:
        For each setting its refined one, and whether it had to be made.

    Raises:
        StoreError: nothing to refine, or a setting is empty, damaged, or has several vectors per image.
        OptionError: nothing is asked for, more dimensions than there are, or vectors that are not finite.
    """
    if not (center or whiten or dimensions):
        raise OptionError("nothing to do: ask for centring, whitening or fewer dimensions")
    originals = [setting for setting in settings if "refined" not in setting.extra]
    if not originals:
        raise StoreError(f"no setting of {store.uri} matches that is not refined already")
    choice: dict[str, Any] = {"center": center or whiten, "whiten": whiten, "dimensions": dimensions}
    done, failed = [], []
    with store.writing(required=False) as blocked:
        for original in originals:
            refined = replace(original, extra={**original.extra, "refined": choice})
            try:
                there = store.ids(original)
                stale = not len(there) or is_stale(store, refined, there)
                if stale:
                    if blocked is not None:
                        raise blocked
                    _check_complete(original, there)
                    learned = fit(
                        (part for _, part in store.scan(original)), center=center, whiten=whiten, dimensions=dimensions
                    )
                    parts = ((ids, learned.apply(part)) for ids, part in store.scan(original))
                    arrays = {**store.fitted(original), **learned.to_arrays()}
                    store.replace_vectors(refined, parts, arrays, there)
                done.append((refined, stale))
            except (StoreError, OptionError) as error:
                failed.append(error)
    if failed:
        raise failed[0]
    return done


def _check_complete(setting: "Setting", there: NDArray[np.int64]) -> None:
    if not len(there):
        raise StoreError(f"{setting.name} has no vectors: run the `cie embed` that made it again")
    if several := len(doubled(there)):
        raise StoreError(
            f"{several} images of {setting.name} have more than one vector: run the `cie embed` that made it again"
        )
