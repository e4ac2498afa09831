"""Reading synthetic cars: both layouts, labels by frame, and one clear line for whatever is wrong with the files."""

import csv
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from conditional_image_embeddings import datasets
from conditional_image_embeddings.datasets.synthetic_cars import make
from conditional_image_embeddings.errors import DatasetError

RED, BLUE = ("0.5", "2.0", "2.0"), ("0.166667", "2.0", "2.0")  # the metadata's own HSV: hue turned, the rest doubled
COLUMNS = ["frame", "model", *(f"{kind}color_{part}" for kind in ("", "bg_") for part in ("hue", "sat", "val"))]


def row(
    frame: int, model: str = "sedan", color: tuple[str, ...] = RED, background: tuple[str, ...] = BLUE
) -> list[str]:
    return [str(frame), model, *color, *background]


def lay_out(
    directory: Path, rows: list[list[str]], frames: list[int], columns: list[str] = COLUMNS, *, images: str = "cars"
) -> Path:
    """A dataset as the original has it: `images` is the folder of the pictures, "" for the flat layout."""
    root = directory / "synthetic_cars"
    (root / images).mkdir(parents=True)
    with (root / "cars.csv").open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    for frame in frames:
        Image.new("RGB", (8, 8)).save(root / images / f"{frame:04}.png")
    return root


def labels(benchmark: datasets.Benchmark, name: str) -> Any:
    return next(labels for aspect, labels in benchmark.labels.items() if aspect.name == name)


@pytest.mark.parametrize(("images", "prefix"), [("cars", "cars/"), ("", "")])
def test_both_layouts_are_read(tmp_path: Path, images: str, prefix: str) -> None:
    lay_out(tmp_path, [row(2, "van", BLUE, RED), row(1)], [1, 2], images=images)
    for name in ("synthetic_cars", "synthetic-cars"):
        cars = datasets.get(name, tmp_path)
        assert [image_id for image_id, _ in cars] == [f"{prefix}0001.png", f"{prefix}0002.png"]
        assert all(path.is_file() for _, path in cars)
        assert (cars.dataset, cars.root, len(cars)) == ("synthetic_cars", str(tmp_path / "synthetic_cars"), 2)
        assert labels(cars, "car model") == {f"{prefix}0001.png": "sedan", f"{prefix}0002.png": "van"}
        assert labels(cars, "car color") == {f"{prefix}0001.png": "red", f"{prefix}0002.png": "blue"}
        assert labels(cars, "background color") == {f"{prefix}0001.png": "blue", f"{prefix}0002.png": "red"}


def test_the_dataset_s_own_directory_may_be_named(tmp_path: Path) -> None:
    root = lay_out(tmp_path, [row(1)], [1])
    assert datasets.get("synthetic_cars", root).root == str(root)
    root.rename(tmp_path / "synthetic-cars")
    assert len(datasets.get("synthetic_cars", tmp_path)) == 1


def test_only_test_frames_count(tmp_path: Path) -> None:
    lay_out(tmp_path, [row(0), row(1), row(1000), row(1001)], [0, 1, 1000, 1001, 1002])
    assert [image_id for image_id, _ in datasets.get("synthetic_cars", tmp_path)] == ["cars/0001.png", "cars/1000.png"]


def test_aspects_are_those_that_the_file_has_columns_for(tmp_path: Path) -> None:
    paper = ["car model", "car color", "background color"]
    lay_out(tmp_path / "original", [row(1)], [1])
    assert [aspect.condition for aspect in datasets.get("synthetic_cars", tmp_path / "original").aspects] == paper
    columns = [*COLUMNS, "viewpoint", "pattern"]
    lay_out(tmp_path / "ours", [[*row(1), "left", "striped"]], [1], columns)
    ours = datasets.get("synthetic_cars", tmp_path / "ours")
    assert [aspect.condition for aspect in ours.aspects] == [*paper, "viewpoint", "paint pattern"]
    assert labels(ours, "viewpoint") == {"cars/0001.png": "left"}
    assert labels(ours, "paint pattern") == {"cars/0001.png": "striped"}


def test_what_is_made_is_read_with_all_aspects(tmp_path: Path) -> None:
    make(tmp_path / "synthetic_cars", images=12)
    cars = datasets.get("synthetic_cars", tmp_path)
    described = datasets.describe()[0]
    assert [aspect.name for aspect in cars.aspects] == described["aspects"]
    assert len(cars) == 12
    assert all(len(labels) == 12 and all(labels.values()) for labels in cars.labels.values())


def test_a_missing_dataset_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"nothing .*cars\.csv.*cie datasets make synthetic-cars "):
        datasets.get("synthetic_cars", tmp_path)


