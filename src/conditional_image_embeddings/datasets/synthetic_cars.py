"""Synthetic cars: 3-D cars whose model, colour and background vary independently (Kobs et al., ICCV 2021).

The original's link is dead; `make` renders a benchmark of the same idea and metadata with two aspects more, the same
images on every machine. `find` reads both, as `cars/*.png` beside `cars.csv` or with the images directly beside it, and
the paper's reference, which has a table of another name.
"""

import csv
import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import DatasetError, OptionError
from .benchmark import Aspect, Benchmark, Description, join_labels, unlabelled
from .car_colors import colour_name
from .car_renderer import render, sample_scene
from .files import absent, images, is_unnamed, places, table, table_of

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
_COLUMNS = [column for aspect in _ORIGINAL for column in _LABELS[aspect][0]]

DESCRIPTION = Description(
    name=NAME,
    aspects=tuple(_LABELS),
    extra_aspects=_ADDED,
    images=len(TEST_FRAMES),
    where="rendered in seconds by `cie datasets make synthetic-cars`; the original of Kobs et al. (ICCV 2021), whose "
    "link is gone, is read too",
    terms="what is rendered here is free to use; the original's terms are its authors'",
)


def find(directory: Path, *, allow_missing: bool = False, keep_unlabelled: bool = False) -> Benchmark:
    """Read the benchmark from `directory`/synthetic_cars, or from `directory` itself.

    Raises:
        DatasetError: the table of labels is missing or broken, or it and the images do not list the same frames.
    """
    remedy = f"make them: cie datasets make synthetic-cars {directory}"
    for place in places(NAME, directory):
        own = place / "cars.csv"
        if annotation := own if own.is_file() else table_of(NAME, place, _COLUMNS):
            return join_labels(
                NAME,
                place,
                _labels(annotation),
                _by_frame(_images(place)),
                annotation=annotation,
                noun="frames",
                remedy=remedy,
                allow_missing=allow_missing,
                keep_unlabelled=keep_unlabelled,
            )
    raise absent(NAME, directory, f"cars.csv, a table with the columns {', '.join(_COLUMNS)}", remedy)


def find_images(directory: Path) -> Benchmark | None:
    """The images of the test frames without their labels."""
    here = places(NAME, directory, named=True)
    return unlabelled(DESCRIPTION, ((place, _by_frame(_images(place)).values()) for place in here))


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
        raise OptionError(f"images is {images}; the benchmark has {TEST_FRAMES[0]} to {TEST_FRAMES[-1]}")
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


def _labels(annotation: Path) -> dict[int, dict[Aspect, str]]:
    """Test frame to its labels."""
    rows = table(annotation, _COLUMNS)
    numbers = _frame_column(annotation, [row for _, row in rows])
    labels: dict[int, dict[Aspect, str]] = {}
    for line, row in rows:
        try:
            frame = int(_present(row[numbers]))
            if frame not in TEST_FRAMES:
                continue
            if frame in labels:
                raise DatasetError(f"{annotation}, line {line}: frame {frame} is there twice; leave one of the rows")
            labels[frame] = {
                aspect: name(*(_present(row[column]) for column in columns))
                for aspect, (columns, name) in _LABELS.items()
                if columns[0] in row
            }
        except (ValueError, ArithmeticError) as error:
            raise DatasetError(f"{annotation}, line {line} is broken: {error}; get or make the file again") from error
    if not labels:
        raise DatasetError(
            f"{annotation} has no frame between {TEST_FRAMES[0]} and {TEST_FRAMES[-1]}; get or make it again"
        )
    return dict(sorted(labels.items()))  # by frame, as the paper's code has them


def _frame_column(annotation: Path, rows: Sequence[Mapping[str, str]]) -> str:
    """The column of the frames' numbers: `frame`, or a first one without a name, as pandas writes an index."""
    columns = list(rows[0]) if rows else ["frame"]
    if "frame" in columns:
        return "frame"
    if not is_unnamed(columns[0]):
        raise DatasetError(f"{annotation} has no column frame; get or make it again")
    if any(row[columns[0]] == "0" for row in rows):
        raise DatasetError(
            f"{annotation}: its first column has no name and counts from 0, but the frames begin with 1: if it counts "
            "rows, add a column `frame`; if it counts frames, name it so"
        )
    return columns[0]


def _present(text: str) -> str:
    if not text:
        raise ValueError("a value is missing")  # caught: `_labels` says of which row
    return text


def _images(place: Path) -> list[Path]:
    return images(place / "cars" if (place / "cars").is_dir() else place, depth=0)


def _by_frame(paths: Iterable[Path]) -> dict[int, Path]:
    """Test frame to its image: the number at the end of the file's name. A name without one is not the benchmark's."""
    frames: dict[int, Path] = {}
    for path in paths:
        number = re.search(r"\d+$", path.stem)
        if number is None or int(number[0]) not in TEST_FRAMES:
            continue
        frame = int(number[0])
        if frame in frames:
            raise DatasetError(f"frame {frame} has two images: {frames[frame]} and {path}; leave one of them")
        frames[frame] = path
    return frames
