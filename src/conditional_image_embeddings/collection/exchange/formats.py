"""The formats: one entry each, which is all that the commands know of them. Importing this loads none of them.

A format is a module with `write(selection, place)`, and `read(source, origin)` if it comes back too.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import OptionError

if TYPE_CHECKING:
    from .incoming import Incoming, Origin
    from .selection import Selection


@dataclass(frozen=True, kw_only=True)
class Format:
    """One way of laying down vectors.

    Attributes:
        name: As `--format` takes it.
        description: What it is, in one line.
        module: Where it is written and read, beside this file.
        suffix: Of the file that is written; None writes a folder.
        is_folder_too: Whether a target without the suffix is a folder, with a file per setting.
        comes_back: Whether it can be imported.
    """

    name: str
    description: str
    module: str
    suffix: str | None = None
    is_folder_too: bool = False
    comes_back: bool = False

    def writes_file(self, target: Path) -> bool:
        """Whether a target is a file, not a folder.

        Raises:
            OptionError: the format's file has another suffix.
        """
        if self.suffix is not None and target.suffix.lower() == self.suffix:
            return True
        if self.suffix is not None and not self.is_folder_too:
            raise OptionError(f"{self.name} writes one file: name it *{self.suffix}, not {target.name!r}")
        return False

    def write(self, selection: "Selection", place: Path) -> Sequence[str]:
        """Write what is selected to a file or folder that is not there yet.

        Returns:
            What to do with it, a line each.
        """
        lines: Sequence[str] = import_module(f".{self.module}", __package__).write(selection, place)
        return lines

    def read(self, source: Path, origin: "Origin") -> "Iterator[Incoming]":
        """The rows of a file or folder, those that are unusable with their problem."""
        rows: Iterator[Incoming] = import_module(f".{self.module}", __package__).read(source, origin)
        return rows


FORMATS = {
    each.name: each
    for each in (
        Format(
            name="npy",
            description="clip-retrieval's folders: img_emb/*.npy beside metadata/*.parquet",
            module="npy",
            comes_back=True,
        ),
        Format(
            name="parquet",
            description="a Parquet file, or a folder with one per condition, without loss",
            module="parquet",
            suffix=".parquet",
            is_folder_too=True,
            comes_back=True,
        ),
        Format(
            name="jsonl",
            description="one JSON object per line, without loss",
            module="jsonl",
            suffix=".jsonl",
            comes_back=True,
        ),
        Format(
            name="reference",
            description="the folders of the paper's code, one JSON file per vector",
            module="reference",
            comes_back=True,
        ),
        Format(
            name="embedding-atlas",
            description="a Parquet file for Apple's Embedding Atlas: a map, words, neighbors",
            module="embedding_atlas",
            suffix=".parquet",
        ),
        Format(
            name="fiftyone", description="a FiftyOneDataset with a similarity index per condition", module="fiftyone"
        ),
        Format(name="huggingface", description="a folder for Hugging Face datasets", module="huggingface"),
    )
}


def find(name: str) -> Format:
    """The format of this name.

    Raises:
        OptionError: there is none; the message lists them.
    """
    if name not in FORMATS:
        raise OptionError(f"unknown format {name!r}; known: {', '.join(FORMATS)}")
    return FORMATS[name]