def test_an_unknown_dataset_names_the_known() -> None:
    with pytest.raises(DatasetError, match=r"unknown dataset 'cub300'; known: synthetic_cars"):
        datasets.get("cub300")


@pytest.mark.parametrize(
    ("rows", "frames", "message"),
    [
        ([row(1), row(2), row(3)], [2], r"cars\.csv: 2 of 3 frames have no image: 1, 3; make them: cie datasets make"),
        ([row(1)], [1, 7], r"cars\.csv: 1 frames have no label here: 7; "),
        ([row(1), row(1)], [1], r"cars\.csv, line 3: frame 1 is there twice"),
        ([row(1), ["2", "sedan"]], [1, 2], r"cars\.csv, line 3: 2 values for 8 columns"),
        ([row(1), ["2", "", *row(2)[2:]]], [1, 2], r"cars\.csv, line 3 is broken: a value is missing"),
        ([["one", *row(1)[1:]]], [1], r"cars\.csv, line 2 is broken: .*'one'"),
        ([row(1, color=("0.5", "bright", "2.0"))], [1], r"cars\.csv, line 2 is broken: .*'bright'"),
        ([row(1, color=("nan", "1.0", "2.0"))], [1], r"cars\.csv, line 2 is broken"),
        ([row(5000)], [1], r"cars\.csv has no frame between 1 and 1000"),
        ([], [1], r"cars\.csv has no frame"),
    ],
)
def test_files_that_do_not_fit_each_other_are_refused(
    tmp_path: Path, rows: list[list[str]], frames: list[int], message: str
) -> None:
    lay_out(tmp_path, rows, frames)
    with pytest.raises(DatasetError, match=message):
        datasets.get("synthetic_cars", tmp_path)


def test_what_is_missing_may_be_left_out(tmp_path: Path) -> None:
    lay_out(tmp_path, [row(1), row(2), row(3)], [2, 7])
    assert [image_id for image_id, _ in datasets.get("synthetic_cars", tmp_path, allow_missing=True)] == [
        "cars/0002.png"
    ]


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    lay_out(tmp_path, [["1", "sedan"]], [1], ["frame", "model"])
    with pytest.raises(DatasetError, match=r"cars\.csv has no column color_hue, .* and 1 more"):
        datasets.get("synthetic_cars", tmp_path)


def test_two_images_of_a_frame_are_named(tmp_path: Path) -> None:
    root = lay_out(tmp_path, [row(1)], [1])
    Image.new("RGB", (8, 8)).save(root / "cars" / "car_1.png")
    with pytest.raises(DatasetError, match=r"frame 1 has two images: .*0001\.png and .*car_1\.png"):
        datasets.get("synthetic_cars", tmp_path)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00broken", b""])
def test_an_unreadable_table_is_named(tmp_path: Path, content: bytes) -> None:
    root = lay_out(tmp_path, [row(1)], [1])
    (root / "cars.csv").write_bytes(content)
    with pytest.raises(DatasetError, match=r"cars\.csv"):
        datasets.get("synthetic_cars", tmp_path)


def test_frames_are_the_same_whenever_and_however_many_are_made(tmp_path: Path) -> None:
    for images in (3, 5):
        make(tmp_path / str(images) / "synthetic_cars", images=images)
    few, more = (tmp_path / str(images) / "synthetic_cars" for images in (3, 5))
    assert all(path.read_bytes() == (more / "cars" / path.name).read_bytes() for path in (few / "cars").iterdir())
    assert (more / "cars.csv").read_bytes().startswith((few / "cars.csv").read_bytes())
    assert len({path.read_bytes() for path in (more / "cars").iterdir()}) == 5


def test_making_again_changes_nothing_and_overwrites_nothing(tmp_path: Path) -> None:
    place = tmp_path / "synthetic_cars"
    (tmp_path / "synthetic_cars.part").mkdir()  # what a run that was killed leaves
    (tmp_path / "synthetic_cars.part" / "cars.csv").touch()
    make(place, images=3)
    times = {path: path.stat().st_mtime_ns for path in place.rglob("*")}
    make(place, images=3)
    with pytest.raises(DatasetError, match=r"already holds 3 images, not 4; remove it or name another place"):
        make(place, images=4)
    assert {path: path.stat().st_mtime_ns for path in place.rglob("*")} == times
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "cars.txt").touch()
    with pytest.raises(DatasetError, match="mine"):
        make(tmp_path / "mine", images=3)
    with pytest.raises(ValueError, match="images is 1001; the benchmark has 1 to 1000"):
        make(tmp_path / "more", images=1001)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "synthetic_cars"]
