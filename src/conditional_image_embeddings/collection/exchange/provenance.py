"""Where vectors come from: the setting and the versions that an export carries, and the arrays that it was fitted with.

The arrays lie beside the vectors as `fitted-DIGEST.npz`. They are plain numbers: nothing is ever unpickled.
"""

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import CieError, OptionError
from ...methods.settings import Setting
from ..storage.setting_tables import check_types
from ..storage.store import Store

MOST_ARRAY_BYTES = 4 << 30  # of a file of fitted arrays: a whitening of 16,384 dimensions has one gigabyte


@dataclass(frozen=True)
class Provenance:
    """What made vectors: their setting, the versions of the packages, the arrays that they were fitted with."""

    setting: Setting
    information: Mapping[str, str] = field(default_factory=dict)
    fitted: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, store: Store, setting: Setting) -> "Provenance":
        """As a database has it."""
        return cls(setting, store.information(setting), store.fitted(setting))

    def to_dict(self) -> dict[str, Any]:
        """What goes into a file beside the vectors, as JSON can hold it."""
        return {"setting": json.loads(self.setting.to_json()), "information": dict(self.information)}

    def write_fitted(self, folder: Path) -> None:
        """Write the arrays, if there are any, into a folder."""
        if self.fitted:
            arrays: dict[str, Any] = dict(self.fitted)
            np.savez(_fitted_file(folder, self.setting), **arrays)

    @classmethod
    def from_dict(cls, told: Any, folder: Path) -> "Provenance":
        """What `to_dict` gave, with the arrays of `write_fitted` if they are there.

        Raises:
            OptionError: it is damaged, or of a later version.
        """
        if not isinstance(told, dict) or not isinstance(told.get("setting"), dict):
            raise OptionError("its setting is no JSON object")
        information = told.get("information")
        named = information.items() if isinstance(information, dict) else ()
        versions = {str(name): str(version) for name, version in named}
        try:
            setting = Setting.from_json(json.dumps(told["setting"]), written_by=versions)
            check_types(setting)
        except CieError as error:
            raise OptionError(str(error)) from error
        except (TypeError, ValueError, LookupError, AttributeError, RecursionError) as error:
            raise OptionError("its setting is damaged") from error
        return cls(setting, versions, _read_fitted(_fitted_file(folder, setting)))


def _fitted_file(folder: Path, setting: Setting) -> Path:
    return folder / f"fitted-{setting.digest}.npz"


def _read_fitted(file: Path) -> dict[str, NDArray[Any]]:
    if not file.exists():
        return {}
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            # What is stored as it is cannot grow while it is read.
            if any(each.compress_type != zipfile.ZIP_STORED for each in members) or (
                sum(each.file_size for each in members) > min(MOST_ARRAY_BYTES, file.stat().st_size)
            ):
                raise OptionError(f"{file} is no file of fitted arrays")
        with np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise OptionError(f"{file} cannot be read: {' '.join(str(error).split())[:200]}") from error
