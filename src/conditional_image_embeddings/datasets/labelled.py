"""Any other labelled images: one folder per class, images with a table of labels, and the lists of the universal sets.

Each function returns a `Benchmark`, which is embedded and scored as the paper's own are.
"""

import json
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from ..errors import DatasetError, preview
from ..inputs.conditions import normalized_text
from ..inputs.folders import path_to_text
from ..inputs.tables import ID_COLUMNS
from .benchmark import Aspect, Benchmark, join_labels
from .files import images, is_unnamed, is_whole, table

NONE = Aspect("none", None)  # labels that no condition asks for

# The sets of the universal-embedding benchmark that the paper's reference lists as `info_files/NAME/test.json`, and
# what their classes are there.
UNIVERSAL = {"cars": Aspect("car model")} | dict.fromkeys(
    ("food2k", "gldv2", "inat", "inshop", "met", "rp2k", "sop"), NONE
)


def from_folders(directory: Path | str, aspect: Aspect | str, *, name: str | None = None) -> Benchmark:
    """Images whose folder is their label, as Hugging Face's image folders have it: `train/cat/1.jpg` is a "cat".

    Args:
        directory: The folder of the classes' folders, or of splits that hold these.
        aspect: What the classes are, in the words of a condition, such as "clothing category".
        name: The benchmark's name; by default the directory's.

    Raises:
        DatasetError: there are no images, some are in no class's folder, or all are in one.
    """
    root = _directory(directory)
    files = {path_to_text(path.relative_to(root).as_posix()): path for path in images(root)}
    if loose := [image_id for image_id, path in files.items() if path.parent == root]:
        raise DatasetError(
            f"{root}: {len(loose):,} images are in no class's folder: {preview(loose)}; move them into one"
        )
    classes = {image_id: path_to_text(path.parent.name) for image_id, path in files.items()}
    if len(set(classes.values())) < 2:
        raise DatasetError(f"{root}: expected images in the folders of at least 2 classes, as in {root}/cat/1.jpg")
    aspect = _aspect(aspect)
    labels = {image_id: {aspect: label} for image_id, label in classes.items()}
    return join_labels(name or root.resolve().name, root, labels, files, annotation=root, remedy="")


def from_table(
    directory: Path | str,
    table_path: Path | str,
    *,
    aspects: Sequence[Aspect | str] | None = None,
    name: str | None = None,
    allow_missing: bool = False,
) -> Benchmark:
    """Images with a CSV or TSV file of labels: a column of ids, and one per aspect, named as its condition.

    Args:
        directory: The folder of the images.
        table_path: The table. Its ids are paths relative to the folder, with or without their suffix; its column of ids
            is the first that is named so (`image_id`, `id`, `file_name`, `path`, ...), else the first of all. A first
            column without a name counts as ids if it holds some; pandas writes its row numbers so.
        aspects: The columns that are labels; by default all others with a name. Underscores may stand for spaces.
        name: The benchmark's name; by default the directory's.
        allow_missing: Leave out images without labels and labels without images, with a warning.

    Raises:
        DatasetError: the table cannot be read, an id is there twice, a label is empty, or table and images do not fit.
    """
    root, path = _directory(directory), Path(table_path)
    rows = table(path)
    if not rows:
        raise DatasetError(f"{path} has no rows: a header and one row per image are needed")
    files = {path_to_text(found.relative_to(root).as_posix()): found for found in images(root)}
    bare = {str(PurePosixPath(image_id).with_suffix("")): image_id for image_id in files}
    columns = list(rows[0][1])
    firsts = {row[columns[0]].removeprefix("./") for _, row in rows}
    if is_unnamed(columns[0]) and firsts.isdisjoint([*files, *bare]):
        columns = [column for column in columns if not is_unnamed(column)] or columns
    id_column = next((column for column in columns if column.lower() in (*ID_COLUMNS, "file_names")), columns[0])
    wanted: dict[str, str] = {}
    for column in columns:
        if column != id_column and not is_unnamed(column) and wanted.setdefault(_words(column), column) != column:
            raise DatasetError(f"{path} has {wanted[_words(column)]!r} and {column!r}, one name: leave one of them")
    chosen = [_aspect(aspect) for aspect in (wanted if aspects is None else aspects)]
    if not chosen:
        raise DatasetError(f"{path} has no column of labels, only {id_column}; add one per aspect")
    if lacking := [aspect.name for aspect in chosen if _words(aspect.name) not in wanted]:
        raise DatasetError(f"{path} has no column {preview(lacking)}; it has {preview(list(wanted))}")
    labels: dict[str, dict[Aspect, str]] = {}
    for line, row in rows:
        given = row[id_column].removeprefix("./")
        image_id = given if given in files else bare.get(given, given)
        if not image_id or image_id in labels:
            what = f"{given} is there twice; leave one of the rows" if image_id else f"{id_column} is empty; fill it in"
            raise DatasetError(f"{path}, line {line}: {what}")
        labels[image_id] = {aspect: row[wanted[_words(aspect.name)]] for aspect in chosen}
        if empty := [aspect.name for aspect, label in labels[image_id].items() if not label]:
            raise DatasetError(f"{path}, line {line}: {preview(empty)} is empty; fill it in")
    return join_labels(
        name or root.resolve().name,
        root,
        labels,
        files,
        annotation=path,
        remedy=f"table and folder {root} must list the same images, or leave out the rest (--allow-missing)",
        allow_missing=allow_missing,
    )


