"""DeepFashion's category and attribute benchmark, with its fine annotation: the 4,000 images of `Anno_fine/test.txt`.

From the Chinese University of Hong Kong, after accepting its terms. Two layouts are read: the archives as unpacked
(`Anno_fine` beside `img`), and the flat one of the paper's reference: `Dress-img_00000001.jpg` beside a CSV file of
labels. Texture, fabric and fit are patterns of 0 and 1: two images share a label if all of its columns agree.
"""

from collections.abc import Iterator
from pathlib import Path

from ..errors import DatasetError
from .benchmark import Aspect, Benchmark, Description, join_labels, unlabelled
from .files import absent, images, is_whole, lines, places, table, table_of

NAME = "deepfashion"
CATEGORY, TEXTURE, FABRIC, FIT = (
    *(Aspect("clothing category"), Aspect("texture type")),
    *(Aspect("fabric type"), Aspect("fit type")),
)
DESCRIPTION = Description(
    name=NAME,
    aspects=(CATEGORY, TEXTURE, FABRIC, FIT),
    images=4000,
    where="the Multimedia Laboratory of CUHK, with terms to accept: `cie datasets download deepfashion` says how",
    terms="non-commercial research only; not to be passed on (DeepFashion's agreement)",
)
COLUMNS = 26  # of test_attr.txt
UNPACKED = ("Category and Attribute Prediction Benchmark", "Category_and_Attribute_Prediction_Benchmark")
PATTERNS = {TEXTURE: slice(0, 7), FABRIC: slice(17, 23), FIT: slice(23, 26)}
CSV_COLUMNS = {CATEGORY: "clothing_category", TEXTURE: "texture", FABRIC: "fabric", FIT: "fit"}


def find(directory: Path, *, allow_missing: bool = False, keep_unlabelled: bool = False) -> Benchmark:
    """Read the benchmark from `directory`/deepfashion, or from `directory` itself.

    The images that are not listed are those of the other splits, whatever the layout.

    Raises:
        DatasetError: no layout is there, one of its annotation files is missing, or its files do not fit each other.
    """
    remedy = f"`cie datasets download deepfashion {directory}` says how to get the rest"
    for place in places(NAME, directory, *UNPACKED):
        folders = _annotation_folders(place)
        fine = next((folder for folder in folders if (folder / "test_attr.txt").is_file()), folders[0])
        if fine.is_dir():
            labels, annotation = _fine(fine, remedy), fine / "test.txt"
        elif found := table_of(NAME, place, ["file_names"]):
            labels, annotation = _flat(found), found
        else:
            continue
        return join_labels(
            NAME,
            place,
            labels,
            {image: path for image in labels if (path := _file(place, image))},
            annotation=annotation,
            remedy=remedy,
            allow_missing=allow_missing,
            keep_unlabelled=keep_unlabelled,
        )
    raise absent(
        NAME,
        directory,
        "Anno_fine, a CSV file with a column file_names",
        f"get it: cie datasets download {NAME} {directory}",
    )


def find_images(directory: Path) -> Benchmark | None:
    """The images without their labels: those of `test.txt` if it is there, else all."""
    here = places(NAME, directory, *UNPACKED, named=True)
    return unlabelled(DESCRIPTION, ((place, _listed(place) or images(place)) for place in here))


def _listed(place: Path) -> list[Path]:
    """The images that `test.txt` names."""
    lists = (folder / "test.txt" for folder in _annotation_folders(place))
    rows = next((_values(path, "") for path in lists if path.is_file()), [])
    return [path for _, row in rows if (path := _file(place, row[0].removeprefix("img/")))]


def _annotation_folders(place: Path) -> tuple[Path, Path, Path]:
    return place / "Anno_fine", place / "Anno" / "Anno_fine", place


def _fine(folder: Path, remedy: str) -> dict[str, dict[Aspect, str]]:
    """`Dress/img_00000001.jpg` to its labels. Line k of the three files is image k: so the authors made them."""
    names, categories, attributes = (_values(folder / f"test{part}.txt", remedy) for part in ("", "_cate", "_attr"))
    for file, values in (("test_cate.txt", categories), ("test_attr.txt", attributes)):
        if len(values) != len(names):
            raise DatasetError(
                f"{folder / file} has {len(values):,} lines, but test.txt has {len(names):,}: get both again from the "
                "same archive"
            )
    titles = _titles(folder)
    labels: dict[str, dict[Aspect, str]] = {}
    for (line, (path, *_)), (_, (category, *_)), (attribute_line, bits) in zip(
        names, categories, attributes, strict=True
    ):
        image = path.removeprefix("img/")
        if len(bits) != COLUMNS or set(bits) - {"0", "1"}:
            raise DatasetError(
                f"{folder / 'test_attr.txt'}, line {attribute_line}: not {COLUMNS} columns of 0 and 1; get it again"
            )
        if image in labels:
            raise DatasetError(f"{folder / 'test.txt'}, line {line}: {path} is there twice; get the file again")
        labels[image] = {
            CATEGORY: titles.get(category, category),
            **{aspect: " ".join(bits[columns]) for aspect, columns in PATTERNS.items()},
        }
    return labels


def _flat(annotation: Path) -> dict[str, dict[Aspect, str]]:
    labels: dict[str, dict[Aspect, str]] = {}
    for line, row in table(annotation, ["file_names", *CSV_COLUMNS.values()]):
        image = _unflattened(row["file_names"])
        if image in labels:
            raise DatasetError(f"{annotation}, line {line}: {row['file_names']} is there twice; leave one of the rows")
        labels[image] = {aspect: " ".join(row[column].split()) for aspect, column in CSV_COLUMNS.items()}
        if empty := [CSV_COLUMNS[aspect] for aspect, label in labels[image].items() if not label]:
            raise DatasetError(f"{annotation}, line {line}: {empty[0]} is empty; correct the row")
    return labels


def _unflattened(name: str) -> str:
    """`Dress/img_00000001.jpg` of `Dress-img_00000001.jpg`: a folder's own name may have hyphens."""
    folder, separator, file = name.rpartition("-img_")
    return f"{folder}/img_{file}" if separator else name


def _file(place: Path, image: str) -> Path | None:
    """Where `Dress/img_00000001.jpg` is: in the archive's folders or flat."""
    return next((path for path in _candidates(place, image) if is_whole(path)), None)


def _candidates(place: Path, image: str) -> Iterator[Path]:
    if ".." in Path(image).parts or Path(image).is_absolute():  # what a file says is not trusted
        return
    yield from (place / "img" / image, place / "Img" / "img" / image, place / image.replace("/", "-"))


def _values(path: Path, remedy: str) -> list[tuple[int, list[str]]]:
    """Line number and values of the lines that are not empty."""
    if not path.is_file():
        raise DatasetError(f"{path} is missing; {remedy}")
    return [(number, line.split()) for number, line in enumerate(lines(path), 1) if line.strip()]


def _titles(folder: Path) -> dict[str, str]:
    """Category number to name, if the file of names is there: a count, a heading, then a name and its kind a line."""
    folders = (folder, folder.parent / "Anno_coarse", folder.parent)
    path = next((found for each in folders if (found := each / "list_category_cloth.txt").is_file()), None)
    if path is None:
        return {}
    rows = [line.split() for line in lines(path)[2:] if line.strip()]
    return {str(number): row[0] for number, row in enumerate(rows, 1)}
