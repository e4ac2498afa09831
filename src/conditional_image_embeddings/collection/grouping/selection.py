"""Which images of a setting are meant, and their vectors in memory: what groups are made of."""

import logging
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ...errors import OptionError, StoreError, preview
from ...methods.settings import Setting
from ...vectors import unit
from ..filters import EVERY, Filter
from ..storage.store import Store

logger = logging.getLogger(__name__)


def selected_ids(store: Store, settings: Mapping[str | None, Setting], only: Filter = EVERY) -> list[str]:
    """The images that have a vector under every condition, sorted by id: what is made of them does not depend on rows.

    Args:
        store: The database.
        settings: By condition, of one space.
        only: Which images.

    Raises:
        StoreError: there is no such setting, nothing in it, or no image under every one.
        OptionError: the filter cannot be read, or leaves no image.
    """
    passing = only.image_ids(store, settings)
    under = []
    for setting in settings.values():
        image_ids = set(store.image_ids(setting))
        if not image_ids:
            raise StoreError(f"{setting.name} has no vectors: run the `cie embed` that made it again")
        if passing is not None and not (image_ids := image_ids & passing):
            raise OptionError(f"no image of {setting.name} fits {only}")
        under.append(image_ids)
    shared = set.intersection(*under)
    if left_out := len(set.union(*under)) - len(shared):
        logger.warning("%d images are left out: they were not embedded under every condition", left_out)
    if not shared:
        raise StoreError(f"no image was embedded under all of {', '.join(map(repr, settings))}: run `cie embed` again")
    return sorted(shared)


def unit_vectors(store: Store, setting: Setting, image_ids: Sequence[str]) -> NDArray[np.float32]:
    """The vectors of these images, in their order, scaled to unit length: float32 (n, d).

    Raises:
        StoreError: some are gone, or hold what is no number.
    """
    row_of = {image_id: row for row, image_id in enumerate(image_ids)}
    found = np.zeros(len(image_ids), bool)
    vectors = np.empty((0, 0), np.float32)
    for ids, part in store.scan(setting):
        if not vectors.size:
            vectors = np.empty((len(image_ids), part.shape[1]), np.float32)
        wanted = [index for index, image_id in enumerate(ids) if image_id in row_of]
        rows = [row_of[ids[index]] for index in wanted]
        vectors[rows] = finite(setting, [ids[index] for index in wanted], part[wanted])
        found[rows] = True
    if not found.all():
        raise StoreError(f"{setting.name} was changed while it was read: run the command again")
    return vectors


def finite(setting: Setting, image_ids: Sequence[str], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Vectors (n, d) scaled to unit length.

    Raises:
        StoreError: some hold NaN or infinity.
    """
    with np.errstate(invalid="ignore"):
        scaled: NDArray[np.float32] = unit(vectors)
    broken = [image_ids[row] for row in np.flatnonzero(~np.isfinite(scaled).all(axis=1)).tolist()]
    if broken:
        raise StoreError(
            f"{len(broken)} vectors of {setting.name} hold NaN or infinity ({preview(broken, 3)}): embed with float32"
        )
    return scaled
