"""What a tar archive holds and where, found by its headers alone; no file is taken out of it.

`tarfile` takes a header that it cannot read for the archive's end. Here an archive ends only with its end mark:
whatever else stops the scan is damage, and said to be.
"""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

BLOCK = 512
LONGEST_HEADER = 2**20  # bytes; what claims more is no header
COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}


@dataclass(frozen=True)
class TarMember:
    """A file of the archive, or what has the name of one.

    Attributes:
        name: Its path in the archive.
        offset: Where its bytes begin.
        size: How many they are.
        problem: Why it has no bytes to be read there, such as "a link"; None where it has.
    """

    name: str
    offset: int
    size: int
    problem: str | None = None


@dataclass(frozen=True)
class Damage:
    """Why an archive cannot be read, or not from some place on: the end of a sentence that begins with its name."""

    reason: str


def members(file: IO[bytes]) -> Iterator[TarMember | Damage]:
    """The members of an archive, in their order, but its folders; of a damaged one what is found, and the damage last.

    Memory does not grow with them.

    Raises:
        OSError: the file cannot be read.
    """
    begin = file.read(8)
    if kind := next((kind for mark, kind in COMPRESSED.items() if begin.startswith(mark)), None):
        yield Damage(f"is compressed ({kind}), so that no image can be found in it: decompress it first")
    else:
        file.seek(0)
        yield from _members(file)


def _members(file: IO[bytes]) -> Iterator[TarMember | Damage]:
    place = 0
    try:
        with tarfile.open(fileobj=_Headers(file), mode="r:") as archive:
            while (member := archive.next()) is not None:
                archive.members = []  # type: ignore[attr-defined]  # it would keep them all
                if member.size < 0 or member.offset_data <= place:
                    yield Damage(f"is damaged after byte {place}: what follows leads backwards")
                    return
                place = member.offset_data
                if not member.isdir():
                    yield TarMember(member.name, member.offset_data, member.size, _problem(member))
            place = archive.offset
    except (tarfile.TarError, ValueError, OverflowError, EOFError) as error:
        yield Damage(f"is damaged or cut off after byte {place} ({error})")
        return
    file.seek(place)
    block = file.read(BLOCK)
    if block != bytes(BLOCK):
        what = "damaged: there is no header" if len(block) == BLOCK else "cut off: there is no end mark"
        yield Damage(f"is {what} at byte {place}")


def _problem(member: tarfile.TarInfo) -> str | None:
    if member.issym() or member.islnk():
        return "a link"
    if member.issparse():
        return "a sparse file"
    return None if member.isreg() else "no regular file"


class _Headers:
    """A file of which headers are read: no more at once than a header may have, whatever the archive says."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def read(self, size: int) -> bytes:
        if not 0 <= size <= LONGEST_HEADER:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return self._file.read(size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)
