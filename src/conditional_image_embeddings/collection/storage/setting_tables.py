"""Settings and the tables that hold them: which there are, and what each was made with.

A setting is found by what its table's metadata says, whatever the table is called. Beside it the metadata says with
which versions the table was begun, which arrays (of the table `fitted`) its vectors were fitted with, and, if they are
a map of another setting's vectors, of which images.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ...errors import OptionError, SettingError, StoreError
from ...methods.settings import Setting, matches
from .image_tables import ImageTables
from .tables import FITTED, array_row, quoted, row_array, scan, vector_schema
from .versions import installed_versions

METADATA_KEY = b"setting"  # in a table's schema metadata: survives appends, merges and compaction
INFORMATION_KEY = b"information"  # what it was made with: not part of the identity
FITTED_KEY = b"fitted"  # the digest of the rows of `fitted`
MADE_OF_KEY = b"made_of"  # the digest of the images that a map of another setting's vectors saw
COLUMNS = vector_schema(1, {})  # what every setting's table has

Fitted = Mapping[str, NDArray[Any]]


class SettingTables(ImageTables):
    """A database with its settings."""

    def __init__(self, uri: str | Path, *, create: bool = True) -> None:
        super().__init__(uri, create=create)
        self._settings: dict[str, Setting] = {}  # by table; a table's never changes

    def settings(self, pattern: str = "*") -> list[Setting]:
        """The settings that a glob selects (see `settings.matches`), sorted by name.

        A table that was made when names said less is found by its own name too. One that is damaged is left out, with
        a warning that says how to repair it.
        """
        found: dict[str, Setting] = {}
        for table in self._names():
            try:
                setting = self._setting_of(table)
                if setting is None and _names_setting(table):
                    raise StoreError(
                        f"table {table} of {self.uri} holds nothing (a job was stopped when it made it, or files are "
                        "gone): the command that made it writes it anew"
                    )
            except StoreError as error:
                if matches(table, pattern) and _names_setting(table):
                    self._warn(error)
                continue
            if setting is not None and (matches(setting.name, pattern) or matches(table, pattern)):
                found[setting.name] = setting
        return [found[name] for name in sorted(found)]

    def fitted(self, setting: Setting) -> dict[str, NDArray[Any]]:
        """The arrays by name that the setting's vectors were fitted with, as they were given; {} if with none.

        Raises:
            StoreError: there is no such setting here, or the arrays are gone or damaged.
        """
        table = self._table_to_read(setting)
        digest = fitted_with(table)
        if not digest:
            return {}
        stored = self._open("fitted", FITTED)
        with self._explained("read", "fitted"):
            batches = [] if stored is None else scan(stored, FITTED.names, where=f"digest = {quoted(digest)}")
            arrays = {row["name"]: row_array(row) for batch in batches for row in batch.to_pylist()}
        if fitted_digest(arrays) != digest:
            raise self._damaged(table.name, "what it was fitted with is not in the table `fitted`")
        return arrays

    def information(self, setting: Setting) -> dict[str, str]:
        """What the setting's table was begun with, beside its identity: versions by package; {} where it is not known.

        Raises:
            StoreError: there is no such setting here, or its table is damaged.
        """
        return _information(self._table_to_read(setting).schema.metadata or {})

    def is_made_of(self, setting: Setting, images: NDArray[np.int64]) -> bool:
        """Whether a map of stored vectors saw exactly these images, by the digests of their ids, sorted.

        Images that were removed since leave its table as they leave the others: only this tells that its map is of
        another collection. Tables of earlier versions do not say it, and are taken to be.
        """
        table = self._setting_table(setting)
        said = "" if table is None else (table.schema.metadata or {}).get(MADE_OF_KEY, b"").decode()
        return said in {"", images_digest(images)}

    def _setting_of(self, name: str) -> Setting | None:
        """What the table holds; None where it is no setting's, or not there.

        Raises:
            StoreError: it is damaged, or was written by a later version.
        """
        if name not in self._settings:
            table = self._open(name)
            metadata = {} if table is None else self._schema(table).metadata or {}
            if table is None or not (METADATA_KEY in metadata or _names_setting(name)):
                return None
            try:
                written_by = _information(metadata)
                setting = Setting.from_json(metadata[METADATA_KEY].decode(), written_by=written_by)
                check_types(setting)
            except SettingError as error:
                raise StoreError(f"table {name} of {self.uri}: {error}") from error
            except OptionError as error:
                raise self._damaged(name, str(error)) from error
            except (LookupError, ValueError, TypeError, AttributeError, RecursionError) as error:
                raise self._damaged(name, "its metadata holds no setting") from error
            self._settings[name] = setting
        return self._settings[name]

    def _setting_table(self, setting: Setting) -> Any:
        """The setting's table, whatever it was named when it was made; None where there is none."""
        table = self._open(setting.name, COLUMNS)
        if table is None:
            older = (name for name in self._names() if self._holds(name, setting))
            return next((self._open(name, COLUMNS) for name in older), None)
        if self._setting_of(setting.name) != setting:
            raise self._damaged(setting.name, "it holds another setting than its name says")
        return table

    def _holds(self, name: str, setting: Setting) -> bool:
        """Whether the table is the setting's. A damaged one is not, unless its name says so."""
        try:
            return self._setting_of(name) in setting.formats
        except StoreError:
            if name.endswith(tuple(f"-{each.digest}" for each in setting.formats)):
                raise
            return False

    def _table_to_read(self, setting: Setting) -> Any:
        table = self._setting_table(setting)
        if table is None:
            raise StoreError(f"{self.uri} has no setting {setting.name}")
        return table

    def _metadata(
        self,
        setting: Setting,
        fitted: Fitted | None,
        *,
        made_of: NDArray[np.int64] | None = None,
        information: Mapping[str, str] | None = None,
    ) -> dict[bytes, bytes]:
        """Of a table that is made now. The arrays are stored before the table that names them."""
        versions = installed_versions() if information is None else dict(information)
        metadata = {
            METADATA_KEY: setting.to_json().encode(),
            INFORMATION_KEY: json.dumps(versions, sort_keys=True).encode(),
        }
        if fitted:
            digest = fitted_digest(fitted)
            rows = [array_row(digest, name, np.asarray(array)) for name, array in fitted.items()]
            with self._written("fitted"):
                merge = self._open_or_create("fitted", FITTED).merge_insert(["digest", "name"])
                merge.when_not_matched_insert_all().execute(pa.Table.from_pylist(rows, schema=FITTED))
            metadata[FITTED_KEY] = digest.encode()
        if made_of is not None:
            metadata[MADE_OF_KEY] = images_digest(made_of).encode()
        return metadata

    def _drop_unused_arrays(self) -> None:
        """Remove arrays that no table names any more: a whitening of 3,584 dimensions has 51 MB."""
        if self._held is None or (table := self._open("fitted", FITTED)) is None:
            return  # without the lock, another job's arrays may wait for their table
        try:
            used = {fitted_with(each) for each in map(self._open, self._names()) if each is not None}
        except StoreError:
            return  # what a damaged table names is not known
        where = f"digest NOT IN ({', '.join(map(quoted, sorted(used | {''})))})"
        self._delete(table, where)


