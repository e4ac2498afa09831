"""A LanceDB database: its tables by name, one line for whatever goes wrong with them, and the lock of those who write.

Writers exclude each other, by a lock in a directory and by a lease on an object store; readers are free. A writer whose
folder was deleted or replaced under it notices before it writes: its lock went with the folder, and another job may
hold the new one.
"""

import errno
import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import lancedb
import pyarrow as pa
from filelock import FileLock, Timeout

from ...errors import CieError, StoreError
from .lease import HeldError, Lease
from .tables import misfit

LOCK = ".cie-embed.lock"
MANY_FRAGMENTS = 20  # a table in more pieces than this is compacted at a job's end
GRACE = timedelta(minutes=10)  # a reader may take so long; versions older than that are removed by a compaction
AGAIN = {  # what makes a damaged table anew, once it was removed
    "images": ": the next job writes it anew, and embeds its images anew",
    "failures": ": the next job writes it anew",
    "projections": ": the next map writes it anew",
}

FORBIDDEN = r"os error (1|13|30)\b|PermissionDenied|ReadOnlyFilesystem|status: 403|AccessDenied|necessary privileges"
OF_STORES = {  # what LanceDB says of an object store, and what to do
    "NoSuchBucket": "there is no such bucket",
    "CredentialsNotLoaded": "there are no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile",
    "BadScheme": "its endpoint is not https: set AWS_ALLOW_HTTP=true if that is meant",
    "kind: Connect": "it cannot be reached: see the network, and AWS_ENDPOINT_URL if it is not Amazon's",
}

logger = logging.getLogger(__name__)


class ReadOnlyError(StoreError):
    """A database that can be read, but not written."""


class BusyError(StoreError):
    """A database that another process is writing to."""


@dataclass
class Block:
    """What was seen since a block of reading began: the tables' names, the tables, and their schemas, by name."""

    names: list[str] | None = None
    tables: dict[str, Any] = field(default_factory=dict)
    schemas: dict[str, pa.Schema] = field(default_factory=dict)