def from_list(name: str, info_directory: Path | str, *, allow_missing: bool = False) -> Benchmark:
    """A universal set, listed in `info_directory`/info_files/`name`/test.json as `[{"path": ..., "class_id": ...}]`.

    Paths are relative to `info_directory`. Other images there are of no concern.

    Raises:
        DatasetError: the list is missing or broken, or one of its images is.
    """
    root = _directory(info_directory)
    path = root / "info_files" / name / "test.json"
    if name not in UNIVERSAL:
        raise DatasetError(f"unknown universal set {name!r}; known: {', '.join(UNIVERSAL)}")
    if not path.is_file():
        raise DatasetError(f"{name}: there is no {path}; name the folder that holds info_files")
    try:
        rows = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path} is broken: {error}; get it again") from error
    if not isinstance(rows, list) or not rows:
        raise DatasetError(f"{path} is not a list of images; get it again")
    labels: dict[str, dict[Aspect, str]] = {}
    for number, row in enumerate(rows, 1):
        image_id = row.get("path") if isinstance(row, dict) else None
        if not isinstance(image_id, str) or "class_id" not in row:
            raise DatasetError(f'{path}, image {number} is not {{"path": ..., "class_id": ...}}; get the file again')
        parts = PurePosixPath(image_id)
        if parts.is_absolute() or ".." in parts.parts:
            raise DatasetError(f"{path}, image {number}: {image_id} is outside {root}; get the file again")
        if str(parts) in labels:
            raise DatasetError(f"{path}, image {number}: {image_id} is there twice; get the file again")
        labels[str(parts)] = {UNIVERSAL[name]: str(row["class_id"])}
    files = {image_id: root / image_id for image_id in labels if is_whole(root / image_id)}
    return join_labels(
        name, root, labels, files, annotation=path, remedy=f"put them into {root}", allow_missing=allow_missing
    )


def _directory(path: Path | str) -> Path:
    directory = Path(path)
    if not directory.is_dir():
        raise DatasetError(f"{directory} is not a folder: name the folder of the images")
    return directory


def _aspect(aspect: Aspect | str) -> Aspect:
    return aspect if isinstance(aspect, Aspect) else Aspect(_words(aspect))


def _words(column: str) -> str:
    return normalized_text(column.replace("_", " "))
