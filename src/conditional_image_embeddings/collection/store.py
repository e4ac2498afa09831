"""Embeddings on disk: a LanceDB database with one table a setting, and the tables `images` and `failures` beside them.

Only this room knows the disk. A table's schema carries its whole setting, so that two settings never mix; each commit
is one atomic append, so that a row is there whole or not at all. Writers exclude each other, readers are free.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from ..errors import CieError, SettingError, StoreError
from ..methods.settings import Setting, matches, versions

# In a table's schema metadata, which survives appends, merges and compaction: the setting, what computed the first
# vectors, and where in `fitted` is what they were made with.
METADATA_KEY, VERSIONS_KEY, FITTED_KEY = b"setting", b"versions", b"fitted"
SCAN_ROWS = 4096
IDS_A_FILTER = 500
MANY_FRAGMENTS = 20  # a table in more pieces than this is compacted at a job's end
GRACE = timedelta(minutes=10)  # a reader may take so long; versions older than that are removed by a compaction

WORDS = pa.list_(pa.struct([("word", pa.string()), ("probability", pa.float32())]))
IMAGES = pa.schema(
    [
        pa.field("dataset", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),  # "" for a benchmark: SQL never finds NULL equal to NULL
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("content_hash", pa.string()),
        pa.field("path", pa.string()),
        pa.field("size", pa.int64()),
        pa.field("modified", pa.int64()),
        pa.field("thumbnail", pa.binary()),
    ]
)
MOVED = ("dataset", "source", "image_id", "path", "size", "modified")
FITTED = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),  # of the content: the same array is there once
        pa.field("dtype", pa.string()),
        pa.field("shape", pa.list_(pa.int64())),
        pa.field("data", pa.large_binary()),
    ]
)
FAILURES = pa.schema([*(IMAGES.field(name) for name in ("dataset", "source", "image_id")), ("reason", pa.string())])


@dataclass(frozen=True)
class FileStat:
    """Where an image was found: its file, the file's size in bytes, its modification time in nanoseconds."""

    path: str | None = None
    size: int | None = None
    modified: int | None = None


@dataclass(frozen=True, kw_only=True)
class ImageRecord:
    """What the table `images` keeps of an image: upright size in pixels, SHA-256 of the encoded bytes, thumbnail."""

    image_id: str
    width: int
    height: int
    content_hash: str
    place: FileStat
    thumbnail: bytes


