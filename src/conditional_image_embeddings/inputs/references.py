"""What stands for an image before it is read: small, and of use in another process or on another machine.

A source lists its images' ids with a reference each, without reading any image, and opens what it is given references
of. Both it and they can be pickled: a process that has the source opens what another one listed. What a reference is,
only its source knows: a file's path, a row's number, where in an archive the image lies.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from ..errors import ImageError
from .encoded import FileStat
from .images import ImageInput, LazyImage

Reference: TypeAlias = Any


class ImageSource(Protocol):
    """Images with an id each. The ids are distinct, and the same each time they are listed."""

    @property
    def dataset(self) -> str:
        """The name that the images' vectors are stored under."""

    @property
    def root(self) -> str | None:
        """The directory that ids are relative to, or the table's file."""

    def __iter__(self) -> Iterator[tuple[str, LazyImage]]:
        """All images, listed and opened."""

    def references(self) -> Iterator[tuple[str, Reference]]:
        """Ids and references of all images, listed anew: no list of a million images is held."""

    def open(self, references: Iterable[tuple[str, Reference]]) -> Iterator[tuple[str, LazyImage]]:
        """The images of these references, in their order; taken lazily, and fastest in the order of the listing."""

    def stat(self, reference: Reference, /) -> FileStat | None:
        """What changes when the image does; None where that is not looked for, or the file is gone."""

    def file_of(self, image_id: str, /) -> Path | None:
        """The file on this machine that the image is read from: its own, its table's, its shard's; None where none."""

    def judge(self) -> Callable[[str], bool | None]:
        """From the id of an image that is not listed to whether it is gone; None where that cannot be known."""


@dataclass(frozen=True)
class Unreadable:
    """In the place of an image, and of its reference, that is known to be unreadable before it is read."""

    reason: str

    def __call__(self) -> ImageInput:
        raise ImageError(self.reason)


def select(source: ImageSource, wanted: Callable[[str], bool]) -> Iterator[tuple[str, LazyImage]]:
    """The images whose ids are wanted; no other is read."""
    return source.open((image_id, reference) for image_id, reference in source.references() if wanted(image_id))