class Database:
    """A LanceDB directory, or any URI that LanceDB takes (`s3://...`).

    Args:
        uri: The directory or URI.
        create: Make the directory where there is none; otherwise that is an error.

    Raises:
        StoreError: the path is a file, is missing, or cannot be opened.
    """

    def __init__(self, uri: str | Path, *, create: bool = True) -> None:
        self.directory = None if "://" in str(uri) else Path(uri).expanduser()
        self.uri = str(self.directory or uri)
        self._held: os.stat_result | None = None
        self._lease: Lease | None = None
        self._warned: set[str] = set()
        self._block: ContextVar[Block | None] = ContextVar("block", default=None)
        if self.directory is not None:
            if self.directory.exists() and not self.directory.is_dir():
                raise StoreError(f"{self.uri} is a file, not a database: choose a directory with -e")
            if not create and not self.directory.exists():
                raise StoreError(f"there is no database at {self.uri}: make one with `cie embed ... -e {self.uri}`")
        with self._explained("opened"):
            # Interval 0: a table that stays open sees what a job adds, and never a version that was cleaned up.
            self._db = lancedb.connect(self.uri, read_consistency_interval=timedelta(0))

    @contextmanager
    def writing(self, *, required: bool = True) -> "Iterator[ReadOnlyError | None]":
        """Hold the database for writing; readers are free.

        A killed process lets go of a directory at once, and of a database on an object store when its lease ends.

        Args:
            required: Whether a database that cannot be written is an error here. If not, the error is what the block
                gets: there may be nothing to write.

        Raises:
            ReadOnlyError: the directory cannot be written.
            BusyError: another process is writing.
        """
        blocked = None
        with ExitStack() as held:
            try:
                with self._explained("written"):
                    held.callback(self._hold())
            except (Timeout, HeldError) as error:
                who = f" ({error})" if isinstance(error, HeldError) else ""
                raise BusyError(
                    f"another job is writing to {self.uri}{who}: wait until it is done, or choose another database "
                    "with -e"
                ) from error
            except ReadOnlyError as error:
                if required:
                    raise
                blocked = error
            yield blocked

    def _hold(self) -> Callable[[], None]:
        """Take the lock or the lease; what is given back lets go of it."""
        if self.directory is None:
            self._lease = lease = Lease(self._db)

            def end() -> None:
                lease.release()
                self._lease = None

            return end
        place = self.directory / LOCK
        lock = FileLock(place, blocking=False)
        lock.acquire()
        self._held = place.stat()

        def unlock() -> None:
            self._held = None
            with suppress(OSError):
                lock.release()

        return unlock

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Open each table once in this block, and in what takes part in its context: opening one takes milliseconds.

        A block is short: what is dropped and made anew meanwhile is not seen. One within another is part of it.
        """
        if self._block.get() is not None:
            yield
            return
        token = self._block.set(Block())
        try:
            yield
        finally:
            self._block.reset(token)

    def _check_held(self) -> None:
        """Whether what is held is what lies there, or the lease still ours."""
        if self._lease is not None and not self._lease.is_held():
            raise StoreError(
                f"the lease on {self.uri} was lost while this job was writing to it (it could not be renewed for too "
                "long, or the database was deleted): nothing more is written; run the same command again"
            )
        if self._held is None or self.directory is None:
            return
        try:
            if os.path.samestat(self._held, (self.directory / LOCK).stat()):
                return
        except OSError:
            pass
        raise StoreError(
            f"{self.uri} was deleted or replaced while this job was writing to it: nothing more is written; "
            "run the same command again"
        )

    def _names(self) -> list[str]:
        block = self._block.get()
        if block is not None and block.names is not None:
            return block.names
        names: list[str] = []
        token = None
        with self._explained("read"):
            while True:
                page = self._db.list_tables(page_token=token)
                names += page.tables
                token = page.page_token
                if not token:
                    break
        if block is not None:
            block.names = names
        return names

    def _open(self, name: str, schema: pa.Schema | None = None) -> Any:
        """The table, or None where there is none (or only the folder of one that was killed at its birth).

        Raises:
            StoreError: it cannot be read, or has not the columns of `schema`.
        """
        with self._explained("read", name):
            block = self._block.get()
            table = None if block is None else block.tables.get(name)
            try:
                table = self._db.open_table(name) if table is None else table
            except ValueError as error:
                if "was not found" in str(error):
                    return None
                raise
            if block is not None:
                block.tables[name] = table
            if schema is not None and (reason := misfit(self._schema(table), schema)) is not None:
                raise self._damaged(name, reason)
            return table

    def _schema(self, table: Any) -> pa.Schema:
        block = self._block.get()
        if block is None:
            return table.schema
        if table.name not in block.schemas:
            block.schemas[table.name] = table.schema
        return block.schemas[table.name]

    def _open_or_create(self, name: str, schema: pa.Schema) -> Any:
        table = self._open(name, schema)
        if table is None:
            try:
                return self._db.create_table(name, schema=schema)
            except ValueError:  # another process just made it
                table = self._open(name, schema)
                if table is None:
                    raise
        return table

    def _compact(self, table: Any) -> None:
        """Merge the many small pieces that a long job leaves."""
        self._check_held()
        with self._explained("compacted", table.name):
            if table.stats()["fragment_stats"]["num_fragments"] > MANY_FRAGMENTS:
                table.optimize(cleanup_older_than=GRACE)

    @contextmanager
    def _written(self, table: str) -> Iterator[None]:
        """Around each commit."""
        self._check_held()
        with self._explained("written", table):
            yield

    @contextmanager
    def _explained(self, verb: str, table: str | None = None) -> Iterator[None]:
        """Turn what LanceDB, Arrow and the system raise into one line that names the database and the table."""
        try:
            yield
        except (CieError, Timeout):
            raise
        except (OSError, RuntimeError, ValueError, KeyError, pa.ArrowException) as error:
            what = self.uri if table is None else f"table {table} of {self.uri}"
            text = one_line(error)
            code = error.errno if isinstance(error, OSError) else None
            if "No space left" in text or "os error 28" in text:
                reason = "the disk is full; what was committed stays: free some space and run the same command again"
            elif code in {errno.EROFS, errno.EACCES, errno.EPERM} or re.search(FORBIDDEN, text):
                reason = os.strerror(code or errno.EACCES).lower() if self.directory else "access is denied"
                if verb == "written":
                    reason += ": choose another database with -e, or make this one writable"
                    raise ReadOnlyError(f"{what} cannot be {verb}: {reason}") from error
                reason += ": make it readable for you" if self.directory else ": see what the credentials may do"
            elif self.directory is None and (known := [told for said, told in OF_STORES.items() if said in text]):
                reason = known[0]
            else:
                reason = text if len(text) <= 300 else f"{text[:300]}..."
                if table is not None:
                    reason += f"; if it is damaged, {self._remedy(table)}"
            raise StoreError(f"{what} cannot be {verb}: {reason}") from error

    def _warn(self, text: object) -> None:
        """Each text once: what is damaged is met again and again."""
        if str(text) not in self._warned:
            self._warned.add(str(text))
            logger.warning("%s", text)

    def _damaged(self, table: str, reason: str) -> StoreError:
        return StoreError(f"table {table} of {self.uri} is damaged: {reason}; {self._remedy(table)}")

    def _remedy(self, table: str) -> str:
        again = AGAIN.get(table, ", and run the command that made it again")
        return f"remove {self.uri.rstrip('/')}/{table}.lance{again}"


def one_line(error: Exception) -> str:
    """What LanceDB says, without the places in its source code."""
    return re.sub(r",? ?(\S*/)?\S+\.rs:\d+(:\d+)?", "", " ".join(str(error).split())) or type(error).__name__
