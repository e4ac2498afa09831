"""Which images of a setting are meant, and their vectors in memory: what groups are made of."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...errors import OptionError, StoreError, preview
from ...methods.settings import Setting
from ...vectors import unit
from ..storage.store import Store


def selected_ids(store: Store, setting: Setting, where: str | None = None) -> list[str]:
    """The images that have a vector, sorted by id: what is made of them does not depend on the order of rows.

    Args:
        store: The database.
        setting: One of it.
        where: A filter over the columns of `images`, as for `Store.image_ids_where`.

    Raises:
        StoreError: there is no such setting, or nothing in it.
        OptionError: the filter cannot be read, or leaves no image.
    """
    image_ids = set(store.image_ids(setting))
    if not image_ids:
        raise StoreError(f"{setting.name} has no vectors: run the `cie embed` that made it again")
    if where is not None:
        image_ids &= set(store.image_ids_where(setting.dataset, setting.source, where))
        if not image_ids:
            raise OptionError(f"no image of {setting.name} fits {where!r}")
    return sorted(image_ids)


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
