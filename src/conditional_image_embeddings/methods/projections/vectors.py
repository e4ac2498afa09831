"""What both maps ask of their input: finite vectors of unit length, and texts that differ."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import ConditionError, OptionError

SAME = 1e-5  # texts closer together than this differ by rounding only


def unit(vectors: ArrayLike, *, ndim: int = 2, name: str = "vectors") -> NDArray[np.float64]:
    """The vectors scaled to unit length, float64; a zero vector stays zero.

    Raises:
        ValueError: not `ndim` axes, no vector at all, or NaN or infinity among the numbers.
    """
    values = np.asarray(vectors, dtype=np.float64)
    if values.ndim != ndim or values.shape[-1] == 0:
        raise OptionError(f"expected {name} of shape {'(n, d)' if ndim == 2 else '(d,)'}, not {values.shape}")
    if not np.isfinite(values).all():
        raise OptionError(f"the {name} hold NaN or infinity")
    length = np.linalg.norm(values, axis=-1, keepdims=True)
    return np.asarray(values / np.maximum(length, 1e-30), dtype=np.float64)


def unit_texts(texts: ArrayLike) -> NDArray[np.float64]:
    """The texts' vectors scaled to unit length.

    Raises:
        ConditionError: there are fewer than two different texts, so that nothing varies.
        ValueError: as `unit`.
    """
    values = unit(texts, name="texts")
    if len(values) < 2 or np.abs(values - values[0]).max() < SAME:
        raise ConditionError(
            f"{len(values)} texts of which no two differ: a condition is what its texts vary in; give two words or more"
        )
    return values


def mean_direction(vectors: ArrayLike) -> NDArray[np.float64]:
    """The mean of the unit-length vectors (n, d), scaled to unit length: where on the sphere they lie, (d,).

    Raises:
        ValueError: as `unit`, or vectors that cancel out.
    """
    mean = unit(vectors).mean(axis=0)
    if np.linalg.norm(mean) < 1e-6:
        raise OptionError("the vectors cancel out: they have no mean direction")
    return unit(mean, ndim=1)


def checked_components(components: int) -> int:
    """The number of components asked for, at least 1."""
    if components < 1:
        raise OptionError(f"components is {components}; at least 1 is needed")
    return components


def rows(basis: NDArray[np.float64], components: int) -> NDArray[np.float64]:
    """The first `components` rows of a basis, with zero rows where it has fewer: a zero changes no cosine."""
    kept = basis[:components]
    return np.pad(kept, ((0, components - len(kept)), (0, 0)))
