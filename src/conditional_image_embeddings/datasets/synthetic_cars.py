"""Synthetic cars: 3-D cars whose model, colour and background vary independently (Kobs et al., ICCV 2021).

The original's link is dead; `make` renders a benchmark of the same idea and metadata with two aspects more, the same
images on every machine. `find` reads both, as `cars/*.png` beside `cars.csv` or with the images directly beside it.
"""

import csv
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import DatasetError, some
from .benchmark import Aspect, Benchmark, Description, joined
from .car_colors import colour_name
from .car_renderer import render, sample_scene
from .files import absent, places

NAME = "synthetic_cars"
TEST_FRAMES = range(1, 1001)  # paper, section 4.1; the original has more, for training
SEED = 42


def _color(hue: str, sat: str, val: str) -> str:
    return colour_name(float(hue), float(sat), float(val))


# Aspect -> the columns of cars.csv that decide its label, and how.
_LABELS: dict[Aspect, tuple[tuple[str, ...], Callable[..., str]]] = {
    Aspect("car model"): (("model",), str),
    Aspect("car color"): (("color_hue", "color_sat", "color_val"), _color),
    Aspect("background color"): (("bg_color_hue", "bg_color_sat", "bg_color_val"), _color),
    Aspect("viewpoint"): (("viewpoint",), str),
    Aspect("paint pattern"): (("pattern",), str),
}
_ORIGINAL, _ADDED = tuple(_LABELS)[:3], tuple(_LABELS)[3:]

DESCRIPTION = Description(
    name=NAME,
    aspects=tuple(_LABELS),
    beyond_paper=_ADDED,
    images=len(TEST_FRAMES),
    where="rendered in seconds by `cie datasets make synthetic-cars`; the original of Kobs et al. (ICCV 2021), whose "
    "link is gone, is read too",
    terms="what is rendered here is free to use; the original's terms are its authors'",
)


def find(directory: Path, *, allow_missing: bool = False) -> Benchmark:
    """Read the benchmark from `directory`/synthetic_cars, or from `directory` itself.

    Raises:
        DatasetError: `cars.csv` is missing or broken, or it and the images do not list the same frames.
    """
    remedy = f"make them: cie datasets make synthetic-cars {directory}"
    root = next((place for place in places(NAME, directory) if (place / "cars.csv").is_file()), None)
    if root is None:
        raise absent(NAME, directory, "cars.csv", remedy)
    table = root / "cars.csv"
    labels = _labels(table)
    images = _images(root / "cars" if (root / "cars").is_dir() else root)
    return joined(
        NAME,
        root,
        labels,
        images,
        annotation=table,
        noun="frames",
        remedy=remedy,
        allow_missing=allow_missing,
    )


def make(directory: Path, *, images: int = len(TEST_FRAMES), show_progress_bar: bool | None = None) -> None:
    """Render the benchmark into `directory`, whole or not at all; a complete one that is there already stays as it is.

    Args:
        directory: The dataset's own directory, such as `datasets/synthetic_cars`.
        images: How many frames; frame k is the same in a larger and a smaller set.
        show_progress_bar: None shows it on a terminal.

    Raises:
        DatasetError: the directory holds something else, which is not touched.
    """
    from tqdm.auto import tqdm

    if images not in TEST_FRAMES:
        raise ValueError(f"images is {images}; the benchmark has {TEST_FRAMES[0]} to {TEST_FRAMES[-1]}")
    if directory.is_dir() and any(directory.iterdir()):
        there = len(find(directory))
        if there != images:
            raise DatasetError(
                f"{directory} already holds {there} images, not {images}; remove it or name another place"
            )
        return
    part = directory.with_name(f"{directory.name}.part")
    shutil.rmtree(part, ignore_errors=True)  # of a run that was stopped
    (part / "cars").mkdir(parents=True)
    disable = None if show_progress_bar is None else not show_progress_bar
    with (part / "cars.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["frame", *(column for columns, _ in _LABELS.values() for column in columns)])
        for frame in tqdm(range(1, images + 1), desc="rendering", unit="image", disable=disable, leave=False):
            scene = sample_scene(np.random.default_rng([SEED, frame]))
            Image.fromarray(render(scene)).save(part / "cars" / f"{frame:04}.png")
            colors = (*scene.color_hsv, *scene.background_hsv)
            table.writerow([frame, scene.model, *colors, scene.viewpoint, scene.pattern])
    part.replace(directory)


def _labels(table: Path) -> dict[int, dict[Aspect, str]]:
    """Test frame to its labels."""
    labels: dict[int, dict[Aspect, str]] = {}
    for line, row in _rows(table):
        try:
            frame = int(_present(row["frame"]))
            if frame not in TEST_FRAMES:
                continue
            if frame in labels:
                raise DatasetError(f"{table}, line {line}: frame {frame} is there twice; leave one of the rows")
            labels[frame] = {
                aspect: name(*(_present(row[column]) for column in columns))
                for aspect, (columns, name) in _LABELS.items()
                if columns[0] in row
            }
        except (ValueError, ArithmeticError) as error:
            raise DatasetError(f"{table}, line {line} is broken: {error}; get or make the file again") from error
    if not labels:
        raise DatasetError(f"{table} has no frame between {TEST_FRAMES[0]} and {TEST_FRAMES[-1]}; get or make it again")
    return labels


def _present(text: str | None) -> str:
    if not text:
        raise ValueError("a value is missing")
    return text


def _rows(table: Path) -> Iterator[tuple[int, Mapping[str, str | None]]]:
    """Line number and row of the CSV file, its columns checked."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            needed = ["frame", *(column for aspect in _ORIGINAL for column in _LABELS[aspect][0])]
            if absent := [column for column in needed if column not in (reader.fieldnames or ())]:
                raise DatasetError(f"{table} has no column {some(absent)}; get or make it again")
            for row in reader:
                yield reader.line_num, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{table} cannot be read: {error}; get or make it again") from error


def _images(folder: Path) -> dict[int, Path]:
    """Test frame to its image: the number at the end of the file's name. A name without one is not the benchmark's."""
    images: dict[int, Path] = {}
    for path in sorted(folder.glob("[!.]*.png")):
        number = re.search(r"\d+$", path.stem)
        if number is None or int(number[0]) not in TEST_FRAMES:
            continue
        frame = int(number[0])
        if frame in images:
            raise DatasetError(f"frame {frame} has two images: {images[frame]} and {path}; leave one of them")
        images[frame] = path
    return images
