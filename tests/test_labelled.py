"""Labelled images that are no benchmark of the paper: folders, tables, and the universal sets' lists."""

import json
from pathlib import Path

import pytest
from miniatures import picture, write

from conditional_image_embeddings.datasets import Aspect
from conditional_image_embeddings.datasets.labelled import NONE, from_folders, from_list, from_table
from conditional_image_embeddings.errors import DatasetError


def test_a_folder_is_its_images_label(tmp_path: Path) -> None:
    names = ["train/hat/1.jpg", "train/shoe/1.jpg", "test/hat/1.jpg"]
    for name in names:
        picture(tmp_path / "clothing" / name)
    found = from_folders(tmp_path / "clothing", "clothing category")
    assert found.dataset == "clothing"
    assert found.labels == {Aspect("clothing category"): {name: name.split("/")[1] for name in names}}
    assert dict(found) == {name: tmp_path / "clothing" / name for name in names}
    assert from_folders(tmp_path / "clothing", "kind", name="mine").dataset == "mine"


def test_folders_that_are_no_classes_are_refused(tmp_path: Path) -> None:
    picture(tmp_path / "one" / "hat" / "1.jpg")
    with pytest.raises(DatasetError, match=r"at least 2 classes"):
        from_folders(tmp_path / "one", "kind")
    picture(tmp_path / "one" / "2.jpg")
    with pytest.raises(DatasetError, match=r"1 images are in no class's folder: 2\.jpg"):
        from_folders(tmp_path / "one", "kind")
    with pytest.raises(DatasetError, match=r"nowhere is not a folder"):
        from_folders(tmp_path / "nowhere", "kind")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in ("a/1.jpg", "a/2.png"):
        picture(tmp_path / "photos" / name)
    return tmp_path / "photos"


