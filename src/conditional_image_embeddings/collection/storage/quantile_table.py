"""The table `similarities`: how similar random pairs of a setting's images are; it can always be made again."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ...errors import StoreError
from ...methods.settings import Setting
from .setting_tables import SettingTables
from .tables import KEY, quoted

SIMILARITIES = pa.schema(
    [
        pa.field("setting", pa.string(), nullable=False, metadata=KEY),
        ("images", pa.int64()),
        ("levels", pa.list_(pa.float64())),
        ("values", pa.list_(pa.float64())),
    ]
)


class Quantiles(NamedTuple):
    """Quantiles of similarities, and how many images the setting had when they were taken."""

    images: int
    levels: NDArray[np.float64]
    values: NDArray[np.float64]


class QuantileTable(SettingTables):
    """A database with what is known of its settings' similarities."""

    def quantiles(self, setting: Setting) -> Quantiles | None:
        """What was stored of a setting; None where nothing was, or it cannot be read."""
        try:
            table = self._open("similarities", SIMILARITIES)
            if table is None:
                return None
            with self._explained("read", "similarities"):
                rows = table.search().where(f"setting = {quoted(setting.name)}").limit(1).to_list()
        except StoreError as error:  # it is made again
            self._warn(error)
            return None
        if not rows or len(rows[0]["levels"]) != len(rows[0]["values"]):
            return None
        (row,) = rows
        return Quantiles(row["images"], np.array(row["levels"]), np.array(row["values"]))

    def keep_quantiles(self, setting: Setting, images: int, levels: Sequence[float], values: Sequence[float]) -> None:
        """Store them, in place of those that were there."""
        row = {"setting": setting.name, "images": images, "levels": list(levels), "values": list(values)}
        with self._written("similarities"):
            merge = self._open_or_create("similarities", SIMILARITIES).merge_insert(["setting"])
            merge = merge.when_matched_update_all().when_not_matched_insert_all()
            merge.execute(pa.Table.from_pylist([row], schema=SIMILARITIES))

    def forget_quantiles(self, setting: Setting) -> None:
        """The setting's vectors are others now."""
        if (table := self._open("similarities")) is not None:
            self._delete(table, f"setting = {quoted(setting.name)}")
