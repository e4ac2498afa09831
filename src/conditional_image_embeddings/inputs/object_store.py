"""Images on an object store: `s3://bucket/prefix`, listed and read through pyarrow.

Credentials, region and endpoint are those of the environment (`AWS_*`), the AWS configuration files or the machine, and
are asked for in each process anew: no pickle holds them. The AWS SDK inside tries again what fails for a moment.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from ..errors import ImageError, NoImagesError, SourceError
from .encoded import Encoded, FileStat, checked
from .formats import suffixes
from .images import LazyImage
from .selection import Selection, Skipped

SCHEME = "s3://"
REASONS = {  # of the AWS SDK's errors, and what to do
    "ACCESS_DENIED": "access is denied: see that credentials are there (AWS_*, a profile) and may list and read it",
    "NO_SUCH_BUCKET": "there is no such bucket",
    "NETWORK_CONNECTION": "it cannot be reached: see the network, and AWS_ENDPOINT_URL if it is not Amazon's",
    "SLOW_DOWN": "it asks for fewer requests: try again later, or with fewer --workers",
}


class ObjectPlace(NamedTuple):
    """Where an object lies: its key, size in bytes and modification time in nanoseconds, as listed."""

    key: str
    size: int
    modified: int


@dataclass(frozen=True)
class Bucket:
    """A bucket, by its name. It can be pickled; each process connects by itself."""

    name: str

    @cached_property
    def files(self) -> Any:
        """As a file system of pyarrow, whose paths begin with the bucket's name.

        Raises:
            OSError: it cannot be reached; see `reason`.
        """
        from pyarrow import fs

        return fs.FileSystem.from_uri(f"{SCHEME}{self.name}")[0]

    def path(self, key: str) -> str:
        return f"{self.name}/{key}"

    def __getstate__(self) -> dict[str, Any]:
        return {"name": self.name}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


@dataclass(frozen=True)
class ObjectUri:
    """A place on an object store, as a user names it.

    Attributes:
        bucket: Where it is.
        key: Of an object, or the prefix of several, without slashes around it; empty for the whole bucket.
    """

    bucket: Bucket
    key: str

    @classmethod
    def parse(cls, text: str) -> "ObjectUri":
        """From `s3://bucket/key`; nothing in it is escaped.

        Raises:
            SourceError: it is the URI of another store, or names no bucket.
        """
        if not text.startswith(SCHEME):
            raise SourceError(f"{text} is a URL: download the images first, nothing is fetched but from {SCHEME}")
        name, _, key = text.removeprefix(SCHEME).partition("/")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]+", name):
            raise SourceError(f"{text} names no bucket: write s3://BUCKET/PREFIX")
        return cls(Bucket(name), key.strip("/"))

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket.path(self.key)}".rstrip("/")

    @property
    def path(self) -> str:
        """For the bucket's file system."""
        return self.bucket.path(self.key).rstrip("/")

    @property
    def name(self) -> str:
        return PurePosixPath(self.path).name

    @property
    def stem(self) -> str:
        return PurePosixPath(self.path).stem

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.key).suffix

    @property
    def parent(self) -> "ObjectUri":
        return ObjectUri(self.bucket, self.key.rpartition("/")[0])

    def kind(self) -> str | None:
        """What is there: "object", "prefix", or None for nothing.

        Raises:
            SourceError: the store does not say.
        """
        from pyarrow import fs

        try:
            found = self.bucket.files.get_file_info(self.path).type
        except OSError as error:
            raise SourceError(f"{self} cannot be looked at: {reason(error)}") from error
        return {fs.FileType.File: "object", fs.FileType.Directory: "prefix"}.get(found)

    @classmethod
    def common_prefix(cls, uris: Sequence["ObjectUri"]) -> "ObjectUri":
        """What the keys of objects of one bucket have in common, up to a slash."""
        parts = [uri.key.split("/")[:-1] for uri in uris]
        shared = 0
        while all(len(each) > shared for each in parts) and len({each[shared] for each in parts}) == 1:
            shared += 1
        return cls(uris[0].bucket, "/".join(parts[0][:shared]))

    def judge(self) -> Callable[[str], bool | None]:
        """From a key below this prefix to whether its object is gone; None where the store does not say."""
        from pyarrow import fs

        def is_gone(inner: str) -> bool | None:
            try:
                info = self.bucket.files.get_file_info(f"{self.path}/{inner}")
            except OSError:
                return None
            return bool(info.type == fs.FileType.NotFound)

        return is_gone

    def missing(self, keys: Sequence[str]) -> list["ObjectUri"]:
        """Those of some keys of its bucket that no object has.

        Raises:
            SourceError: the store does not say.
        """
        from pyarrow import fs

        try:
            infos = self.bucket.files.get_file_info([self.bucket.path(key) for key in keys])
        except OSError as error:
            raise SourceError(f"{self} cannot be looked at: {reason(error)}") from error
        there = zip(keys, infos, strict=True)
        return [ObjectUri(self.bucket, key) for key, info in there if info.type != fs.FileType.File]

    def matches(self) -> list["ObjectUri"]:
        """The objects beside it whose names its own, a glob, matches.

        Raises:
            SourceError: they cannot be listed.
        """
        from pyarrow import fs

        try:
            found = self.bucket.files.get_file_info(fs.FileSelector(self.parent.path, allow_not_found=True))
        except OSError as error:
            raise SourceError(f"{self.parent} cannot be listed: {reason(error)}") from error
        keys = (info.path.removeprefix(f"{self.bucket.name}/") for info in found if info.type == fs.FileType.File)
        return [ObjectUri(self.bucket, key) for key in sorted(keys) if fnmatchcase(key.rpartition("/")[2], self.name)]


