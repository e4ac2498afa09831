"""Stanford Cars: photographs of 196 models of cars; the classes 99 to 196, which metric learning tests on.

The authors' server is gone; Kaggle has copies. Three layouts are read: `car_ims` numbered from 1 to 16185 with
`cars_annos.mat` (or these images directly in the folder); `cars_train` and `cars_test`, each numbered from 1, with the
devkit; and one folder per class. The label is the class's name, of which manufacturer and type are read off.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import DatasetError, preview
from . import car_classes
from .benchmark import Aspect, Benchmark, Description, join_labels, unlabelled
from .files import absent, by_name, images, places

NAME = "cars196"
MODEL, MANUFACTURER, TYPE = Aspect("car model"), Aspect("car manufacturer"), Aspect("car type")
DESCRIPTION = Description(
    name=NAME,
    aspects=(MODEL, MANUFACTURER, TYPE),
    images=8131,
    where="Kaggle, with an account (1.8 GB): `cie datasets download cars196` says how",
    terms="for research (Krause et al., 3dRR 2013); the photographs belong to their photographers",
)
TRAINING_IMAGES = 8054  # of the classes 1 to 98; in the combined numbering the test half begins after them
DEVKIT_IMAGES = 8144  # of cars_train; the larger of the two splits that are numbered from 1 each
COMBINED, TEST, TRAIN = "cars_annos.mat", "cars_test_annos_withlabels*.mat", "cars_train_annos.mat"


def find(directory: Path, *, allow_missing: bool = False, keep_unlabelled: bool = False) -> Benchmark:
    """Read the benchmark from `directory`/cars196, or from `directory` itself.

    Raises:
        DatasetError: no layout is there, its annotation is missing, or its files do not fit each other.
    """
    remedy = f"`cie datasets download cars196 {directory}` says how to get the rest"
    for place in places(NAME, directory):
        if _folder(place, "cars_train") or _folder(place, "cars_test"):
            classes, annotation = _devkit(place, allow_missing, remedy)
            files = {
                f"{split}/{path.name}": path
                for split in ("cars_train", "cars_test")
                if (folder := _folder(place, split))
                for path in images(folder, depth=0)
            }
        elif files := {path.relative_to(place).as_posix(): path for path in _in_class_folders(place)}:
            classes = {name: car_classes.named(path.parent.name) or "" for name, path in files.items()}
            annotation = place
        elif files := by_name(_numbered(_folder(place, "car_ims") or place)):
            found = _annotation(place, COMBINED)
            if found is None:
                raise DatasetError(
                    f"{place}: {COMBINED}, which says the classes of numbered images, is missing: put it beside them; "
                    f"{remedy}"
                )
            classes, annotation = _combined(found), found
        else:
            continue
        labels = {name: _labels(of) for name, of in classes.items() if car_classes.is_test(of)}
        if not labels:
            raise DatasetError(f"{annotation} has no image of the classes 99-196, which are the test half; {remedy}")
        test = {name: path for name, path in files.items() if name in labels or name not in classes}
        return join_labels(
            NAME,
            place,
            labels,
            test,
            annotation=annotation,
            remedy=remedy,
            allow_missing=allow_missing,
            keep_unlabelled=keep_unlabelled,
        )
    raise absent(
        NAME,
        directory,
        "car_ims, cars_test, folders named as the classes, cars_annos.mat beside images",
        f"get it: cie datasets download {NAME} {directory}",
    )


def find_images(directory: Path) -> Benchmark | None:
    """The images without their classes: those above 8054 of the combined numbering, else all that are there."""
    here = places(NAME, directory, named=True)
    return unlabelled(DESCRIPTION, ((place, _of_test_half(images(place))) for place in here))


def _of_test_half(paths: Sequence[Path]) -> Sequence[Path]:
    """The combined numbering is known by its six digits, or by numbers that are beyond each of the devkit's splits."""
    numbers = [path.stem for path in paths if path.stem.isdigit()]
    if not any(len(number) == 6 or int(number) > DEVKIT_IMAGES for number in numbers):
        return paths
    return [path for path in paths if not path.stem.isdigit() or int(path.stem) > TRAINING_IMAGES]


def _labels(name: str) -> dict[Aspect, str]:
    return {MODEL: name, MANUFACTURER: car_classes.manufacturer(name), TYPE: car_classes.car_type(name)}


