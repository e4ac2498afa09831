"""LanceDB's own index over a setting's vectors: built, kept true, and asked for candidates.

Rows that an index does not know yet, LanceDB compares one by one beside it; rows that are gone it leaves out. So an
index is never wrong, only slower the more it lacks. The figures below were measured with `benchmarks/search.py`; the
table is in docs/performance.md.
"""

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from lancedb.index import BTree, IvfRq, IvfSq
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from ...errors import OptionError
from ...methods.settings import Setting
from .database import GRACE
from .projection_table import ProjectionTable

MIN_ROWS = 10_000  # with fewer, comparing all takes at most some 20 ms of processor time more, and misses nothing
PARTITION_ROWS = 4096  # on average, in each partition of an index
MIN_UPDATE = 1_000  # fewer rows than this beside an index cost a search next to nothing
MAX_PARTS = 8  # each update adds a part that is searched by itself; with more, the index is built anew
TRAINING = {"max_iterations": 16, "sample_rate": 64}  # of the partitions: more takes minutes and finds no more
BITS = 4  # per dimension, of RaBitQ codes; dimensions that are no multiple of eight are kept as bytes
PROBED_ROWS = 32  # partitions searched hold so many rows per candidate, but
MIN_PROBES = 12  # are never fewer than so many
REFINED = 3  # times as many candidates as asked for are compared by their stored vectors


@dataclass(frozen=True)
class IndexReport:
    """What became of a setting's index.

    Attributes:
        setting: Whose.
        rows: How many vectors it has.
        action: `built` anew, `updated` with the rows that were added, `current` as it was, or `exact`: too few rows
            for an index to be faster.
        kind: LanceDB's name of the index's type; None if there is no index.
        seconds: What that took.
        size_bytes: Of the index, on disk; None where it is not known.
    """

    setting: Setting
    rows: int
    action: Literal["built", "updated", "current", "exact"]
    kind: str | None
    seconds: float
    size_bytes: int | None


class Candidates(NamedTuple):
    """Image ids and their vectors, float32 (n, d)."""

    image_ids: list[str]
    vectors: NDArray[np.float32]


