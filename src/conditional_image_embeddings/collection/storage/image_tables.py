"""The tables `images` and `failures`: what is known of each image of a source, and why some have no vector."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ...errors import OptionError, StoreError
from ...inputs.encoded import FileStat
from .database import Database, one_line
from .digests import digests
from .tables import (
    FAILURES,
    IMAGES,
    MOVED,
    ImageRecord,
    filters,
    one_expression,
    owned,
    owned_by,
    quoted,
    rows_of,
    scan,
)

if TYPE_CHECKING:
    from ...methods.settings import Setting

PLACE = ("path", "size", "modified")


class ImageTables(Database):
    """A database with what it knows of images."""

    def thumbnails(self, dataset: str, image_ids: Iterable[str], *, source: str | None = None) -> dict[str, bytes]:
        """Encoded thumbnails by image id, of a benchmark or, with `source`, of that folder (`Setting.source`)."""
        return self._of_images(dataset, source, list(image_ids), "thumbnail")

    def image_paths(
        self, dataset: str, image_ids: Iterable[str], *, source: str | None = None
    ) -> dict[str, str | None]:
        """Where the images' files were last seen, by image id; None for an image that is not a file of its own."""
        return self._of_images(dataset, source, list(image_ids), "path")

    def stored_images(self, dataset: str, source: str | None) -> list[str]:
        """The images of a source that have a row."""
        table = self._open("images", IMAGES)
        if table is None:
            return []
        with self._explained("read", "images"):
            batches = scan(table, ["image_id"], where=owned_by(dataset, source))
            return [image_id for batch in batches for image_id in batch.column(0).to_pylist()]

    def image_ids_where(self, dataset: str, source: str | None, where: str) -> list[str]:
        """The images of a source that fit a filter over the columns of `images`, such as "width > 500".

        Args:
            dataset: Of the images.
            source: Of the images.
            where: An SQL expression; it can read nothing else and change nothing.

        Raises:
            OptionError: it is no such expression; the message names the columns.
            StoreError: `images` is gone or cannot be read.
        """
        table = self._open("images", IMAGES)
        if table is None:
            raise StoreError(f"{self.uri} has no table `images` to filter by")
        text = one_expression(where)
        try:
            batches = list(scan(table, ["image_id"], where=f"{owned_by(dataset, source)} AND ({text})"))
        except (OSError, RuntimeError, ValueError, pa.ArrowException) as error:
            columns = ", ".join(name for name in IMAGES.names if name not in {"dataset", "source", "thumbnail"})
            reason = one_line(error)
            raise OptionError(f"{text[:100]!r} is no filter over the columns {columns}: {reason[:300]}") from error
        return [image_id for batch in batches for image_id in batch.column(0).to_pylist()]

    def image_at(self, dataset: str, source: str | None, path: str, content_hash: str) -> str | None:
        """The image of a source whose file is this one, if it was embedded with these very contents."""
        table = self._open("images", IMAGES)
        if table is None:
            return None
        where = f"{owned_by(dataset, source)} AND path = {quoted(path)} AND content_hash = {quoted(content_hash)}"
        with self._explained("read", "images"):
            rows = table.search().where(where).select(["image_id"]).limit(1).to_list()
        return rows[0]["image_id"] if rows else None

    def content_hashes(self, dataset: str, source: str | None, image_ids: Sequence[str]) -> dict[str, str]:
        """Image id to SHA-256 of the encoded bytes that were embedded."""
        return self._of_images(dataset, source, image_ids, "content_hash")

    def image_rows(self, dataset: str, source: str | None, image_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Image id to its row of `images`: width, height, content_hash, path, size, modified, thumbnail."""
        table = self._open("images", IMAGES)
        if table is None:
            return {}
        columns = [name for name in IMAGES.names if name not in {"dataset", "source"}]
        with self._explained("read", "images"):
            rows = rows_of(table, columns, image_ids, owned_by(dataset, source))
            return {row.pop("image_id"): row for row in rows}

    def image_sizes(self, dataset: str, source: str | None) -> dict[str, tuple[int, int]]:
        """Image id to width and height in pixels, upright, of all images of a source."""
        table = self._open("images", IMAGES)
        if table is None:
            return {}
        with self._explained("read", "images"):
            return {
                row["image_id"]: (row["width"], row["height"])
                for batch in scan(table, ["image_id", "width", "height"], where=owned_by(dataset, source))
                for row in batch.to_pylist()
                if row["width"] is not None and row["height"] is not None
            }

    def source_root(self, setting: "Setting") -> str | None:
        """The directory that image ids are relative to (or the table file of the images), as the last job saw it."""
        if setting.source is not None:
            return setting.source
        table = self._open("images", IMAGES)
        if table is None:
            return None
        with self._explained("read", "images"):
            query = table.search().where(owned_by(setting.dataset, None)).select(["image_id", "path"]).limit(1)
            for row in query.to_list():
                if row["path"] is not None and row["path"].endswith(row["image_id"]):
                    return str(Path(row["path"]).parents[len(PurePosixPath(row["image_id"]).parts) - 1])
        return None

    def failures(self, dataset: str, *, source: str | None = None) -> dict[str, str]:
        """Image id to reason, of the images that the last job over this source could not read."""
        try:
            table = self._open("failures", FAILURES)
            if table is None:
                return {}
            with self._explained("read", "failures"):
                batches = scan(table, ["image_id", "reason"], where=owned_by(dataset, source))
                return {row["image_id"]: row["reason"] for batch in batches for row in batch.to_pylist()}
        except StoreError as error:  # it only explains what is missing
            self._warn(error)
            return {}

    def places(self, dataset: str, source: str | None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The digest of the id of each image in `images`, sorted, and that of its id and `FileStat`: 16 bytes an image.

        The two are independent: an image whose id has the digest of another's has another second one.
        """
        table = self._open("images", IMAGES)
        if table is None:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        pairs = [np.empty((2, 0), np.int64)]
        with self._explained("read", "images"):
            for batch in scan(table, ["image_id", *PLACE], where=owned_by(dataset, source)):
                image_ids, *places = (batch.column(name).to_pylist() for name in ("image_id", *PLACE))
                stats = map(FileStat, *places)
                pairs.append(np.stack([digests(image_ids), digests(map(place_key, image_ids, stats))]))
        both = np.concatenate(pairs, axis=1)
        return tuple(both[:, np.argsort(both[0], kind="stable")])

    def add_images(self, dataset: str, source: str | None, records: Sequence[ImageRecord]) -> None:
        """Commit rows of the table `images`; an image that has one keeps it."""
        rows = [{**vars(record), **vars(record.place)} for record in records]
        with self._written("images"):
            merge = self._open_or_create("images", IMAGES).merge_insert(["dataset", "source", "image_id"])
            merge.when_not_matched_insert_all().execute(owned(dataset, source, rows, IMAGES))

    def move_images(self, dataset: str, source: str | None, places: Mapping[str, FileStat]) -> None:
        """Note for images that `images` has already where they are now."""
        rows = [{"image_id": image_id, **vars(place)} for image_id, place in places.items()]
        with self._written("images"):
            merge = self._open("images", IMAGES).merge_insert(["dataset", "source", "image_id"])
            merge.when_matched_update_all().execute(owned(dataset, source, rows, MOVED))

    def replace_failures(self, dataset: str, source: str | None, failures: Mapping[str, str]) -> None:
        """Make these the source's rows of the table `failures`: image id to reason.

        A damaged table is made anew: it holds nothing that the next job over each source does not say again.
        """
        try:
            table = self._open("failures", FAILURES)
            if table is not None:
                self._delete(table, owned_by(dataset, source))
        except StoreError as error:
            self._warn(error)
            with self._written("failures"):
                self._db.drop_table("failures")
        if failures:
            rows = [{"image_id": image_id, "reason": reason} for image_id, reason in failures.items()]
            with self._written("failures"):
                merge = self._open_or_create("failures", FAILURES).merge_insert(["dataset", "source", "image_id"])
                merge = merge.when_matched_update_all().when_not_matched_insert_all()
                merge.execute(owned(dataset, source, rows, FAILURES))

    def _of_images(self, dataset: str, source: str | None, image_ids: Sequence[str], column: str) -> dict[str, Any]:
        table = self._open("images", IMAGES)
        if table is None:
            return {}
        with self._explained("read", "images"):
            rows = rows_of(table, ["image_id", column], image_ids, owned_by(dataset, source))
            return {row["image_id"]: row[column] for row in rows}

    def _delete(self, table: Any, where: str, image_ids: Sequence[str] | None = None) -> None:
        with self._written(table.name):
            conditions: Iterator[str] = iter([where]) if image_ids is None else filters(where, image_ids)
            for condition in conditions:
                if table.count_rows(condition):
                    table.delete(condition)


def place_key(image_id: str, place: FileStat) -> str:
    """What changes when an image's file was changed, moved or is another's."""
    return "\0".join(map(str, (place.modified, place.size, place.path, image_id)))
