"""What InDiReCT and CLAY ask of their input: finite vectors of unit length, and texts that differ."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ConditionError, OptionError
from ..inputs.arguments import checked_count
from ..vectors import unit as scaled_to_unit

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
    return scaled_to_unit(values, np.float64)


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


def project(matrix: ArrayLike, vectors: ArrayLike) -> NDArray[np.float32]:
    """Vectors seen through a map: normalise(matrix normalise(vector)).

    Args:
        matrix: (k, d).
        vectors: (n, d).

    Returns:
        float32 (n, k), of unit length; what the matrix maps to zero stays zero.
    """
    return unit(unit(vectors) @ np.asarray(matrix, dtype=np.float64).T).astype(np.float32)


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
    return checked_count("components", components)


def rows(basis: NDArray[np.float64], components: int) -> NDArray[np.float64]:
    """The first `components` rows of a basis, with zero rows where it has fewer: a zero changes no cosine."""
    kept = basis[:components]
    return np.pad(kept, ((0, components - len(kept)), (0, 0)))
