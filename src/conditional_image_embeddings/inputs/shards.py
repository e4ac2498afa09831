"""WebDataset shards: tar archives of samples, whose files share a name up to its first dot.

An image is read where it lies in its shard, in whatever order; nothing is extracted. Its id is `SHARD/KEY`: keys are
often distinct in their shard only, and an id that depended on which other shards are there would change with them.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from glob import has_magic
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from ..errors import NoImagesError, SourceError
from . import braces
from .absence import judge_files
from .archives import Archive, DiskArchive, Members, StoredArchive, looks
from .encoded import Encoded, FileStat
from .folders import absolute, path_to_text
from .formats import suffixes
from .images import LazyImage
from .object_store import ObjectUri
from .references import Unreadable
from .tar_members import Damage, TarMember

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
        root: The folder that the shards' names in ids are relative to, as text.
        archives: Where they are, by their names in ids.
        is_gone: Gives what tells, from a path below the root, whether its file is gone; None where that cannot be
            known. It is asked anew for each look.

    Raises:
        NoImagesError: there is no image in them.
        SourceError: none of them can be read.
    """

    def __init__(
        self, root: str, archives: Mapping[str, Archive], is_gone: Callable[[], Callable[[str], bool | None]]
    ) -> None:
        self._archives, self._is_gone = dict(archives), is_gone
        self._names = list(archives)
        self.dataset = root.rpartition("/")[2] or "root"
        # Not the folder itself, whose own images are another source.
        self.root = f"{root}/**/*{SHARD}"
        damaged = None
        for _, reference in self.references():
            if not isinstance(reference, Unreadable):
                return
            damaged = damaged or reference.reason
        if damaged:
            raise SourceError(damaged)
        raise NoImagesError(f"{self.root} has no images (looked for members with suffixes such as .jpg, .png, .webp)")

    @classmethod
    def of_files(cls, root: Path, files: Sequence[Path]) -> "Shards":
        """Those that are files below a folder."""
        root = absolute(root)
        inner = [absolute(each).relative_to(root) for each in files]
        names = {path_to_text(each.with_suffix("").as_posix()): DiskArchive(root / each) for each in inner}
        return cls(path_to_text(root), names, partial(judge_files, root))

    @classmethod
    def of_objects(cls, uris: Sequence[ObjectUri]) -> "Shards":
        """Those that are objects of one bucket.

        Raises:
            SourceError: one of them is not there.
        """
        prefix = ObjectUri.common_prefix(uris)
        begin = len(prefix.key) + bool(prefix.key)
        keys = [each.key for each in uris]
        # One connection for all of them.
        names = {key[begin:].rpartition(".")[0]: StoredArchive(ObjectUri(prefix.bucket, key)) for key in keys}
        if missing := prefix.missing(keys):
            raise SourceError(f"{missing[0]} does not exist: name shards that are there")
        return cls(str(prefix), names, prefix.judge)

    def __iter__(self) -> Iterator[tuple[str, LazyImage]]:
        return self.open(self.references())

    def references(self) -> Iterator[tuple[str, ShardPlace | Unreadable]]:
        several = zip(self._archives.items(), looks(self._archives.values()), strict=True)
        for number, ((name, archive), (modified, members)) in enumerate(several):
            for key, found in _images(members):
                if isinstance(found, Damage):
                    yield f"{name}/", Unreadable(f"{archive} {found.reason}; what is found before that is embedded")
                elif found.problem is not None:
                    yield f"{name}/{key}", Unreadable(f"{archive}: {found.name!r} is {found.problem}, and not read")
                else:
                    place = ShardPlace(number, found.offset, found.size, -1 if modified is None else modified)
                    yield f"{name}/{key}", place

    def open(self, references: Iterable[tuple[str, ShardPlace | Unreadable]]) -> Iterator[tuple[str, LazyImage]]:
        for image_id, each in references:
            if isinstance(each, Unreadable):
                yield image_id, each
            else:
                yield image_id, _ShardImage(self._archives[self._names[each.shard]], each)

    def stat(self, reference: ShardPlace | Unreadable, /) -> FileStat | None:
        return None if isinstance(reference, Unreadable) else FileStat(None, reference.size, reference.modified)

    def file_of(self, image_id: str) -> Path | None:
        """The image's shard."""
        archive = self._archive_of(image_id)
        return None if archive is None else archive.path

    def judge(self) -> Callable[[str], bool | None]:
        """Gone is what was in a shard that is whole and has it no more, or whose shard is gone."""
        is_gone = self._is_gone()

        @cache
        def is_whole(archive: Archive) -> bool:
            return not any(isinstance(each, Damage) for each in archive.look()[1])

        def judge(image_id: str) -> bool | None:
            if (archive := self._archive_of(image_id)) is not None and archive.modified() is not None:
                return is_whole(archive) or None
            # Of a shard that was not named this time: it may be any of these.
            parts = image_id.split("/")
            judged = {is_gone("/".join(parts[:end]) + SHARD) for end in range(1, len(parts))}
            return False if False in judged else None if None in judged else True

        return judge

    def existing(self) -> "Shards | None":
        """Those that are there now, under the names that they have here; None where none is."""
        there = {name: each for name, each in self._archives.items() if each.modified() is not None}
        return Shards(self.root.removesuffix(f"/**/*{SHARD}"), there, self._is_gone) if there else None

    def _archive_of(self, image_id: str) -> Archive | None:
        names = [name for name in self._names if image_id.startswith(f"{name}/")]
        return self._archives[max(names, key=len)] if names else None


def is_shard(path: Path | ObjectUri) -> bool:
    """Whether a path is taken for a shard, by its name."""
    return path.suffix.lower() == SHARD and not (isinstance(path, Path) and path.is_dir())


def stored(pattern: str) -> list[ObjectUri]:
    """The shards on an object store that a pattern stands for: braces, and wildcards in the name after the last slash.

    Raises:
        NoImagesError: it matches none.
        SourceError: they cannot be listed.
    """
    named = [ObjectUri.parse(each) for each in braces.expand(pattern)]
    found = [uri for each in named for uri in (each.matches() if has_magic(each.name) else [each])]
    if not found:
        raise NoImagesError(f"no shard matches {pattern}")
    return found


def refuse_compressed(path: Path | ObjectUri) -> None:
    """Refuse a file whose name is that of a compressed shard."""
    if path.name.lower().endswith(COMPRESSED):
        raise SourceError(f"{path} is compressed, so that no image can be found in it: decompress it, name its {SHARD}")


def _images(members: Members) -> Iterator[tuple[str, TarMember | Damage]]:
    """Key and image member of each sample of a shard that has one. Memory grows with the shard's keys."""
    seen: set[str] = set()
    for key, files in groupby(members, key=_key):
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

    archive: Archive
    place: ShardPlace

    def __call__(self) -> Encoded:
        _, offset, size, modified = self.place
        return Encoded(self.archive.read(offset, size, modified), stat=FileStat(None, size, modified))
