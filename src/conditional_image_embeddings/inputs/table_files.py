"""Parquet files and Lance tables as columns and rows; a row is found by its number, without reading all before it."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate, islice
from pathlib import Path
from typing import Any, Protocol

from ..errors import SourceError
from .object_store import ObjectUri, reason
from .references import Unreadable

ROWS = 32  # with encoded images, held at a time
VALUES = 4096  # without


class TableFile(Protocol):
    """A table on disk, as it was when it was first looked at. It can be pickled."""

    def schema(self) -> Any: ...

    def count(self) -> int: ...

    def batches(self, column: str) -> Iterator[Any]:
        """All values of a column, as Arrow arrays of bounded size."""

    def cells(self, column: str, rows: Iterable[int]) -> Iterator[Any]:
        """The column's Arrow scalars in these rows, in their order; an `Unreadable` for one that cannot be read.

        Fastest where their numbers rise.
        """


class ParquetFile:
    """A Parquet file. Of its row groups only those are read that have a wanted row."""

    def __init__(self, place: Path | ObjectUri) -> None:
        self._place = place
        self._seen = self._stat()

    def schema(self) -> Any:
        with self._opened() as file:
            return file.schema_arrow

    def count(self) -> int:
        with self._opened() as file:
            return int(file.metadata.num_rows)

    def batches(self, column: str) -> Iterator[Any]:
        with self._opened() as file:
            for batch in file.iter_batches(VALUES, columns=[column], use_threads=False):
                yield batch.column(0)

    def cells(self, column: str, rows: Iterable[int]) -> Iterator[Any]:
        from pyarrow import ArrowException

        with self._opened() as file:
            sizes = (file.metadata.row_group(group).num_rows for group in range(file.num_row_groups))
            begins = list(accumulate(sizes, initial=0))
            group, first, values, batches = -1, 0, (), iter(())  # the batch that is at hand
            failure = None  # of the rest of the group
            for row in rows:
                if (wanted := bisect_right(begins, row) - 1) != group or row < first:
                    group, first, values, failure = wanted, begins[wanted], (), None
                    batches = file.iter_batches(ROWS, row_groups=[group], columns=[column], use_threads=False)
                try:
                    while row >= first + len(values) and failure is None:
                        first, values = first + len(values), next(batches).column(0)
                except (OSError, ArrowException, StopIteration) as error:
                    failure = Unreadable(reason(error))
                yield failure or values[row - first]

    def _opened(self) -> Any:
        import pyarrow.parquet as pq

        if isinstance(self._place, ObjectUri):
            file = pq.ParquetFile(self._place.path, filesystem=self._place.bucket.files)
        else:
            file = pq.ParquetFile(self._place)
        if self._seen != self._stat():
            file.close()
            raise SourceError(f"{self._place} changed while it was read: run the same command again")
        return file

    def _stat(self) -> tuple[int, int]:
        """Size and modification time: a row's number means something in one file only."""
        if isinstance(self._place, ObjectUri):
            info = self._place.bucket.files.get_file_info(self._place.path)
            return int(info.size or 0), int(info.mtime_ns or 0)
        status = self._place.stat()
        return status.st_size, status.st_mtime_ns


class LanceTable:
    """A Lance table, in the version that it had when it was first opened, in whatever process it is read."""

    def __init__(self, place: Path | ObjectUri) -> None:
        self._place = place
        self._version = self._opened().version

    def schema(self) -> Any:
        return self._opened().schema

    def count(self) -> int:
        return int(self._opened().count_rows())

    def batches(self, column: str) -> Iterator[Any]:
        for batch in self._opened().search().select([column]).to_batches(VALUES):
            yield batch.column(0)

    def cells(self, column: str, rows: Iterable[int]) -> Iterator[Any]:
        from pyarrow import ArrowException

        table, rows = self._opened(), iter(rows)
        while part := list(islice(rows, ROWS)):
            rising = sorted(set(part))  # as LanceDB gives them, whatever order it is asked in
            try:
                taken = table.take_offsets(rising).select([column]).to_arrow().column(0)
            except (OSError, RuntimeError, ValueError, ArrowException) as error:
                yield from [Unreadable(reason(error))] * len(part)
                continue
            place = {row: index for index, row in enumerate(rising)}
            yield from (taken[place[row]] for row in part)

    def _opened(self) -> Any:
        import lancedb

        table = lancedb.connect(str(self._place.parent)).open_table(self._place.stem)
        if version := getattr(self, "_version", None):
            table.checkout(version)
        return table