class Store:
    """A database of embeddings: a LanceDB directory, or any URI that LanceDB takes (`s3://...`).

    Args:
        uri: The directory or URI.
        create: Make the directory where there is none; otherwise that is an error.

    Raises:
        StoreError: the path is a file, is missing, or cannot be opened.
    """

    def __init__(self, uri: str | Path, *, create: bool = True) -> None:
        self.directory = None if "://" in str(uri) else Path(uri).expanduser()
        self.uri = str(self.directory or uri)
        if self.directory is not None:
            if self.directory.exists() and not self.directory.is_dir():
                raise StoreError(f"{self.uri} is a file, not a database: choose a directory with -e")
            if not create and not self.directory.exists():
                raise StoreError(f"there is no database at {self.uri}: make one with `cie embed ... -e {self.uri}`")
        with self._explained("opened"):
            # Interval 0: a table that stays open sees what a job adds, and never a version that was cleaned up.
            self._db = lancedb.connect(self.uri, read_consistency_interval=timedelta(0))
        self._settings: dict[str, Setting] = {}  # by table; a table's never changes

    def settings(self, pattern: str = "*") -> list[Setting]:
        """The settings that a glob selects (see `settings.matches`), sorted by name.

        A table that was made when names said less is found by its own name too.
        """
        known = ((name, self._setting_of(name)) for name in self._names())
        found = (
            setting
            for name, setting in known
            if setting is not None and (matches(setting.name, pattern) or matches(name, pattern))
        )
        return sorted(found, key=lambda setting: setting.name)

    def read(self, setting: Setting) -> tuple[list[str], NDArray[np.float32]]:
        """Image ids, sorted, and their vectors, float32 (n, d).

        Raises:
            StoreError: there is no such setting here, or its table is damaged.
        """
        ids: list[str] = []
        parts = []
        for part_ids, vectors in self.scan(setting):
            ids += part_ids
            parts.append(vectors)
        order = sorted(range(len(ids)), key=ids.__getitem__)
        return [ids[index] for index in order], np.concatenate(parts)[order]

    def scan(self, setting: Setting) -> Iterator[tuple[list[str], NDArray[np.float32]]]:
        """As `read`, in parts of bounded size, in the order that they were stored in; at least one part.

        Raises:
            StoreError: there is no such setting here, or its table is damaged.
        """
        table = self._table_to_read(setting)
        with self._explained("read", setting.name):
            dimensions = table.schema.field("vector").type.list_size
            yield [], np.empty((0, dimensions), np.float32)
            for batch in _scan(table, ["image_id", "vector"]):
                vectors = batch.column("vector").flatten().to_numpy().reshape(-1, dimensions)
                yield batch.column("image_id").to_pylist(), vectors

    def words(self, setting: Setting) -> dict[str, list[tuple[str, float]] | None]:
        """Image id to the words that explain its vector, most probable first; None where none were stored.

        Raises:
            StoreError: there is no such setting here, or its table is damaged.
        """
        table = self._table_to_read(setting)
        with self._explained("read", setting.name):
            return {
                row["image_id"]: row["words"] and [(each["word"], each["probability"]) for each in row["words"]]
                for batch in _scan(table, ["image_id", "words"])
                for row in batch.to_pylist()
            }

    def versions(self, setting: Setting) -> dict[str, str]:
        """What computed the setting's first vectors (`settings.versions`); nothing where nobody noted it."""
        return self._noted(setting, VERSIONS_KEY) or {}

    def fitted(self, setting: Setting) -> dict[str, NDArray[Any]] | None:
        """What the setting's vectors were made with beside a model, by name: means and maps (`Embedder.fitted`).

        None where it was not kept: there is none, or the table is of an earlier version.

        Raises:
            StoreError: part of it is not there any more.
        """
        keys = self._noted(setting, FITTED_KEY)
        if keys is None:
            return None
        table = self._open("fitted") if keys else None
        found: dict[str, NDArray[Any]] = {}
        if table is not None:
            with self._explained("read", "fitted"):
                where = f"key IN ({', '.join(map(_quoted, keys.values()))})"
                for row in table.search().where(where).limit(len(keys)).to_list():
                    found[row["key"]] = np.frombuffer(row["data"], row["dtype"]).reshape(row["shape"])
        if missing := [name for name, key in keys.items() if key not in found]:
            raise StoreError(f"{self.uri} has lost the {missing[0]} of {setting.name}: embed again to make it anew")
        return {name: found[key] for name, key in keys.items()}

    def thumbnails(self, dataset: str, image_ids: Iterable[str], *, source: str | None = None) -> dict[str, bytes]:
        """Encoded thumbnails by image id, of a benchmark or, with `source`, of that folder (`Setting.source`)."""
        rows = self._image_rows(dataset, source, list(image_ids), ["image_id", "thumbnail"])
        return {row["image_id"]: row["thumbnail"] for row in rows}

    def image_paths(
        self, dataset: str, image_ids: Iterable[str], *, source: str | None = None
    ) -> dict[str, str | None]:
        """Where the images' files were last seen, by image id; None for an image that is not a file of its own."""
        rows = self._image_rows(dataset, source, list(image_ids), ["image_id", "path"])
        return {row["image_id"]: row["path"] for row in rows}

    def source_root(self, setting: Setting) -> str | None:
        """The directory that image ids are relative to (or the table file of the images), as the last job saw it."""
        if setting.source is not None:
            return setting.source
        table = self._open("images")
        if table is None:
            return None
        with self._explained("read", "images"):
            query = table.search().where(_of(setting.dataset, None)).select(["image_id", "path"]).limit(1)
            for row in query.to_list():
                if row["path"] is not None and row["path"].endswith(row["image_id"]):
                    return str(Path(row["path"]).parents[len(PurePosixPath(row["image_id"]).parts) - 1])
        return None

    def failures(self, dataset: str, *, source: str | None = None) -> dict[str, str]:
        """Image id to reason, of the images that the last job over this source could not read."""
        table = self._open("failures")
        if table is None:
            return {}
        with self._explained("read", "failures"):
            batches = _scan(table, ["image_id", "reason"], where=_of(dataset, source))
            return {row["image_id"]: row["reason"] for batch in batches for row in batch.to_pylist()}

    # What a job needs to write.

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the database for writing; readers are free. A killed process lets go of it by itself.

        A remote database cannot be held: two jobs that write the same settings there at once store rows twice.

        Raises:
            StoreError: another process is writing, or the directory cannot be written.
        """
        if self.directory is None:
            yield
            return
        lock = FileLock(self.directory / ".cie-embed.lock", blocking=False)
        with self._explained("written"):
            try:
                lock.acquire()
            except Timeout as error:
                raise StoreError(
                    f"another job is writing to {self.uri}: wait until it is done, or choose another database with -e"
                ) from error
        try:
            yield
        finally:
            lock.release()

    def ids(self, setting: Setting, *, with_words: bool = False) -> NDArray[np.int64]:
        """`hash` of the id of each image that has its vector, sorted: 8 bytes an image, for this process only.

        `with_words`: of each whose vector has its words too.
        """
        table = self._setting_table(setting)
        if table is None:
            return np.empty(0, np.int64)
        with self._explained("read", setting.name):
            batches = _scan(table, ["image_id"], where="words IS NOT NULL" if with_words else None)
            hashes = [np.fromiter(map(hash, batch.column(0).to_pylist()), np.int64) for batch in batches]
        return np.sort(np.concatenate([np.empty(0, np.int64), *hashes]))

    def places(self, dataset: str, source: str | None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """`hash` of the id of each image in `images`, sorted, and `hash` of its `FileStat`; for this process only."""
        table = self._open("images")
        if table is None:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        columns = ["image_id", "path", "size", "modified"]
        pairs = [np.empty((0, 2), np.int64)]
        with self._explained("read", "images"):
            for batch in _scan(table, columns, where=_of(dataset, source)):
                rows = zip(*(batch.column(name).to_pylist() for name in columns), strict=True)
                hashed = [(hash(image_id), hash(FileStat(*place))) for image_id, *place in rows]
                pairs.append(np.array(hashed, np.int64).reshape(-1, 2))
        both = np.concatenate(pairs)
        both = both[np.argsort(both[:, 0])]
        return both[:, 0], both[:, 1]

    def content_hashes(self, dataset: str, source: str | None, image_ids: Sequence[str]) -> dict[str, str]:
        """Image id to SHA-256 of the encoded bytes that were embedded."""
        rows = self._image_rows(dataset, source, image_ids, ["image_id", "content_hash"])
        return {row["image_id"]: row["content_hash"] for row in rows}

    def add_images(self, dataset: str, source: str | None, records: Sequence[ImageRecord]) -> None:
        """Commit rows of the table `images`, of images that it has none of yet."""
        with self._explained("written", "images"):
            table = self._db.create_table("images", schema=IMAGES, exist_ok=True)
            rows = [{**vars(record), **vars(record.place)} for record in records]
            table.add(_owned(dataset, source, rows, IMAGES))

    def move_images(self, dataset: str, source: str | None, places: Mapping[str, FileStat]) -> None:
        """Note for images that `images` has already where they are now."""
        schema = pa.schema([field for field in IMAGES if field.name in MOVED])
        rows = [{"image_id": image_id, **vars(place)} for image_id, place in places.items()]
        with self._explained("written", "images"):
            merge = self._db.open_table("images").merge_insert(["dataset", "source", "image_id"])
            merge.when_matched_update_all().execute(_owned(dataset, source, rows, schema))

    def add_vectors(
        self,
        setting: Setting,
        image_ids: Sequence[str],
        vectors: NDArray[np.float32],
        words: Sequence[Sequence[tuple[str, float]] | None] | None = None,
    ) -> None:
        """Commit vectors, float32 (n, d), of images that the setting has none of yet, and the words that explain each.

        Raises:
            StoreError: another number of dimensions than the setting's, or the disk is full or read-only.
        """
        dimensions = vectors.shape[1]
        schema = _schema(setting, dimensions)
        table = self._setting_table(setting)
        with self._explained("written", setting.name):
            if table is None:
                table = self._db.create_table(setting.name, schema=schema)
            elif (stored := table.schema.field("vector").type.list_size) != dimensions:
                raise StoreError(f"{setting.name} has vectors of {stored} dimensions, not of {dimensions}")
            table.add(pa.Table.from_batches([_rows(schema, image_ids, vectors, words)]))

    def add_words(
        self, setting: Setting, image_ids: Sequence[str], words: Sequence[Sequence[tuple[str, float]] | None]
    ) -> None:
        """Commit the words that explain vectors which are there already; the vectors stay as they are."""
        columns = [pa.array(image_ids, pa.string()), _words_column(words)]
        with self._explained("written", setting.name):
            merge = self._table_to_read(setting).merge_insert(["image_id"])
            merge.when_matched_update_all().execute(pa.Table.from_arrays(columns, names=["image_id", "words"]))

    def replace_vectors(
        self,
        setting: Setting,
        parts: Iterator[tuple[Sequence[str], NDArray[np.float32]]],
        fitted: Mapping[str, NDArray[Any]] | None = None,
    ) -> None:
        """Make these all the vectors of a setting, in one commit: image ids and float32 (n, d), part by part.

        `fitted` is what they were made with. It is there first: vectors never lack it.
        """
        first = next(parts)
        keys = None if fitted is None else self._add_fitted(fitted)
        before = set((self._noted(setting, FITTED_KEY) or {}).values())
        schema = _schema(setting, first[1].shape[1], keys)
        batches = (_rows(schema, image_ids, vectors, None) for image_ids, vectors in chain([first], parts))
        table = self._setting_table(setting)
        name, mode = (setting.name, "create") if table is None else (table.name, "overwrite")
        with self._explained("written", name):
            reader = pa.RecordBatchReader.from_batches(schema, batches)
            self._db.create_table(name, data=reader, schema=schema, mode=mode)
        self._settings.pop(name, None)  # it may have been in an earlier format
        self._forget_fitted(before - set((keys or {}).values()))

    def forget(self, dataset: str, source: str | None, image_ids: Sequence[str]) -> None:
        """Remove images whose content changed from every setting of their source, and then from `images`."""
        # In this order, so that a job that was killed on the way finds the change again.
        for setting in self.settings():
            if (setting.dataset, setting.source) == (dataset, source):
                self._delete(self._setting_table(setting), "TRUE", image_ids)
        self._delete(self._open("images"), _of(dataset, source), image_ids)

    def replace_failures(self, dataset: str, source: str | None, failures: Mapping[str, str]) -> None:
        """Make these the source's rows of the table `failures`: image id to reason."""
        if not failures and self._open("failures") is None:
            return
        with self._explained("written", "failures"):
            table = self._db.create_table("failures", schema=FAILURES, exist_ok=True)
            if table.count_rows(_of(dataset, source)):
                table.delete(_of(dataset, source))
            if failures:
                rows = [{"image_id": image_id, "reason": reason} for image_id, reason in failures.items()]
                table.add(_owned(dataset, source, rows, FAILURES))

    def compact(self, settings: Iterable[Setting]) -> None:
        """Merge the many small pieces that a long job leaves, for these settings and `images`."""
        for table in [self._open("images"), *map(self._setting_table, settings)]:
            if table is None:
                continue
            with self._explained("compacted", table.name):
                if table.stats()["fragment_stats"]["num_fragments"] > MANY_FRAGMENTS:
                    table.optimize(cleanup_older_than=GRACE)

    def _names(self) -> list[str]:
        names: list[str] = []
        token = None
        with self._explained("read"):
            while True:
                page = self._db.list_tables(page_token=token)
                names += page.tables
                token = page.page_token
                if not token:
                    return names

    def _open(self, name: str) -> Any:
        """The table, or None where there is none (or only the folder of one that was killed at its birth)."""
        with self._explained("read", name):
            try:
                return self._db.open_table(name)
            except ValueError as error:
                if "was not found" in str(error):
                    return None
                raise

    def _setting_of(self, name: str) -> Setting | None:
        """What the table holds; None where it is no setting's."""
        if name not in self._settings:
            table = self._open(name)
            metadata = {} if table is None else table.schema.metadata or {}
            if METADATA_KEY not in metadata:
                return None
            try:
                written_by = _noted(metadata, VERSIONS_KEY)
                self._settings[name] = Setting.from_json(metadata[METADATA_KEY].decode(), written_by=written_by)
            except (SettingError, UnicodeDecodeError) as error:
                raise SettingError(f"table {name} of {self.uri}: {error}") from error
        return self._settings[name]

    def _noted(self, setting: Setting, key: bytes) -> dict[str, str] | None:
        """A note in the setting's table, name to text; None where there is none."""
        table = self._setting_table(setting)
        return None if table is None else _noted(table.schema.metadata or {}, key)

    def _forget_fitted(self, keys: set[str]) -> None:
        """Remove arrays that no setting has any more."""
        if keys and (table := self._open("fitted")) is not None:
            keys -= {key for each in self.settings() for key in (self._noted(each, FITTED_KEY) or {}).values()}
            with self._explained("written", "fitted"):
                for key in keys:
                    table.delete(f"key = {_quoted(key)}")

    def _add_fitted(self, fitted: Mapping[str, NDArray[Any]]) -> dict[str, str]:
        """Commit arrays that are not there yet; name to key."""
        rows = {}
        keys = {}
        for name, array in fitted.items():
            whole = np.ascontiguousarray(array)
            row = {"dtype": str(whole.dtype), "shape": list(whole.shape), "data": whole.tobytes()}
            keys[name] = hashlib.sha256(f"{row['dtype']} {row['shape']} ".encode() + whole.tobytes()).hexdigest()
            rows[keys[name]] = {"key": keys[name], **row}
        if rows:
            with self._explained("written", "fitted"):
                table = self._db.create_table("fitted", schema=FITTED, exist_ok=True)
                new = pa.Table.from_pylist(list(rows.values()), schema=FITTED)
                table.merge_insert("key").when_not_matched_insert_all().execute(new)
        return keys

    def _setting_table(self, setting: Setting) -> Any:
        """The setting's table, whatever it was named when it was made; None where there is none."""
        table = self._open(setting.name)
        if table is not None:
            if self._setting_of(setting.name) != setting:
                raise StoreError(
                    f"table {setting.name} of {self.uri} holds another setting than its name says: remove it"
                )
            return table
        ends = tuple(f"-{each.digest}" for each in setting.formats)
        older = (name for name in self._names() if name.endswith(ends))
        return next((self._open(name) for name in older if self._setting_of(name) in setting.formats), None)

    def _table_to_read(self, setting: Setting) -> Any:
        table = self._setting_table(setting)
        if table is None:
            raise StoreError(f"{self.uri} has no setting {setting.name}")
        return table

    def _image_rows(
        self, dataset: str, source: str | None, image_ids: Sequence[str], columns: list[str]
    ) -> Iterator[dict[str, Any]]:
        table = self._open("images")
        if table is None:
            return
        with self._explained("read", "images"):
            for where in _filters(_of(dataset, source), image_ids):
                for batch in _scan(table, columns, where=where):
                    yield from batch.to_pylist()

    def _delete(self, table: Any, where: str, image_ids: Sequence[str]) -> None:
        if table is not None:
            with self._explained("written", table.name):
                for condition in _filters(where, image_ids):
                    table.delete(condition)

    @contextmanager
    def _explained(self, verb: str, table: str | None = None) -> Iterator[None]:
        """Turn what LanceDB, Arrow and the system raise into one line that names the database and the table."""
        try:
            yield
        except CieError:
            raise
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            what = self.uri if table is None else f"table {table} of {self.uri}"
            raise StoreError(f"{what} cannot be {verb}: {_reason(error)}") from error


