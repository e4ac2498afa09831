"""An image's encoded bytes, read once, so that its pixels, size, hash and file status are those of the same moment.

A file may be replaced or removed while a job runs. What is opened once stays what it was: everything that is kept of
an image comes from these bytes and the descriptor that they were read from, never from a second look at the path.
"""

import hashlib
import io
import os
import stat
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO

from ..errors import ImageError
from .folders import path_to_text
from .sharing import alone_with

MAX_BYTES = 2**29  # of an encoded image


@dataclass(frozen=True)
class FileStat:
    """Where an image was found: its file, the size in bytes, the modification time in nanoseconds.

    An image that is no file of its own has no path.
    """

    path: str | None = None
    size: int | None = None
    modified: int | None = None


@dataclass(frozen=True)
class Encoded:
    """An image's encoded bytes; `read_image` and `stored_size` take it like a path or bytes.

    Attributes:
        data: The bytes.
        path: The file, or the object's URI, that they were read from; None for bytes from elsewhere.
        stat: Of that file's descriptor, from before it was read: a change while it is read is seen later.
    """

    data: bytes = field(repr=False)
    path: Path | str | None = None
    stat: FileStat | None = field(default=None, repr=False, compare=False)

    @cached_property
    def sha256(self) -> str:
        """The SHA-256 of the bytes, in hexadecimal."""
        return hashlib.sha256(self.data).hexdigest()


def read_encoded(
    source: str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | Encoded, *, name: str | None = None
) -> Encoded:
    """Read an image file's bytes, all at once and at most `MAX_BYTES`; bytes are taken as they are.

    Args:
        source: A path, encoded bytes, or a binary file object: that is read from its beginning, and stands then where
            it stood. One that cannot go back, such as a pipe, is read from where it stands, and can be read once.
        name: What messages call the image; None: its path, quoted.

    Raises:
        ImageError: there is no such file, it is none that can be read, or it is empty or too large.
    """
    if isinstance(source, Encoded):
        return source
    if isinstance(source, bytes | bytearray | memoryview):
        data = bytes(source)
        return Encoded(checked(data, name or f"the image of {len(data)} bytes"))
    if not isinstance(source, str | os.PathLike):
        return Encoded(_of_file_object(source, name or "the image"))
    path = Path(source)
    name = name or repr(os.fspath(source))
    if str(source).startswith(("http://", "https://", "ftp://", "data:")):
        raise ImageError(f"{name} is a URL, and URLs are not fetched: download the image and pass its path")
    try:
        with io.FileIO(path, opener=_open) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ImageError(f"{name} is not a regular file")
            return Encoded(checked(_all_of(file, status.st_size), name, status.st_size), path, _file_stat(path, status))
    except FileNotFoundError as error:
        raise ImageError(f"{name} is {'a broken link' if path.is_symlink() else 'not there'}") from error
    except (OSError, ValueError) as error:  # a null character in the path is a ValueError
        if path.is_dir():
            raise ImageError(f"{name} is a folder, not an image") from error
        reason = getattr(error, "strerror", None) or str(error)
        raise ImageError(f"{name} cannot be read: {reason.lower()}") from error


def stat_of(path: Path) -> FileStat | None:
    """What is known of a file without reading it; None if that cannot be asked."""
    try:
        return _file_stat(path, path.stat())
    except (OSError, ValueError):  # a null character in the path is a ValueError
        return None


def _file_stat(path: Path, status: os.stat_result) -> FileStat:
    return FileStat(path_to_text(path.absolute()), status.st_size, status.st_mtime_ns)


def checked(data: bytes, name: str, size: int = 0) -> bytes:
    """The bytes, unless they are none or too many to be an image."""
    if not data:
        raise ImageError(f"{name} is empty")
    if (size := max(len(data), size)) > MAX_BYTES:
        raise ImageError(f"{name} has {size} bytes; at most {MAX_BYTES} are read")
    return data


def _of_file_object(file: IO[bytes], name: str) -> bytes:
    if not hasattr(file, "read"):
        raise ImageError(
            f"expected a path, encoded bytes, a binary file object, a PIL image, an array or a tensor, "
            f"not {type(file).__name__}"
        )
    with alone_with(file):
        place = file.tell() if file.seekable() else None
        if place is not None:
            file.seek(0)
        try:
            data = file.read(MAX_BYTES + 1)
        finally:
            if place is not None:
                file.seek(place)
    if not isinstance(data, bytes):
        raise ImageError(f"{name} is a file object opened as text: open it with mode 'rb'")
    return checked(data, name)


def _open(path: str, flags: int) -> int:
    """Open without blocking: a pipe would wait for somebody to write into it."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _all_of(file: io.RawIOBase, size: int) -> bytes:
    """A file's bytes, and one more than are read if there are that many; one call where it has the size it says."""
    if size > MAX_BYTES:
        return b"\0"
    parts, left = [], MAX_BYTES + 1
    while left and (part := file.read(min(left, max(size + 1, 2**16)))):
        parts.append(part)
        left -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
