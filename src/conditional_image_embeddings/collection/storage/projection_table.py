"""The table `projections`: where each setting's images lie on its map; it can always be made again."""

from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ...errors import StoreError
from ...methods.settings import Setting
from .database import ReadOnlyError
from .quantile_table import QuantileTable
from .tables import KEY, quoted

PROJECTIONS = pa.schema(
    [
        pa.field("setting", pa.string(), nullable=False, metadata=KEY),
        pa.field("made_by", pa.string(), nullable=False, metadata=KEY),
        pa.field("image_id", pa.string(), nullable=False, metadata=KEY),
        ("x", pa.float32()),
        ("y", pa.float32()),
        ("fitted", pa.bool_()),
    ]
)


class Projection(NamedTuple):
    """Image ids, their places, float32 (n, 2), and which of them (n,) the map was fitted to: others came later."""

    image_ids: list[str]
    places: NDArray[np.float32]
    fitted: NDArray[np.bool_]


class ProjectionTable(QuantileTable):
    """A database with the maps of its settings."""

    def projection(self, setting: Setting, made_by: str) -> Projection | None:
        """What was stored of a setting, sorted by id; None where nothing was, or it cannot be read."""
        try:
            table = self._open("projections", PROJECTIONS)
            if table is None:
                return None
            with self._explained("read", "projections"):
                query = table.search().where(_of(setting, made_by)).select(["image_id", "x", "y", "fitted"])
                rows = query.to_arrow().sort_by("image_id")
        except StoreError as error:  # it is made again
            self._warn(error)
            return None
        x, y, fitted = (rows[name].to_numpy() for name in ("x", "y", "fitted"))
        places = np.stack([x, y], axis=1).astype(np.float32)
        if not len(rows) or not np.isfinite(places).all() or rows["fitted"].null_count:
            return None
        return Projection(rows["image_id"].to_pylist(), places, fitted.astype(bool))

    def keep_projection(self, setting: Setting, made_by: str, projection: Projection) -> None:
        """Store a map in place of the setting's former one, in one commit; a damaged table is made anew.

        Raises:
            StoreError: the table is another program's, or the disk is full or read-only.
        """
        x, y = (pa.array(column) for column in np.ascontiguousarray(projection.places.T))
        same = (pa.array([each] * len(x), pa.string()) for each in (setting.name, made_by))
        columns = [*same, pa.array(projection.image_ids, pa.string()), x, y, pa.array(projection.fitted)]
        rows = pa.Table.from_arrays(columns, schema=PROJECTIONS)
        table = self._open_or_create("projections", PROJECTIONS)
        try:
            with self._written("projections"):
                merge = table.merge_insert(["setting", "made_by", "image_id"])
                merge = merge.when_matched_update_all().when_not_matched_insert_all()
                merge.when_not_matched_by_source_delete(_of(setting, made_by)).execute(rows)
            self._compact(table)
        except ReadOnlyError:
            raise
        except StoreError as error:
            self._warn(error)
            with self._written("projections"):
                self._db.create_table("projections", data=rows, schema=PROJECTIONS, mode="overwrite")

    def forget_projection(self, setting: Setting, image_ids: Sequence[str] | None = None) -> None:
        """These images' vectors, by default all of the setting's, are others from now on.

        A damaged table is removed: it must not keep a job from its work.
        """
        try:
            table = self._open("projections", PROJECTIONS)
        except StoreError as error:
            self._warn(error)
            return
        if table is None:
            return
        try:
            self._delete(table, _of(setting), image_ids)
        except ReadOnlyError:
            raise
        except StoreError as error:
            self._warn(error)
            with self._written("projections"), suppress(ValueError):
                self._db.drop_table("projections")


def _of(setting: Setting, made_by: str | None = None) -> str:
    """A filter."""
    where = f"setting = {quoted(setting.name)}"
    return where if made_by is None else f"{where} AND made_by = {quoted(made_by)}"