def _noted(metadata: Mapping[bytes, bytes], key: bytes) -> dict[str, str] | None:
    try:
        told = json.loads(metadata.get(key, b"null"))
    except ValueError:  # as if nobody had noted it
        return None
    return told if isinstance(told, dict) else None


def _schema(setting: Setting, dimensions: int, fitted: Mapping[str, str] | None = None) -> pa.Schema:
    notes = {VERSIONS_KEY: versions(), **({} if fitted is None else {FITTED_KEY: fitted})}
    return pa.schema(
        [
            pa.field("image_id", pa.string(), nullable=False),
            pa.field("vector", pa.list_(pa.float32(), dimensions), nullable=False),
            pa.field("words", WORDS),
        ],
        metadata={METADATA_KEY: setting.to_json().encode(), **{key: json.dumps(notes[key]) for key in notes}},
    )


def _rows(
    schema: pa.Schema,
    image_ids: Sequence[str],
    vectors: NDArray[np.float32],
    words: Sequence[Sequence[tuple[str, float]] | None] | None,
) -> pa.RecordBatch:
    flat = pa.array(np.ascontiguousarray(vectors, dtype=np.float32).ravel())
    columns = [
        pa.array(image_ids, pa.string()),
        pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1]),
        _words_column(words or [None] * len(vectors)),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _words_column(words: Sequence[Sequence[tuple[str, float]] | None]) -> pa.Array:
    told = [None if each is None else [{"word": word, "probability": p} for word, p in each] for each in words]
    return pa.array(told, WORDS)


