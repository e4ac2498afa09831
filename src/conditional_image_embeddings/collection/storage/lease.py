"""Who may write to a database on an object store, where no file can be locked: the holder of a lease, one at a time.

The lease is the one row of a table. It is taken, renewed and given back by an update of that row under a condition, and
of two updates at once Lance lets one through and puts the other's condition to what that one left. A holder that was
killed renews no more, and its lease ends by itself.

The table's creation is not atomic in LanceDB: of two at once the later may overwrite the earlier, and a holder with it.
So who created it waits a moment, and a holder makes sure that it is one before it writes.
"""

import os
import platform
import random
import threading
import time
import uuid
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

TABLE = "lease"
LASTS = 120.0  # seconds; what a job that was killed keeps others waiting, and the clocks of machines may differ by half
RENEWED = 30.0  # every so many seconds
MARGIN = 20.0  # nothing is begun to be written so many seconds before its end
CONFIRMED = 5.0  # before something is written, a lease is confirmed that was not for so many seconds
SETTLED = 1.5  # seconds from the table's creation to its first use
ATTEMPTS = 6  # to take the lease, while others do
VERSIONS = 100  # of the table, until old ones are removed

UNREACHABLE = (OSError, RuntimeError, ValueError, pa.ArrowException)  # what LanceDB raises of a store
FREE = pa.table({"holder": [""], "who": [""], "until": [0.0]})


class HeldError(Exception):
    """The lease is another's; the text says whose, and until when."""


class Lease:
    """A lease that is held, and renewed in a thread of its own, until it is given back.

    Args:
        db: LanceDB's connection, whose tables are read as they are now.

    Raises:
        HeldError: it is another's.
        Exception: whatever LanceDB raises where the table cannot be read or written.
    """

    def __init__(self, db: Any) -> None:
        self._me = uuid.uuid4().hex
        self._ended, self._changing = threading.Event(), threading.Lock()
        self._lost, self._confirmed, self._tidied = False, -CONFIRMED, 0
        for attempt in range(ATTEMPTS):
            try:
                self._take(db)
                break
            except RuntimeError as error:
                if "concurrent transaction" not in str(error) or attempt + 1 == ATTEMPTS:
                    raise
                time.sleep(random.uniform(0.1, 0.5))
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)
        self._thread.start()

    def is_held(self) -> bool:
        """Whether it is still held, and for a while to come; asked before something is written."""
        if time.monotonic() - self._confirmed > CONFIRMED:
            with suppress(*UNREACHABLE):
                self._confirm()
        return not self._lost and time.monotonic() < self._confirmed + LASTS - MARGIN

    def release(self) -> None:
        """Give it back. Where that fails, it ends by itself."""
        self._ended.set()
        self._thread.join(RENEWED)  # a store that does not answer is not waited for
        with suppress(*UNREACHABLE):
            self._changed(self._mine, until=0.0)
            self._tidy()

    def _take(self, db: Any) -> None:
        self._table = _opened(db)
        begun, now = time.monotonic(), time.time()
        who = f"process {os.getpid()} on {platform.node() or 'an unnamed machine'}"
        if not self._changed(f"until < {now}", holder=self._me, who=who, until=now + LASTS):
            row = self._table.to_arrow().to_pylist()[0]
            until = datetime.fromtimestamp(row["until"], UTC)
            raise HeldError(f"{row['who']}, whose lease lasts until {until:%H:%M:%S} UTC unless it is renewed")
        self._confirmed, self._tidied = begun, self._table.version

    @property
    def _mine(self) -> str:
        return f"holder = '{self._me}'"

    def _renew(self) -> None:
        while not self._ended.wait(RENEWED):
            with suppress(*UNREACHABLE):  # it is tried again; when that takes too long, the lease is over
                self._confirm()
                self._tidy()

    def _confirm(self) -> None:
        begun = time.monotonic()
        if self._changed(self._mine, until=time.time() + LASTS):
            self._confirmed = begun
        else:
            self._lost = True

    def _changed(self, where: str, **values: Any) -> bool:
        with self._changing:
            return bool(self._table.update(where=where, values=values).rows_updated)

    def _tidy(self) -> None:
        """Remove old versions now and then: each renewal leaves one."""
        if self._table.version >= self._tidied + VERSIONS or self._table.version % VERSIONS == 0:
            self._tidied = self._table.version
            self._table.optimize(cleanup_older_than=timedelta(minutes=10))


def _opened(db: Any) -> Any:
    try:
        return db.open_table(TABLE)
    except ValueError as error:
        if "was not found" not in str(error):
            raise
    try:
        db.create_table(TABLE, FREE)
    except ValueError:  # another process just made it
        return db.open_table(TABLE)
    time.sleep(SETTLED)
    return db.open_table(TABLE)
