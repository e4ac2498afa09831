"""What a similarity means in a collection: which share of random pairs of its images is less similar.

A cosine of .8 may be near identity under one condition and chance under another. The quantiles of the similarities of
random pairs are taken once per setting and stored beside it.
"""

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import StoreError
from ..methods.settings import Setting
from ..vectors import unit
from .storage.digests import digests
from .storage.store import Store

SAMPLE = 2000  # images; all their pairs are two million
GROWTH = 1.1  # a setting that has so many times its images, or so many times fewer, is sampled again
# Finer towards the top, where a search looks: up to one pair in a million.
LEVELS = np.concatenate([np.linspace(0, 0.99, 100), 1 - np.geomspace(1e-2, 1e-6, 81)[1:], [1.0]])

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Percentiles:
    """The similarities of random pairs: `levels` ascending from 0 to 1, and the `values` that such a share is below."""

    levels: NDArray[np.float64]
    values: NDArray[np.float64]

    @classmethod
    def fit(cls, similarities: NDArray[Any]) -> "Percentiles":
        """From the similarities of pairs, any shape; of none at all every percentile is NaN."""
        flat = np.asarray(similarities).ravel()
        if not len(flat):
            return cls(np.empty(0), np.empty(0))
        return cls(LEVELS, np.quantile(flat, LEVELS).astype(np.float64))

    def of(self, similarities: Any) -> NDArray[np.float64]:
        """The share of random pairs, 0 to 1, that are at most as similar as each; NaN where there are no pairs."""
        asked = np.asarray(similarities, np.float64)
        if not len(self.values):
            return np.full(asked.shape, np.nan)
        above = np.searchsorted(self.values, asked, side="right")
        below = np.clip(above - 1, 0, len(self.values) - 1)
        above = np.clip(above, 0, len(self.values) - 1)
        span = self.values[above] - self.values[below]
        share = np.clip((asked - self.values[below]) / np.where(span > 0, span, 1), 0, 1)
        return np.asarray(self.levels[below] + share * (self.levels[above] - self.levels[below]))

    def similarity_at(self, fraction: float) -> float:
        """The similarity that this share of random pairs does not exceed; NaN where there are no pairs."""
        return float(np.interp(fraction, self.levels, self.values)) if len(self.values) else float("nan")


def percentiles(store: Store, setting: Setting) -> Percentiles:
    """Of a setting: as stored, or sampled anew where it has a tenth more or fewer images than then.

    They are stored where the database can be written at this moment, and made again where it cannot.

    Raises:
        StoreError: there is no such setting, or it is damaged.
    """
    count = store.count(setting)
    stored = store.quantiles(setting)
    if stored is not None and stored.images / GROWTH <= count <= stored.images * GROWTH:
        return Percentiles(stored.levels, stored.values)
    vectors = sample(store, setting)[1]
    similar = vectors @ vectors.T
    fitted = Percentiles.fit(similar[np.triu_indices(len(similar), 1)])
    try:
        with store.writing():
            store.keep_quantiles(setting, count, fitted.levels.tolist(), fitted.values.tolist())
    except StoreError as error:
        logger.debug("percentiles of %s are not stored: %s", setting.name, error)
    return fitted


def sample(store: Store, setting: Setting, size: int = SAMPLE) -> tuple[list[str], NDArray[np.float32]]:
    """Image ids and unit vectors (n, d) of at most `size` images, whatever order they are stored in.

    Those with the smallest digests of their ids: as good as drawn, and the same in every process.
    """
    image_ids = store.image_ids(setting)
    keys = digests(image_ids)
    if len(keys) > size:
        chosen = np.argpartition(keys, size)[:size]
        image_ids = [image_ids[index] for index in chosen]
    found, vectors = store.vectors_of(setting, sorted(image_ids))
    return found, unit(vectors)
