"""What a benchmark is: images with an id each, and one label an image under each of its aspects.

Labels are joined to images and to vectors by the image's id, never by position. A benchmark is also an image source: a
job embeds it like any folder.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import DatasetError


@dataclass(frozen=True)
class Aspect:
    """One way of looking at a benchmark's images.

    Attributes:
        name: What tables and results call it, such as "car color".
        condition: The words that go into the prompt; the name, unless they differ.
    """

    name: str
    condition: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "condition", self.condition or self.name)


@dataclass(frozen=True, kw_only=True)
class Description:
    """What is known of a benchmark without its files.

    Attributes:
        name: As `--dataset_name` takes it, such as "synthetic_cars".
        aspects: All that a complete copy has labels for.
        images: How many test images a complete copy has.
        where: Where the files come from, in one sentence for a person.
    """

    name: str
    aspects: tuple[Aspect, ...]
    images: int
    where: str


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A benchmark whose files were found, and whose every image has its labels.

    Attributes:
        name: The benchmark's name, the same on every machine.
        root: The directory that the image ids are relative to.
        images: Image id (path relative to `root`, with forward slashes) to file.
        labels: Aspect to labels; labels are image id to label, for exactly the ids in `images`.
    """

    name: str
    root: str
    images: Mapping[str, Path]
    labels: Mapping[Aspect, Mapping[str, str]]

    @property
    def dataset(self) -> str:
        """The name under which a job stores the vectors."""
        return self.name

    @property
    def aspects(self) -> tuple[Aspect, ...]:
        """The aspects that this copy has labels for."""
        return tuple(self.labels)

    def __iter__(self) -> Iterator[tuple[str, Path]]:
        return iter(self.images.items())

    def __len__(self) -> int:
        return len(self.images)


def directory_of(name: str, directory: Path, annotation: str, remedy: str) -> Path:
    """Where a benchmark's annotation file is: `directory`/`name`, with hyphens or underscores, or `directory` itself.

    Raises:
        DatasetError: none of them does; the message ends with the remedy.
    """
    for root in (directory / name, directory / name.replace("_", "-"), directory):
        if (root / annotation).is_file():
            return root
    raise DatasetError(f"{name}: there is no {directory / name / annotation}; {remedy}")
