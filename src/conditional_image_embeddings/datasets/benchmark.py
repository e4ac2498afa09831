"""What a benchmark is: images with an id each, and one label per image under each of its aspects.

Labels are joined to images and to vectors by the image's id, never by position. A benchmark is also an image source: a
job embeds it like any folder, for which its images are enough.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ..errors import DatasetError, preview
from ..inputs.absence import judge_files
from ..inputs.conditions import normalized_text
from ..inputs.encoded import FileStat, stat_of
from ..inputs.folders import path_to_text

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Aspect:
    """One way of looking at a benchmark's images.

    Attributes:
        name: What tables and results call it, such as "car color".
        condition: The words that go into the prompt; the name, unless they differ. None: labels that belong to no
            condition.
    """

    name: str
    condition: str | None = ""

    def __post_init__(self) -> None:
        if self.condition == "":
            object.__setattr__(self, "condition", self.name)


@dataclass(frozen=True, kw_only=True)
class Description:
    """What is known of a benchmark without its files.

    Attributes:
        name: As `--dataset_name` takes it, such as "synthetic_cars".
        aspects: All that a complete copy has labels for.
        images: How many test images a complete copy has.
        where: Where the files come from, in one sentence for a person.
        terms: What one may do with them, as far as their authors say.
        extra_aspects: Those of `aspects` that the paper does not score.
    """

    name: str
    aspects: tuple[Aspect, ...]
    images: int
    where: str
    terms: str
    extra_aspects: tuple[Aspect, ...] = ()

    @property
    def paper_aspects(self) -> tuple[Aspect, ...]:
        """The aspects that the paper scores."""
        return tuple(aspect for aspect in self.aspects if aspect not in self.extra_aspects)


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A benchmark whose files were found. Only what `datasets.get_images` returns may lack labels.

    Attributes:
        name: The benchmark's name, the same on every machine.
        root: The directory that the image ids are relative to.
        images: Image id (path relative to `root`, with forward slashes) to file.
        labels: Aspect to labels; labels are image id to label, for exactly the ids in `images` unless they are missing.
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
        """The aspects that this copy has labels for; if it has none, those of the paper."""
        return tuple(self.labels)

    def __iter__(self) -> Iterator[tuple[str, Path]]:
        return self.references()

    def references(self) -> Iterator[tuple[str, Path]]:
        return iter(self.images.items())

    def open(self, references: Iterable[tuple[str, Path]]) -> Iterator[tuple[str, Path]]:
        return iter(references)

    def stat(self, reference: Path) -> FileStat | None:
        return stat_of(reference)

    def file_of(self, image_id: str) -> Path | None:
        return self.images.get(image_id)

    def judge(self) -> Callable[[str], bool | None]:
        return judge_files(Path(self.root))

    def __len__(self) -> int:
        return len(self.images)


Key = TypeVar("Key", str, int)


def join_labels(
    name: str,
    root: Path,
    labels: Mapping[Key, Mapping[Aspect, str]],
    images: Mapping[Key, Path],
    *,
    annotation: Path,
    remedy: str,
    noun: str = "images",
    allow_missing: bool = False,
    keep_unlabelled: bool = False,
) -> Benchmark:
    """The benchmark of the images and labels that share a key: a file's name, a frame's number, a film's id.

    Images and labels stand in the order of the annotation.

    Args:
        name: The benchmark's name.
        root: What image ids are relative to.
        labels: Key to the labels of one image.
        images: Key to the file of one image.
        annotation: Where the labels were read, for the message.
        remedy: What to do when they do not fit each other, for the message.
        noun: What the keys are, for the message.
        allow_missing: Leave out what has no file or no label, with a warning, instead of refusing.
        keep_unlabelled: Leave out what has no file, without a warning, and keep images that have no label.

    Raises:
        DatasetError: an image or a label is missing (and neither is allowed), or nothing is left.
    """
    missing: list[Key] = sorted(labels.keys() - images.keys())
    extra: list[Key] = sorted(images.keys() - labels.keys())
    says = [
        *([f"{len(missing):,} of {len(labels):,} {noun} have no image: {preview(missing)}"] if missing else []),
        *([f"{len(extra):,} {noun} have no label here: {preview(extra)}"] if extra else []),
    ]
    # In the annotation's order, as the paper's code scores its rows: k-means, and so AMI and NMI, depend on it.
    kept = [key for key in labels if key in images]
    if keep_unlabelled and labels:
        kept += extra
    if says and not ((allow_missing or keep_unlabelled) and kept):
        raise DatasetError(f"{annotation}: {'; '.join(says)}; {remedy}")
    if not kept:
        raise DatasetError(f"{annotation}: no image has a label; {remedy}")
    if says and not keep_unlabelled:
        logger.warning("%s: left out: %s", annotation, "; ".join(says))
    ids = {key: path_to_text(images[key].relative_to(root).as_posix()) for key in kept}
    aspects = next(iter(labels.values()))
    return Benchmark(
        name=name,
        root=str(root.resolve()),
        images={image_id: images[key] for key, image_id in ids.items()},
        labels={
            aspect: {image_id: normalized_text(labels[key][aspect]) for key, image_id in ids.items() if key in labels}
            for aspect in aspects
        },
    )


def unlabelled(known: Description, candidates: Iterable[tuple[Path, Iterable[Path]]]) -> Benchmark | None:
    """A benchmark without labels, of the first folder that has images; None where none has.

    Args:
        known: What is known of the benchmark.
        candidates: Folders that are the benchmark's, and of each the images that may be test images.
    """
    for root, images in candidates:
        if ids := {path_to_text(path.relative_to(root).as_posix()): path for path in images}:
            return Benchmark(
                name=known.name,
                root=str(root.resolve()),
                images=ids,
                labels={aspect: {} for aspect in known.paper_aspects},
            )
    return None