@pytest.mark.parametrize(
    "lines",
    [
        ["image_id,car color,car_model", "a/2.png,red,van", "a/1.jpg,blue,bus"],
        ["\ufeffimage_id,car color,car_model", "a/2.png,red,van", "a/1.jpg,blue,bus"],
        [",,photo,car_color,car_model", "0,0,a/2,red,van", "1,1,a/1,blue,bus"],  # twice without a name
        ["car color\tfile_names\tcar model", "red\t./a/2.png\tvan", "blue\ta/1\tbus", ""],
        ["photo,car_color,car_model", '"a/2",red,van', "a/1,blue,bus"],
        [",photo,car_color,car_model", "0,a/2,red,van", "1,a/1,blue,bus"],  # pandas counts its rows
        ["Unnamed: 0,car_color,path,car_model", "0,red,a/2.png,van", "1,blue,a/1,bus"],
        [",car_color,car_model", "./a/2.png,red,van", "./a/1.jpg,blue,bus"],  # or has the ids as its index
    ],
)
def test_a_table_s_columns_are_aspects(photos: Path, tmp_path: Path, lines: list[str]) -> None:
    write(tmp_path / "labels.csv", lines)
    found = from_table(photos, tmp_path / "labels.csv")
    assert found.labels == {
        Aspect("car color"): {"a/1.jpg": "blue", "a/2.png": "red"},
        Aspect("car model"): {"a/1.jpg": "bus", "a/2.png": "van"},
    }
    (aspect,) = from_table(photos, tmp_path / "labels.csv", aspects=[Aspect("car color", "colour of the car")]).aspects
    assert aspect.condition == "colour of the car"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["id,color", "a/1.jpg,red"], r"labels\.csv: 1 images have no label here: a/2\.png; table and folder"),
        (["id,color", "a/1,red", "a/2,red", "a/3,red"], r"1 of 3 images have no image: a/3"),
        (["id,color", "a/1,red", "a/1.jpg,red"], r"line 3: a/1\.jpg is there twice"),
        (["id,color", "a/1,red", "a/2,"], r"line 3: color is empty"),
        (["id,color", "a/1,red", "a/2"], r"line 3: 1 values for 2 columns"),
        (["id,color", "a/1,red", ",red"], r"line 3: id is empty"),
        (["id", "a/1"], r"has no column of labels"),
        (["id,color,color", "a/1,red,blue", "a/2,red,blue"], r"has the column color more than once; leave one of them"),
        (["\ufeffid,color,id", "a/1,red,a/2", "a/2,red,a/1"], r"has the column id more than once"),
        (["id\tcolor\tmood\tcolor", "a/1\tred\tx\tblue"], r"has the column color more than once"),
        (["id,car color,car_color", "a/1,red,blue", "a/2,red,blue"], r"has 'car color' and 'car_color', one name"),
        (["id,color"], r"has no rows"),
        ([], r"has no rows"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(photos: Path, tmp_path: Path, lines: list[str], message: str) -> None:
    write(tmp_path / "labels.csv", lines)
    with pytest.raises(DatasetError, match=message):
        from_table(photos, tmp_path / "labels.csv")


def test_the_rest_may_be_left_out(photos: Path, tmp_path: Path) -> None:
    write(tmp_path / "labels.csv", ["id,color", "a/1,red", "a/3,blue"])
    found = from_table(photos, tmp_path / "labels.csv", allow_missing=True)
    assert found.labels == {Aspect("color"): {"a/1.jpg": "red"}}
    with pytest.raises(DatasetError, match=r"no column mood; it has color"):
        from_table(photos, tmp_path / "labels.csv", aspects=["mood"])
    with pytest.raises(DatasetError, match=r"nothing\.csv cannot be read: No such file"):
        from_table(photos, tmp_path / "nothing.csv")


def test_a_universal_set(tmp_path: Path) -> None:
    rows = [{"path": "images/met/1.jpg", "class_id": 7}, {"path": "images/met/2.jpg", "class_id": 8}]
    for row in (*rows, {"path": "images/met/training.jpg"}):
        picture(tmp_path / str(row["path"]))
    write(tmp_path / "info_files" / "met" / "test.json", [json.dumps(rows)])
    found = from_list("met", tmp_path)
    assert found.labels == {NONE: {"images/met/1.jpg": "7", "images/met/2.jpg": "8"}}
    assert (NONE.name, NONE.condition) == ("none", None)
    (tmp_path / "info_files" / "met").rename(tmp_path / "info_files" / "cars")  # whose classes the paper's code names
    assert [aspect.condition for aspect in from_list("cars", tmp_path).aspects] == ["car model"]
    (tmp_path / "info_files" / "cars").rename(tmp_path / "info_files" / "met")
    (tmp_path / "images/met/2.jpg").unlink()
    with pytest.raises(DatasetError, match=r"test\.json: 1 of 2 images have no image: images/met/2\.jpg; put them"):
        from_list("met", tmp_path)
    assert len(from_list("met", tmp_path, allow_missing=True)) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[{", r"test\.json is broken"),
        ("[" * 100_000, r"test\.json is broken"),
        ("{}", r"is not a list of images"),
        ('[{"path": "1.jpg"}]', r"image 1 is not"),
        ('[{"path": "../1.jpg", "class_id": 1}]', r"image 1: \.\./1\.jpg is outside"),
        (
            '[{"path": "1.jpg", "class_id": 1}, {"path": "./1.jpg", "class_id": 1}]',
            r"image 2: \./1\.jpg is there twice",
        ),
    ],
)
def test_a_broken_list_is_refused(tmp_path: Path, content: str, message: str) -> None:
    write(tmp_path / "info_files" / "sop" / "test.json", [content])
    with pytest.raises(DatasetError, match=message):
        from_list("sop", tmp_path)


def test_unknown_and_missing_lists(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"unknown universal set 'imagenet'; known: cars, food2k"):
        from_list("imagenet", tmp_path)
    with pytest.raises(DatasetError, match=r"there is no .*info_files/rp2k/test\.json"):
        from_list("rp2k", tmp_path)


def test_labels_and_aspects_are_in_one_spelling(photos: Path, tmp_path: Path) -> None:
    write(tmp_path / "labels.csv", ["photo,caf\u00e9", "a/1,cr\u00e8me", "a/2,cre\u0300me"])
    found = from_table(photos, tmp_path / "labels.csv", aspects=["cafe\u0301"])
    assert found.labels == {Aspect("caf\u00e9"): {"a/1.jpg": "cr\u00e8me", "a/2.png": "cr\u00e8me"}}
