"""Where a shard lies, on a disk or on an object store: its headers, and what is read out of it."""

import io
import os
import pickle
import zlib
from collections.abc import Hashable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from ..errors import ImageError
from .encoded import checked, stat_of
from .folders import path_to_text
from .object_store import ObjectUri, reason
from .tar_members import Damage, TarMember, members

AT_ONCE = 16  # shards of an object store that are looked at together
AHEAD = 2**17  # bytes that are asked of an object store at once while headers are looked for

Members: TypeAlias = Iterable[TarMember | Damage]


class Archive(Hashable, Protocol):
    """A tar archive. Its text is what messages call it; it can be pickled."""

    @property
    def path(self) -> Path | None:
        """On this machine."""

    def modified(self) -> int | None:
        """When it was written last, in nanoseconds; None if it is not there, or that cannot be asked."""

    def look(self) -> tuple[int | None, Members]:
        """When it was written, as `modified`, and what it holds, by its headers."""

    def read(self, offset: int, size: int, modified: int) -> bytes:
        """Bytes of it.

        Raises:
            ImageError: it is not there, cannot be read, was written since, or is shorter.
        """


@dataclass(frozen=True)
class DiskArchive:
    """A file."""

    path: Path

    def __str__(self) -> str:
        return path_to_text(self.path)

    def modified(self) -> int | None:
        status = stat_of(self.path)
        return None if status is None else status.modified

    def look(self) -> tuple[int | None, Members]:
        return self.modified(), self._members()

    def _members(self) -> Members:
        try:
            with self.path.open("rb") as file:
                yield from members(file)
        except OSError as error:
            yield Damage(f"cannot be read: {(error.strerror or str(error)).lower()}")

    def read(self, offset: int, size: int, modified: int) -> bytes:
        name = _name(offset, os.fspath(self.path))
        checked(b"\0", name, size)
        try:
            with self.path.open("rb") as file:
                if os.fstat(file.fileno()).st_mtime_ns != modified:
                    raise _changed(name)
                file.seek(offset)
                return _whole(file.read(size), size, name)
        except OSError as error:
            raise ImageError(f"{name} cannot be read: {(error.strerror or str(error)).lower()}") from error


class StoredArchive:
    """An object. Its headers, a request for each of large images, are held once they are known: some 20 bytes each."""

    path = None

    def __init__(self, uri: ObjectUri) -> None:
        self.uri = uri
        self._known: tuple[int | None, bytes] | None = None

    def __str__(self) -> str:
        return str(self.uri)

    def __getstate__(self) -> dict[str, Any]:
        return {"uri": self.uri, "_known": None}

    def modified(self) -> int | None:
        from pyarrow import fs

        try:
            info = self.uri.bucket.files.get_file_info(self.uri.path)
        except OSError:
            return None
        return int(info.mtime_ns or 0) if info.type == fs.FileType.File else None

    def look(self) -> tuple[int | None, Members]:
        modified = self.modified()
        if self._known is None or self._known[0] != modified or modified is None:
            self._known = modified, zlib.compress(pickle.dumps(list(self._members())), 1)
        return modified, _unpacked(self._known[1])

    def _members(self) -> Members:
        try:
            with self.uri.bucket.files.open_input_file(self.uri.path) as file:
                yield from members(io.BufferedReader(_Seekable(file), AHEAD))
        except OSError as error:
            yield Damage(f"cannot be read: {reason(error)}")

    def read(self, offset: int, size: int, modified: int) -> bytes:
        name = _name(offset, str(self))
        checked(b"\0", name, size)
        try:
            with self.uri.bucket.files.open_input_file(self.uri.path) as file:
                written = datetime.fromisoformat(file.metadata()["Last-Modified"].decode())
                if int(written.timestamp()) != modified // 10**9:
                    raise _changed(name)
                file.seek(offset)
                return _whole(file.read(size), size, name)
        except OSError as error:
            raise ImageError(f"{name} cannot be read: {reason(error)}") from error


class _Seekable(io.RawIOBase):
    """A file of pyarrow that, like any other, lets one go beyond its end, and has nothing there."""

    def __init__(self, file: Any) -> None:
        self._file, self._size, self._place = file, int(file.size()), 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._place = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        return self._place

    def tell(self) -> int:
        return self._place

    def readinto(self, buffer: Any) -> int:
        self._file.seek(min(self._place, self._size))
        number = int(self._file.readinto(buffer))
        self._place += number
        return number


def looks(archives: Iterable[Archive]) -> Iterator[tuple[int | None, Members]]:
    """What `look` gives of each; some are looked at together, which only those of an object store take time for."""
    several = iter(archives)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        while some := list(islice(several, AT_ONCE)):
            yield from pool.map(lambda each: each.look(), some)


def _unpacked(packed: bytes) -> Members:
    yield from pickle.loads(zlib.decompress(packed))  # noqa: S301 - of this process itself


def _name(offset: int, archive: str) -> str:
    return f"the image at byte {offset} of {archive!r}"


def _changed(name: str) -> ImageError:
    return ImageError(f"{name} changed while the job ran: run the same command again")


def _whole(data: bytes, size: int, name: str) -> bytes:
    if len(data) < size:
        raise ImageError(f"{name} is cut off: it has {len(data)} bytes of {size}")
    return checked(data, name)
