"""Vectors compared: cosine similarity between all pairs or row by row, and the one normalisation of this package."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import OptionError


def similarity(a: Any, b: Any) -> NDArray[np.float32]:
    """Cosine similarities of all pairs, float32.

        vectors = embedder.encode(images, ["car color", "car model"])     # (n, 2, d)
        by_color, by_model = cie.similarity(vectors, vectors)             # (2, n, n)

    Args:
        a: Vectors (n, d), one vector (d,), or vectors under K conditions (n, K, d), as `encode` returns them: an array,
            a list, or a torch tensor of any dtype on any device.
        b: Vectors (m, d), (d,), or (m, K, d) under the same K conditions.

    Returns:
        (n, m), the axis of a single vector dropped; with conditions (K, n, m). A zero vector is similar to nothing (0).

    Raises:
        OptionError: dimensions or conditions differ, or only one of the two has conditions.
    """
    left, right = _pair(a, b)
    if 3 in {left.ndim, right.ndim}:
        if left.ndim != right.ndim or left.shape[1] != right.shape[1]:
            raise OptionError(
                f"vectors of shapes {left.shape} and {right.shape} are not under the same conditions, (n, K, d): "
                "choose one of them, vectors[:, k], or give one image's vectors as vectors[None]"
            )
        left, right = left.swapaxes(0, 1), right.swapaxes(0, 1)
    return np.asarray(left @ right.swapaxes(-1, -2) if right.ndim > 1 else left @ right)


def pairwise_similarity(a: Any, b: Any) -> NDArray[np.float32]:
    """Cosine similarities row by row: the first of `a` with the first of `b`, and so on.

    Args:
        a: Vectors (n, d), (n, K, d), or one (d,), as for `similarity`.
        b: As many, or one, which is compared with each.

    Returns:
        float32 (n,), with conditions (n, K), of two single vectors a number.

    Raises:
        OptionError: the shapes differ.
    """
    left, right = _pair(a, b)
    if left.shape != right.shape and min(left.ndim, right.ndim) > 1:
        raise OptionError(f"vectors of shapes {left.shape} and {right.shape} are not as many on both sides")
    return np.asarray(np.einsum("...d,...d->...", left, right))


def cosines(vectors: NDArray[np.float32], vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """The cosine of each vector (n, d) and one (d,): as `similarity`'s, without a second array of that size."""
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64, casting="same_kind"))
    lengths *= np.linalg.norm(vector.astype(np.float64))
    lengths[~(lengths > 0)] = 1
    # Not `@`: BLAS would use threads for it, that wait for each other longer than this takes where others are at work.
    return np.asarray(np.einsum("ij,j->i", vectors, vector) / lengths, np.float32)


def unit(vectors: Any, dtype: Any = np.float32) -> NDArray[Any]:
    """Vectors (..., d) scaled to unit length, however long or short they are; a zero vector stays zero.

    Args:
        vectors: An array, a list, or a torch tensor of any dtype on any device.
        dtype: Of the result.
    """
    values = as_array(vectors, dtype)
    lengths = np.sqrt(np.einsum("...d,...d->...", values, values, dtype=np.float64, casting="same_kind"))[..., None]
    lengths[~(lengths > 0)] = 1
    # Divided in float64, in which no length overflows, piece by piece: there is no second array of that size.
    scaled: NDArray[Any] = np.divide(values, lengths, out=np.empty_like(values), casting="same_kind")
    return scaled


def as_array(vectors: Any, dtype: Any = np.float32) -> NDArray[Any]:
    """Vectors in memory as a numpy array, whatever they came as."""
    if isinstance(vectors, list | tuple) and any(hasattr(each, "detach") for each in vectors):
        vectors = [as_array(each, dtype) for each in vectors]
    if hasattr(vectors, "detach"):  # a torch tensor: numpy has no bfloat16, and does not reach other devices
        vectors = vectors.detach().cpu().double() if dtype == np.float64 else vectors.detach().float().cpu()
    return np.asarray(vectors, dtype)


def _pair(a: Any, b: Any) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Both scaled to unit length, if they can be compared."""
    left, right = as_array(a), as_array(b)
    for values in (left, right):
        if values.ndim not in {1, 2, 3}:
            raise OptionError(f"expected vectors of shape (n, d), (d,) or (n, K, d), not {values.shape}")
    if left.shape[-1] != right.shape[-1]:
        raise OptionError(f"vectors of {left.shape[-1]} and of {right.shape[-1]} dimensions cannot be compared")
    return unit(left), unit(right)