def _scan(table: Any, columns: list[str], where: str | None = None) -> Any:
    query = table.search().select(columns)
    return (query if where is None else query.where(where)).to_batches(SCAN_ROWS)


def _owned(dataset: str, source: str | None, rows: list[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_pylist([{"dataset": dataset, "source": source or "", **row} for row in rows], schema=schema)


def _quoted(text: str) -> str:
    """A SQL string; the quote is the only character that DataFusion's standard dialect wants doubled."""
    return "'" + text.replace("'", "''") + "'"


def _of(dataset: str, source: str | None) -> str:
    return f"dataset = {_quoted(dataset)} AND source = {_quoted(source or '')}"


def _filters(where: str, image_ids: Sequence[str]) -> Iterator[str]:
    for start in range(0, len(image_ids), IDS_A_FILTER):
        yield f"({where}) AND image_id IN ({', '.join(map(_quoted, image_ids[start : start + IDS_A_FILTER]))})"


def _reason(error: Exception) -> str:
    text = re.sub(r",? ?(\S*/)?\S+\.rs:\d+(:\d+)?", "", " ".join(str(error).split())) or type(error).__name__
    if "No space left" in text or "os error 28" in text:
        return "the disk is full; what was committed stays: free some space and run the same command again"
    return text if len(text) <= 300 else f"{text[:300]}..."