class VectorIndexes(ProjectionTable):
    """A database with the indexes of its settings."""

    def build_index(self, setting: Setting, *, show_progress_bar: bool | None = None) -> IndexReport:
        """Build a setting's index, or bring it up to date; nothing where that gains nothing.

        Searches go on meanwhile, with the index that was there.

        Args:
            setting: Whose vectors.
            show_progress_bar: On stderr; None shows it on a terminal only.

        Raises:
            StoreError: there is no such setting here, it is damaged, or the database is being written or cannot be.
        """
        started = time.perf_counter()
        with self.writing(required=False) as blocked:
            table = self._table_to_read(setting)
            with self._explained("read", table.name):
                rows, indexes = table.count_rows(), _indexes(table)
            action = _due(rows, indexes)
            if action in {"built", "updated"}:
                if blocked is not None:
                    raise blocked
                with _spinner(f"{setting.name}: index over {rows:,} vectors", show_progress_bar):
                    self._make(table, action, rows, indexes)
                with self._explained("read", table.name):
                    indexes = _indexes(table)
        return IndexReport(
            setting=setting,
            rows=rows,
            action=action,
            kind=table.index_stats(indexes[-1].name).index_type if indexes else None,
            seconds=time.perf_counter() - started,
            size_bytes=sum(index.size_bytes or 0 for index in indexes),
        )

    def index_is_due(self, setting: Setting) -> bool:
        """Whether `build_index` would build or update a setting's index."""
        table = self._table_to_read(setting)
        with self._explained("read", table.name):
            return _due(table.count_rows(), _indexes(table)) in {"built", "updated"}

    def candidates(self, setting: Setting, query: NDArray[np.float32], count: int) -> Candidates:
        """The images nearest to a query by cosine, from the setting's index; of a small setting exactly these.

        Vectors that are zero or not finite have no direction, and are never among them.

        Args:
            setting: Whose vectors.
            query: One vector (d,), finite and not zero.
            count: How many.

        Raises:
            StoreError: there is no such setting here, or it is damaged.
            OptionError: the query has other dimensions than the setting.
        """
        table = self._table_to_read(setting)
        with self._explained("searched", table.name):
            search = self._asked(table, query, count)
            if table.count_rows() >= MIN_ROWS:
                search = search.refine_factor(REFINED)
            # Without `_distance`, LanceDB logs a warning with each search.
            found = search.select(["image_id", "vector", "_distance"]).to_arrow().combine_chunks()
            vectors = found.column("vector").combine_chunks().flatten().to_numpy()
            return Candidates(found.column("image_id").to_pylist(), vectors.reshape(-1, _dimensions(table)))

    def rough_candidates(self, setting: Setting, query: NDArray[np.float32], count: int) -> dict[str, float]:
        """As `candidates`: many, by id, with their cosines as the index has them; no vector is read."""
        table = self._table_to_read(setting)
        with self._explained("searched", table.name):
            found = self._asked(table, query, count).select(["image_id", "_distance"]).to_arrow()
            cosines = 1 - found.column("_distance").to_numpy()
            return dict(zip(found.column("image_id").to_pylist(), cosines.tolist(), strict=True))

    def _asked(self, table: Any, query: NDArray[np.float32], count: int) -> Any:
        dimensions = _dimensions(table)
        if query.shape != (dimensions,):
            raise OptionError(f"a query of shape {query.shape} fits no vectors of {dimensions} dimensions")
        search = table.search(query, vector_column_name="vector").distance_type("cosine").limit(count)
        if table.count_rows() < MIN_ROWS:
            return search.bypass_vector_index()
        return search.nprobes(max(MIN_PROBES, count * PROBED_ROWS // PARTITION_ROWS))

    def _make(self, table: Any, action: str, rows: int, former: Sequence[Any]) -> None:
        with self._written(table.name):
            if action == "updated":
                table.optimize(cleanup_older_than=GRACE)
                return
            shared = {"distance_type": "cosine", "num_partitions": max(1, rows // PARTITION_ROWS), **TRAINING}
            config = IvfSq(**shared) if _dimensions(table) % 8 else IvfRq(num_bits=BITS, **shared)
            table.create_index("vector", config=config, name=f"vector_{rows}")
            for index in former:
                if index.name != f"vector_{rows}":
                    table.drop_index(index.name)
            table.create_index("image_id", config=BTree())  # what is found under one condition is looked up in others


def _indexes(table: Any) -> list[Any]:
    """Of the vectors; there is more than one only while a new one takes the place of another."""
    return [index for index in table.list_indices() if index.columns == ["vector"]]


def _due(rows: int, indexes: Sequence[Any]) -> Literal["built", "updated", "current", "exact"]:
    """What an index needs. Its name says how many rows its partitions were made for."""
    if rows < MIN_ROWS:
        return "exact"
    if len(indexes) != 1 or not (named := re.fullmatch(r"vector_(\d+)", indexes[0].name)):
        return "built"
    if not rows / 2 < int(named[1]) < rows * 2 or indexes[0].num_segments > MAX_PARTS:
        return "built"
    return "updated" if indexes[0].num_unindexed_rows >= MIN_UPDATE else "current"


def _dimensions(table: Any) -> int:
    return int(table.schema.field("vector").type.list_size)


@contextmanager
def _spinner(text: str, shown: bool | None) -> Iterator[None]:
    """LanceDB does not say how far it is."""
    console = Console(stderr=True)
    columns = SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn()
    hidden = not (console.is_terminal if shown is None else shown)
    with Progress(*columns, console=console, transient=True, disable=hidden) as progress:
        progress.add_task(text, total=None)
        yield