def _information(metadata: Mapping[bytes, bytes]) -> dict[str, str]:
    try:
        return {str(name): str(value) for name, value in json.loads(metadata.get(INFORMATION_KEY, b"{}")).items()}
    except (ValueError, AttributeError):
        return {}  # it is told, and decides nothing


def fitted_with(table: Any) -> str:
    """The digest of the arrays that a setting's table was fitted with; "" if with none."""
    return str((table.schema.metadata or {}).get(FITTED_KEY, b"").decode())


def fitted_digest(fitted: Fitted) -> str:
    whole = hashlib.sha256()
    for name in sorted(fitted):
        row = array_row("", name, np.asarray(fitted[name]))
        whole.update(repr((name, row["dtype"], tuple(row["shape"]))).encode())
        whole.update(row["values"])
    return whole.hexdigest()


def images_digest(images: NDArray[np.int64]) -> str:
    return hashlib.sha256(np.ascontiguousarray(images, "<i8").tobytes()).hexdigest()


def _names_setting(table: str) -> bool:
    """Whether a table is called as settings are, with a digest at the end: others may be anybody's."""
    return re.search(r"-[0-9a-f]{8,}$", table) is not None


def check_types(setting: Setting) -> None:
    """Whether the values can be a setting's: JSON holds anything."""
    texts = (setting.dataset, setting.method, setting.model)
    optional = (setting.source, setting.revision, setting.condition, setting.prompt_type)
    if not all(isinstance(text, str) for text in (*texts, *(text for text in optional if text is not None))):
        raise TypeError("a text is no text")  # caught: the table is named as damaged
    setting.name  # noqa: B018 - what is in `extra` is looked at too