def _combined(table: Path) -> dict[str, str]:
    """File name to class, of `cars_annos.mat`."""
    content = _mat(table)
    names = [car_classes.official(str(name), table) for name in _of(content, "class_names", table)]
    classes = _classes(content, table, names, "relative_im_path", "")
    for name, of in classes.items():
        number = re.search(r"\d+", name)
        if number is None or (int(number[0]) > TRAINING_IMAGES) is not car_classes.is_test(of):
            raise DatasetError(
                f"{table}: {name} is of the class {of!r}, but images above {TRAINING_IMAGES} are those of the classes "
                "99-196: this is another numbering; get the file again"
            )
    return classes


def _devkit(place: Path, allow_missing: bool, remedy: str) -> tuple[dict[str, str], Path]:
    """`cars_train/00001.jpg` to class, and the annotation file for messages."""
    meta = _annotation(place, "cars_meta.mat")
    names = list(car_classes.CLASSES)
    if meta:
        names = [car_classes.official(str(name), meta) for name in _of(_mat(meta), "class_names", meta)]
    classes: dict[str, str] = {}
    read: list[Path] = []
    for split, file in (("cars_test", TEST), ("cars_train", TRAIN)):
        found = _annotation(place, file)
        if found:
            classes |= _classes(_mat(found), found, names, "fname", f"{split}/")
            read.append(found)
        elif not allow_missing:
            raise DatasetError(
                f"{place}: {file.replace('*', '')} is missing, which says the classes of {split} (cars_test_annos.mat "
                f"has none, {COMBINED} is of another numbering); {remedy}"
            )
    if not read:
        raise DatasetError(f"{place}: neither {TRAIN} nor {TEST.replace('*', '')} is here; {remedy}")
    return classes, read[0]


def _classes(content: Mapping[str, Any], table: Path, names: list[str], file_field: str, prefix: str) -> dict[str, str]:
    """File name to class name of the table's `annotations`."""
    classes: dict[str, str] = {}
    annotations = _of(content, "annotations", table)
    fields = annotations.dtype.names or ()
    if lacking := [field for field in (file_field, "class") if field not in fields]:
        raise DatasetError(f"{table}: its annotations have no {preview(lacking)}, but {preview(fields) or 'nothing'}")
    for row, annotation in enumerate(annotations, 1):
        name = f"{prefix}{str(annotation[file_field]).rpartition('/')[2]}"
        number = int(annotation["class"])
        if not 1 <= number <= len(names):
            raise DatasetError(f"{table}, annotation {row}: class {number} is none of 1-{len(names)}")
        if name in classes:
            raise DatasetError(f"{table}, annotation {row}: {name} is there twice; get the file again")
        classes[name] = names[number - 1]
    return classes


def _mat(path: Path) -> Mapping[str, Any]:
    """The variables of a MATLAB file: numbers, text and structs. It holds no code."""
    from scipy.io import loadmat

    try:
        content: Mapping[str, Any] = loadmat(path, squeeze_me=True)
    except Exception as error:  # scipy raises all kinds for a broken file
        raise DatasetError(f"{path} cannot be read: {' '.join(str(error).split())[:200]}; get it again") from error
    return content


def _of(content: Mapping[str, Any], variable: str, table: Path) -> Any:
    import numpy as np

    if variable not in content:
        raise DatasetError(f"{table} has no {variable}; it is not the file of that name, or broken: get it again")
    return np.atleast_1d(content[variable])


def _folder(place: Path, name: str) -> Path | None:
    """A folder of images; Kaggle's archives put it into one of the same name."""
    return next((folder for folder in (place / name / name, place / name) if folder.is_dir()), None)


def _annotation(place: Path, pattern: str) -> Path | None:
    """An annotation file here or in the folders that archives make: `devkit`, `car_devkit/devkit` and the like."""
    return next((path for depth in ("", "*/", "*/*/") for path in sorted(place.glob(f"{depth}{pattern}"))), None)


def _numbered(folder: Path) -> list[Path]:
    return [path for path in images(folder, depth=0) if path.stem.isdigit()]


def _in_class_folders(place: Path, depth: int = 3) -> Iterator[Path]:
    """The images of the folders that are named as a class, in whatever folders of splits these are."""
    for folder in sorted(path for path in place.iterdir() if path.is_dir()):
        if car_classes.named(folder.name):
            yield from images(folder, depth=0)
        elif depth and folder.name[0] not in "._":
            yield from _in_class_folders(folder, depth - 1)
