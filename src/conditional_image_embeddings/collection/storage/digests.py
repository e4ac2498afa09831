"""64-bit digests of image ids, the same in every process: what says in 8 bytes an image which are there.

Two ids of one digest are as good as never met, and yet lose no image: see `lacking`.
"""

from collections.abc import Iterable
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray


def digest(text: str) -> int:
    """A signed integer of 64 bits."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little", signed=True)


def digests(texts: Iterable[str]) -> NDArray[np.int64]:
    """The digests of many, in their order."""
    return np.fromiter(map(digest, texts), np.int64)


def has(values: NDArray[np.int64], key: int) -> bool:
    """Whether the key is among the sorted values."""
    first, last = span(values, key)
    return last > first


def span(values: NDArray[np.int64], key: int) -> tuple[int, int]:
    """Where the key begins and ends in the sorted values."""
    first = int(np.searchsorted(values, key))
    last = first
    while last < len(values) and values[last] == key:
        last += 1
    return first, last


def doubled(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Those of the sorted values that stand there more than once, each once."""
    return np.unique(values[1:][values[1:] == values[:-1]])
