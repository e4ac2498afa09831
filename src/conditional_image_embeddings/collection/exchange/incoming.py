"""What is imported: rows with the place that they were read at, and what is said of vectors that do not say it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import datasets
from ...datasets.labelled import UNIVERSAL
from ...errors import OptionError, SourceError
from ...inputs.conditions import checked_condition
from ...inputs.folders import path_to_text
from ...inputs.sources import find
from ...methods.settings import Setting
from .provenance import Provenance

IMPORTED = "imported"  # in a setting's `extra`: the format of vectors that this package did not make
LONGEST_ID = 4096  # characters
MOST_DIMENSIONS = 1_000_000


@dataclass
class Incoming:
    """One row of a file, or why it is none.

    Attributes:
        place: File and line, or row, for messages.
        provenance: What made it; None where the row is unusable.
        image_id: The image's id, or, of vectors that another tool made, its path or name.
        vector: float32 (d,).
        words: Those that explain it.
        image: What is known of the image, as columns of `images`.
        problem: Why it cannot be taken.
    """

    place: str
    provenance: Provenance | None = None
    image_id: Any = None
    vector: NDArray[np.float32] | None = None
    words: list[tuple[str, float]] | None = None
    image: dict[str, Any] = field(default_factory=dict)
    problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What the user says of vectors that another tool made; of those that this package exported nothing is asked.

    Attributes:
        source: The file or folder that is imported.
        dataset: The name that they are stored under; by default what the files say, or the source's name.
        method: By default what the files say, or "imported".
        model: What made them.
        condition: What they were made under.
        images: The folder with their images, or that of the benchmarks: ids are looked up there.
    """

    source: Path
    dataset: str | None = None
    method: str | None = None
    model: str | None = None
    condition: str | None = None
    images: Path | None = None

    def provenance(self, format: str, **read: Any) -> Provenance:  # noqa: A002
        """Of vectors that another tool made: what was read of them, and what the user says instead.

        Raises:
            OptionError: nothing says which model made them.
        """
        said = {name: getattr(self, name) for name in ("dataset", "method", "model", "condition")}
        known = {**read, **{name: value for name, value in said.items() if value is not None}}
        if not known.get("model"):
            raise OptionError(f"{self.source} does not say which model made its vectors: name it with --model (model=)")
        known["condition"] = checked_condition(known.get("condition"))
        dataset, source = self._place(known.pop("dataset", None))
        extra = {**known.pop("extra", {}), IMPORTED: format}
        method = known.pop("method", None) or IMPORTED
        return Provenance(Setting(dataset=dataset, source=source, method=method, extra=extra, **known))

    def _place(self, named: str | None) -> tuple[str, str | None]:
        """Dataset and source. A benchmark is the same wherever it lies, and has no source."""
        if named is not None and named.replace("-", "_") in datasets.NAMES:
            return named.replace("-", "_"), None
        if named in UNIVERSAL:
            return named, None
        place = (self.images or self.source).absolute()
        return named or path_to_text(place.stem), path_to_text(place)

    def files(self, dataset: str) -> "Files | None":
        """The images that ids are looked up in, if the user named them.

        Raises:
            SourceError: there are none.
        """
        if self.images is None:
            return None
        if dataset in datasets.NAMES:
            return Files(dict(datasets.get_images(dataset, self.images).images))
        found = (each for source in find([self.images]) for each in source.references())
        return Files({image_id: place for image_id, place in found if isinstance(place, Path)})


class Files:
    """Images by their ids, found by an id, a path, or a file's name without its suffix."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        if not files:
            raise SourceError("there are no image files to look ids up in: name their folder with --images")
        self._files = files
        self._by_path = {path_to_text(path.absolute()): image_id for image_id, path in files.items()}
        self._by_stem: dict[str, list[str]] = {}
        for image_id, path in files.items():
            self._by_stem.setdefault(path_to_text(path.stem), []).append(image_id)

    def __getitem__(self, image_id: str) -> Path:
        return self._files[image_id]

    def find(self, given: str) -> tuple[str | None, str | None]:
        """The image's id, or why there is none."""
        if given in self._files:
            return given, None
        if by_path := self._by_path.get(given):
            return by_path, None
        several = self._by_stem.get(given) or self._by_stem.get(Path(given).stem, [])
        if len(several) == 1:
            return several[0], None
        return None, f"{len(several)} images are called {given!r}" if several else f"no image {given!r} in --images"
