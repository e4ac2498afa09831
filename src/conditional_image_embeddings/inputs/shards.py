"""WebDataset shards: tar archives of samples, whose files share a name up to its first dot.

An image is read where it lies in its shard, in whatever order; nothing is extracted. Its id is `SHARD/KEY`: keys are
often distinct in their shard only, and an id that depended on which other shards are there would change with them.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from ..errors import ImageError, NoImagesError, SourceError
from .absence import judge_files
from .encoded import Encoded, FileStat, checked, stat_of
from .folders import absolute, path_to_text
from .formats import suffixes
from .images import LazyImage
from .references import Unreadable
from .tar_members import Damage, TarMember, members

SHARD = ".tar"
COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")

_SAMPLE = re.compile(r"((?:.*/)?[^.]+)\.([^/]*)")  # key and extension, as WebDataset splits a name


class ShardPlace(NamedTuple):
    """Where an image lies: the shard's number, offset and size in bytes, and the shard's modification time."""

    shard: int
    offset: int
    size: int
    modified: int


class Shards:
    """The images of shards: of each sample the file with the suffix of an image, if it has one.

    Where a sample has several, it is the first whose extension is nothing but such a suffix (`jpg` before `mask.png`).

    Args:
        root: The folder that the shards' names in ids are relative to.
        shards: Their files.

    Raises:
        NoImagesError: there is no image in them.
        SourceError: none of them can be read.
    """

    def __init__(self, root: Path, shards: Sequence[Path]) -> None:
        self._root = absolute(root)
        inner = [absolute(each).relative_to(self._root) for each in shards]
        self._shards = {path_to_text(each.with_suffix("").as_posix()): self._root / each for each in inner}
        self._names = list(self._shards)
        self.dataset = path_to_text(self._root.name) or "root"
        # Not the folder itself, whose own images are another source.
        self.root = f"{path_to_text(self._root)}/**/*{SHARD}"
        damaged = None
        for _, reference in self.references():
            if not isinstance(reference, Unreadable):
                return
            damaged = damaged or reference.reason
        if damaged:
            raise SourceError(damaged)
        raise NoImagesError(f"{self.root} has no images (looked for members with suffixes such as .jpg, .png, .webp)")

    def __iter__(self) -> Iterator[tuple[str, LazyImage]]:
        return self.open(self.references())

    def references(self) -> Iterator[tuple[str, ShardPlace | Unreadable]]:
        for number, (name, path) in enumerate(self._shards.items()):
            where = path_to_text(path)
            status = stat_of(path)
            modified = -1 if status is None or status.modified is None else status.modified
            for key, found in _images(path):
                if isinstance(found, Damage):
                    yield f"{name}/", Unreadable(f"{where} {found.reason}; what is found before that is embedded")
                elif found.problem is not None:
                    yield f"{name}/{key}", Unreadable(f"{where}: {found.name!r} is {found.problem}, and not read")
                else:
                    yield f"{name}/{key}", ShardPlace(number, found.offset, found.size, modified)

    def open(self, references: Iterable[tuple[str, ShardPlace | Unreadable]]) -> Iterator[tuple[str, LazyImage]]:
        for image_id, each in references:
            if isinstance(each, Unreadable):
                yield image_id, each
            else:
                yield image_id, _ShardImage(self._shards[self._names[each.shard]], each)

    def stat(self, reference: ShardPlace | Unreadable, /) -> FileStat | None:
        return None if isinstance(reference, Unreadable) else FileStat(None, reference.size, reference.modified)

    def file_of(self, image_id: str) -> Path | None:
        """The image's shard."""
        names = [name for name in self._names if image_id.startswith(f"{name}/")]
        return self._shards[max(names, key=len)] if names else None

    def judge(self) -> Callable[[str], bool | None]:
        """Gone is what was in a shard that is whole and has it no more, or whose shard is gone."""
        is_gone = judge_files(self._root)

        @cache
        def is_whole(path: Path) -> bool:
            return not any(isinstance(each, Damage) for each in members(path))

        def judge(image_id: str) -> bool | None:
            if (path := self.file_of(image_id)) is not None and path.exists():
                return is_whole(path) or None
            # Of a shard that was not named this time: it may be any of these.
            parts = image_id.split("/")
            judged = {is_gone("/".join(parts[:end]) + SHARD) for end in range(1, len(parts))}
            return False if False in judged else None if None in judged else True

        return judge

    def existing(self) -> "Shards | None":
        """Those that are there now, under the names that they have here; None where none is."""
        there = [path for path in self._shards.values() if os.path.lexists(path)]
        return Shards(self._root, there) if there else None


def is_shard(path: Path) -> bool:
    """Whether a path is taken for a shard, by its name."""
    return path.suffix.lower() == SHARD and not path.is_dir()


def refuse_compressed(path: Path) -> None:
    """Refuse a file whose name is that of a compressed shard."""
    if path.name.lower().endswith(COMPRESSED):
        raise SourceError(f"{path} is compressed, so that no image can be found in it: decompress it, name its {SHARD}")


def _images(path: Path) -> Iterator[tuple[str, TarMember | Damage]]:
    """Key and image member of each sample of a shard that has one. Memory grows with the shard's keys."""
    seen: set[str] = set()
    for key, files in groupby(members(path), key=_key):
        images: list[tuple[str, TarMember]] = []
        for each in files:
            if isinstance(each, Damage):
                yield "", each
            elif key is not None and f".{(extension := _extension(each))}".endswith(_endings()):
                images.append((extension, each))
        if key is None or not images:
            continue
        member = next((each for extension, each in images if "." not in extension), images[0][1])
        if key in seen:
            problem = f"of a sample whose key {key!r} the shard had before"
            yield f"{key}@{member.offset}", TarMember(member.name, member.offset, member.size, problem)
        else:
            seen.add(key)
            yield key, member


def _key(member: TarMember | Damage) -> str | None:
    """A sample's, as text that can be stored; None of what belongs to none."""
    found = _SAMPLE.fullmatch(member.name) if isinstance(member, TarMember) else None
    return None if found is None else path_to_text(found[1].removeprefix("./"))


def _extension(member: TarMember) -> str:
    return member.name.rpartition("/")[2].partition(".")[2].lower()


@cache
def _endings() -> tuple[str, ...]:
    return tuple(suffixes())


@dataclass(frozen=True)
class _ShardImage:
    """Reads one image out of its shard."""

    path: Path
    place: ShardPlace

    def __call__(self) -> Encoded:
        _, offset, size, modified = self.place
        name = f"the image at byte {offset} of {os.fspath(self.path)!r}"
        checked(b"\0", name, size)
        try:
            with self.path.open("rb") as file:
                if os.fstat(file.fileno()).st_mtime_ns != modified:
                    raise ImageError(f"{name} changed while the job ran: run the same command again")
                file.seek(offset)
                data = file.read(size)
        except OSError as error:
            raise ImageError(f"{name} cannot be read: {(error.strerror or str(error)).lower()}") from error
        if len(data) < size:
            raise ImageError(f"{name} is cut off: it has {len(data)} bytes of {size}")
        return Encoded(checked(data, name), stat=FileStat(None, size, modified))
