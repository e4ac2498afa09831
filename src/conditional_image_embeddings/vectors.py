"""How alike vectors are: cosine similarity between all pairs."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import OptionError


def similarity(a: Any, b: Any) -> NDArray[np.float32]:
    """Cosine similarities of all pairs, float32.

    Args:
        a: Vectors (n, d), or one vector (d,).
        b: Vectors (m, d), or one vector (d,).

    Returns:
        (n, m); the axis of a single vector is dropped. A zero vector is similar to nothing (0).

    Raises:
        ValueError: the dimensions differ.
    """
    left, right = _unit(a), _unit(b)
    if left.shape[-1] != right.shape[-1]:
        raise OptionError(f"vectors of {left.shape[-1]} and of {right.shape[-1]} dimensions cannot be compared")
    return np.asarray(left @ right.T, dtype=np.float32)


def _unit(vectors: Any) -> NDArray[np.float32]:
    values = np.asarray(vectors, dtype=np.float32)
    if values.ndim not in {1, 2}:
        raise OptionError(f"expected vectors of shape (n, d) or (d,), not {values.shape}")
    return np.asarray(values / np.maximum(np.linalg.norm(values, axis=-1, keepdims=True), 1e-12), dtype=np.float32)
