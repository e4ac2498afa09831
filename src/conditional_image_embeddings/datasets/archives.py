"""Archives, unpacked safely: nothing lands outside the folder, no links, no more bytes than expected.

Files are unpacked beside their place and moved when all are there, so that a run that is stopped leaves no half files.
"""

import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Generator
from contextlib import closing
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, TypeAlias

from ..errors import DatasetError

SUFFIXES = (".zip", ".tgz", ".tar.gz", ".tar")
Member: TypeAlias = tuple[str, int, Callable[[], IO[bytes]]]  # name, size, what opens it
MAX_BYTES = 32 * 1024**3
MAX_FILES = 1_000_000
MAX_DEPTH = 64  # folders in one another: what removes and moves them afterwards calls itself for each


def is_archive(path: Path) -> bool:
    """Whether `unpack` takes the file, by its name."""
    return path.name.lower().endswith(SUFFIXES) and not path.name.startswith(".") and path.is_file()


def unpack(
    archive: Path,
    directory: Path,
    *,
    wanted: Callable[[PurePosixPath], bool] = lambda _: True,
    max_bytes: int = MAX_BYTES,
    max_files: int = MAX_FILES,
    show_progress_bar: bool | None = None,
) -> int:
    """Unpack the regular files of a zip or tar archive into a folder. Files of the same names are replaced.

    Args:
        archive: The archive; its suffix says its kind.
        directory: The folder; it is made.
        wanted: Which files, by their path in the archive.
        max_bytes: How much they may have together, unpacked.
        max_files: How many there may be.
        show_progress_bar: None shows it on a terminal.

    Returns:
        How many files were unpacked.

    Raises:
        DatasetError: the archive is not whole, is encrypted, holds a path outside itself or too deep, or is large.
    """
    from tqdm.auto import tqdm

    staging = directory / f".{archive.name}.unpacking"
    shutil.rmtree(staging, ignore_errors=True)
    disable = None if show_progress_bar is None else not show_progress_bar
    files = bytes_ = 0
    try:
        staging.mkdir(parents=True)
        opened = _zip(archive) if archive.name.lower().endswith(".zip") else _tar(archive)
        with closing(opened), tqdm(desc=archive.name, unit="file", disable=disable, leave=False) as bar:
            for name, size, content in opened:
                path = _inside(name, archive)
                files, bytes_ = files + 1, bytes_ + size
                if files > max_files or bytes_ > max_bytes:
                    raise DatasetError(
                        f"{archive} holds more than {max_files:,} files or {max_bytes:,} bytes: it is not the archive "
                        "expected; look at it before unpacking it by hand"
                    )
                if not wanted(path):
                    continue
                target = staging / path
                target.parent.mkdir(parents=True, exist_ok=True)
                with content() as source, target.open("wb") as file:
                    shutil.copyfileobj(source, file, 1024 * 1024)
                bar.update()
        return _move(staging, directory)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, NotImplementedError, ValueError) as error:
        raise DatasetError(f"{archive} is not a whole archive: {error}; remove it and get it again") from error
    except OSError as error:
        raise DatasetError(f"{archive} cannot be unpacked into {directory}: {error}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _zip(archive: Path) -> Generator[Member]:
    with zipfile.ZipFile(archive) as opened:
        for member in opened.infolist():
            if member.is_dir() or stat.S_ISLNK(member.external_attr >> 16):
                continue
            if member.flag_bits & 1:
                raise DatasetError(f"{archive} is encrypted: unpack it with the password that its authors send")
            # Reading to the end compares the checksum, and no more comes than the size that is said here.
            yield member.filename, member.file_size, partial(opened.open, member)


def _tar(archive: Path) -> Generator[Member]:
    with tarfile.open(archive, "r:*") as opened:
        for member in opened:
            if member.isreg():
                yield member.name, member.size, partial(_member, opened, member)


def _member(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    content = archive.extractfile(member)
    if content is None:
        raise tarfile.ReadError(f"{member.name} is not a file")
    return content


def _inside(name: str, archive: Path) -> PurePosixPath:
    path = PurePosixPath(name)
    if (
        not path.parts
        or path.is_absolute()
        or ".." in path.parts
        or "\\" in name
        or ":" in path.parts[0]
        or "\0" in name
    ):
        raise DatasetError(f"{archive} holds {name!r}, a path outside of it: nothing of it is unpacked")
    if len(path.parts) > MAX_DEPTH:
        raise DatasetError(f"{archive} nests more than {MAX_DEPTH} folders: it is not the archive expected")
    return path


def _move(staging: Path, directory: Path) -> int:
    moved = 0
    for folder, _, names in os.walk(staging):
        place = directory / Path(folder).relative_to(staging)
        place.mkdir(parents=True, exist_ok=True)
        for name in names:
            (Path(folder) / name).replace(place / name)
            moved += 1
    return moved