@dataclass(frozen=True)
class Objects:
    """The images below a prefix, or those of some keys below it. Ids are keys relative to the prefix.

    Args:
        prefix: What ids are relative to.
        named: Those that were named, taken whatever their suffixes; None: all images that are found.
        selection: What is taken of what is found.

    Raises:
        NoImagesError: there are none.
        SourceError: they cannot be listed.
    """

    prefix: ObjectUri
    named: tuple[str, ...] | None = None
    selection: Selection = field(default_factory=Selection)

    def __post_init__(self) -> None:
        skipped = Skipped()
        if next(self._listed(skipped), None) is None:
            shards = ObjectUri(self.prefix.bucket, f"{self.prefix.key}/*.tar".lstrip("/"))
            hint = f"; name its WebDataset shards instead ({shards})" if shards.matches() else ""
            looked = f"looked for suffixes such as .jpg, .png, .webp{skipped}"
            raise NoImagesError(f"{self.root} has no images ({looked}){hint}")

    @property
    def dataset(self) -> str:
        return self.prefix.name

    @property
    def root(self) -> str:
        return str(self.prefix)

    def __iter__(self) -> Iterator[tuple[str, LazyImage]]:
        return self.open(self.references())

    def references(self) -> Iterator[tuple[str, ObjectPlace]]:
        return self._listed(Skipped())

    def open(self, references: Iterable[tuple[str, ObjectPlace]]) -> Iterator[tuple[str, LazyImage]]:
        for image_id, place in references:
            yield image_id, _ObjectImage(self.prefix.bucket, place)

    def stat(self, reference: ObjectPlace, /) -> FileStat:
        return _stat(self.prefix.bucket, reference)

    def file_of(self, _: str, /) -> None:
        """An object is there whole or not at all."""

    def judge(self) -> Callable[[str], bool | None]:
        return self.prefix.judge()

    def _listed(self, skipped: Skipped) -> Iterator[tuple[str, ObjectPlace]]:
        from pyarrow import fs

        bucket, begin = self.prefix.bucket, f"{self.prefix.path}/"
        try:
            if self.named is None:
                # One request for a thousand objects, which are held until all are listed: some 300 bytes each.
                found = bucket.files.get_file_info(fs.FileSelector(self.prefix.path, recursive=True))
            else:
                found = bucket.files.get_file_info([f"{begin}{key}" for key in self.named])
        except FileNotFoundError:
            raise NoImagesError(f"{self.root} does not exist: there is nothing below this prefix") from None
        except OSError as error:
            raise SourceError(f"{self.root} cannot be listed: {reason(error)}") from error
        for info in sorted(found, key=lambda info: str(info.path)):
            inner = info.path.removeprefix(begin)
            if info.type == fs.FileType.File and (self.named is not None or self._is_taken(inner, skipped)):
                key = info.path.removeprefix(f"{bucket.name}/")
                yield inner, ObjectPlace(key, int(info.size), int(info.mtime_ns or 0))

    def _is_taken(self, inner: str, skipped: Skipped) -> bool:
        if PurePosixPath(inner).suffix.lower() not in suffixes():
            return False
        folders = [str(folder) for folder in PurePosixPath(inner).parents][-2::-1]
        for path in (*folders, inner):
            if (why := self.selection.reason_to_skip(path, is_folder=path != inner)) is not None:
                skipped.add(why, path, is_folder=path != inner)
                return False
        return True


def named_together(uris: Sequence[ObjectUri], selection: Selection) -> Objects:
    """Single objects of one bucket, with ids relative to what their keys have in common.

    Raises:
        SourceError: all are excluded.
    """
    prefix = ObjectUri.common_prefix(uris)
    inner = [uri.key.removeprefix(f"{prefix.key}/") if prefix.key else uri.key for uri in uris]
    taken = [key for key in inner if not selection.excludes(key)]
    if not taken:
        raise SourceError(f"all files that were named are excluded: {', '.join(map(str, uris[:3]))}")
    return Objects(prefix, tuple(dict.fromkeys(taken)))


def reason(error: Exception) -> str:
    """Why what was asked of pyarrow was not done, in a clause; of the store's own errors also what to do."""
    said = re.search(r"AWS Error (\w+).*? during (\w+) operation: (.*)", text := " ".join(str(error).split()))
    if said is None:
        return text[:300] or type(error).__name__
    code, operation, detail = said.groups()
    told = re.sub(r" ?\(Request ID: [^)]*\)", "", detail).strip(" .")
    return REASONS.get(code) or f"{code.lower().replace('_', ' ')} ({operation}: {told[:200]})"


def _stat(bucket: Bucket, place: ObjectPlace) -> FileStat:
    return FileStat(f"{SCHEME}{bucket.path(place.key)}", place.size, place.modified)


@dataclass(frozen=True)
class _ObjectImage:
    """Reads one object. What is kept of it is as it was listed: if it changed since, the next listing says so."""

    bucket: Bucket
    place: ObjectPlace

    def __call__(self) -> Encoded:
        stat = _stat(self.bucket, self.place)
        name = repr(stat.path)
        try:
            with self.bucket.files.open_input_file(self.bucket.path(self.place.key)) as file:
                size = int(file.size())
                checked(b"\0", name, size)
                data = file.read(size)
        except FileNotFoundError as error:
            raise ImageError(f"{name} is not there") from error
        except OSError as error:
            raise ImageError(f"{name} cannot be read: {reason(error)}") from error
        return Encoded(checked(data, name), stat.path, stat)
