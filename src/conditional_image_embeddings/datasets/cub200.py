"""CUB-200-2011: photographs of birds; the second half of its 200 species, which metric learning tests on.

From Caltech (https://data.caltech.edu/records/65de6-vp158), for non-commercial research and education. Three layouts
are read: the archive as unpacked, where `images.txt` lists every image in the folder of its class; a folder per class;
and the flat one of the paper's reference, where a file's name carries the species. The label is the species.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..errors import DatasetError
from .benchmark import Aspect, Benchmark, Description, join_labels, unlabelled
from .files import absent, by_name, images, lines, places

NAME = "cub200"
SPECIES = Aspect("bird species")
DESCRIPTION = Description(
    name=NAME,
    aspects=(SPECIES,),
    images=5924,
    where="public at CaltechDATA (record 65de6-vp158, 1.2 GB): `cie datasets download cub200`",
    terms="for non-commercial research and education; the photographs belong to their photographers",
)

# The classes 101 to 200, by which a flat folder's images are known: file names write the same words, other capitals.
TEST_CLASSES = """
White_Pelican Western_Wood_Pewee Sayornis American_Pipit Whip_poor_Will Horned_Puffin Common_Raven
White_necked_Raven American_Redstart Geococcyx Loggerhead_Shrike Great_Grey_Shrike Baird_Sparrow
Black_throated_Sparrow Brewer_Sparrow Chipping_Sparrow Clay_colored_Sparrow House_Sparrow Field_Sparrow Fox_Sparrow
Grasshopper_Sparrow Harris_Sparrow Henslow_Sparrow Le_Conte_Sparrow Lincoln_Sparrow Nelson_Sharp_tailed_Sparrow
Savannah_Sparrow Seaside_Sparrow Song_Sparrow Tree_Sparrow Vesper_Sparrow White_crowned_Sparrow
White_throated_Sparrow Cape_Glossy_Starling Bank_Swallow Barn_Swallow Cliff_Swallow Tree_Swallow Scarlet_Tanager
Summer_Tanager Artic_Tern Black_Tern Caspian_Tern Common_Tern Elegant_Tern Forsters_Tern Least_Tern
Green_tailed_Towhee Brown_Thrasher Sage_Thrasher Black_capped_Vireo Blue_headed_Vireo Philadelphia_Vireo
Red_eyed_Vireo Warbling_Vireo White_eyed_Vireo Yellow_throated_Vireo Bay_breasted_Warbler Black_and_white_Warbler
Black_throated_Blue_Warbler Blue_winged_Warbler Canada_Warbler Cape_May_Warbler Cerulean_Warbler
Chestnut_sided_Warbler Golden_winged_Warbler Hooded_Warbler Kentucky_Warbler Magnolia_Warbler Mourning_Warbler
Myrtle_Warbler Nashville_Warbler Orange_crowned_Warbler Palm_Warbler Pine_Warbler Prairie_Warbler
Prothonotary_Warbler Swainson_Warbler Tennessee_Warbler Wilson_Warbler Worm_eating_Warbler Yellow_Warbler
Northern_Waterthrush Louisiana_Waterthrush Bohemian_Waxwing Cedar_Waxwing American_Three_toed_Woodpecker
Pileated_Woodpecker Red_bellied_Woodpecker Red_cockaded_Woodpecker Red_headed_Woodpecker Downy_Woodpecker
Bewick_Wren Cactus_Wren Carolina_Wren House_Wren Marsh_Wren Rock_Wren Winter_Wren Common_Yellowthroat
"""
_BY_WORDS = {name.lower(): name for name in TEST_CLASSES.split()}
_CLASS_FOLDER = re.compile(r"(\d{3})\.(\w+)")
_FLAT_NAME = re.compile(r"(.+)_\d+_\d+")


def find(directory: Path, *, allow_missing: bool = False, keep_unlabelled: bool = False) -> Benchmark:
    """Read the benchmark from `directory`/cub200, or from `directory` itself.

    Raises:
        DatasetError: no layout is there, or its files do not fit each other.
    """
    remedy = f"get the rest: cie datasets download cub200 {directory}"
    for place in places(NAME, directory, "CUB_200_2011"):
        if (place / "images.txt").is_file():
            folder = place / "images"
            labels = _listed(place / "images.txt")
            if folder.is_dir():
                files = {f"{path.parent.name}/{path.name}": path for path in _of_test_classes(images(folder, depth=1))}
            else:
                labels = {image.rpartition("/")[2]: species for image, species in labels.items()}
                training = _listed(place / "images.txt", test=False)
                known = {image.rpartition("/")[2] for image in training}
                files = {n: path for n, path in by_name(images(place, depth=0)).items() if n not in known}
            annotation = place / "images.txt"
        elif files := by_name(list(_of_test_classes(_in_class_folders(place)))):
            labels = {name: {SPECIES: species(path.parent.name)} for name, path in files.items()}
            annotation = place
        elif files := {path.name: path for path in images(place, depth=0) if _FLAT_NAME.fullmatch(path.stem)}:
            labels = {name: {SPECIES: named} for name, path in files.items() if (named := _named(path.stem))}
            annotation = place
            remedy = "keep only images of the classes 101-200, or put CUB's own images.txt beside them"
            if keep_unlabelled:
                files = {name: path for name, path in files.items() if name in labels}
        else:
            continue
        return join_labels(
            NAME,
            place,
            labels,
            files,
            annotation=annotation,
            remedy=remedy,
            allow_missing=allow_missing,
            keep_unlabelled=keep_unlabelled,
        )
    raise absent(
        NAME,
        directory,
        "images.txt, folders such as 101.White_Pelican, images such as White_Pelican_0001_96422.jpg",
        f"get it: cie datasets download cub200 {directory}",
    )


def find_images(directory: Path) -> Benchmark | None:
    """The images, but for those of the classes 1-100, whose names tell no species."""
    here = places(NAME, directory, "CUB_200_2011", named=True)
    return unlabelled(DESCRIPTION, ((place, _of_no_training_class(images(place))) for place in here))


def species(folder: str) -> str:
    """The species as words, from a class folder's name such as "101.White_Pelican"."""
    return folder.partition(".")[2].replace("_", " ") or folder.replace("_", " ")


def is_test(folder: str) -> bool:
    """Whether a class folder's name is one of the second hundred."""
    numbered = _CLASS_FOLDER.fullmatch(folder)
    return 101 <= int(numbered[1]) <= 200 if numbered else folder.lower() in _BY_WORDS


def _listed(table: Path, *, test: bool = True) -> dict[str, dict[Aspect, str]]:
    """The images of `images.txt` (number, then path in the folder of its class) that are, or are not, test images."""
    labels: dict[str, dict[Aspect, str]] = {}
    for number, line in enumerate(lines(table), 1):
        if not line.strip():
            continue
        _, _, path = line.strip().partition(" ")
        folder, _, name = path.partition("/")
        if not _CLASS_FOLDER.fullmatch(folder) or not name:
            raise DatasetError(f"{table}, line {number} is not `number class/image`: {line[:80]!r}; get the file again")
        if is_test(folder) is not test:
            continue
        if path in labels:
            raise DatasetError(f"{table}, line {number}: {path} is there twice; get the file again")
        labels[path] = {SPECIES: species(folder)}
    if test and not labels:
        raise DatasetError(f"{table} lists no image of the classes 101-200, which are the test half; get it again")
    return labels


def _in_class_folders(place: Path) -> Iterator[Path]:
    """The images of class folders in a folder, its `images` or its splits: metric learning divides by class instead."""
    for folder in ("", "images", "train", "test", "val", "validation"):
        if (place / folder).is_dir():
            for inner in sorted((place / folder).iterdir()):
                if inner.is_dir() and (_CLASS_FOLDER.fullmatch(inner.name) or is_test(inner.name)):
                    yield from images(inner, depth=0)


def _of_test_classes(paths: Iterator[Path] | list[Path]) -> Iterator[Path]:
    return (path for path in paths if is_test(path.parent.name))


def _of_no_training_class(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if _CLASS_FOLDER.fullmatch(path.parent.name):
            wanted = is_test(path.parent.name)
        else:
            wanted = not _FLAT_NAME.fullmatch(path.stem) or _named(path.stem) is not None
        if wanted:
            yield path


def _named(stem: str) -> str | None:
    """The test species that a flat file's name begins with."""
    match = _FLAT_NAME.fullmatch(stem)
    name = _BY_WORDS.get(match[1].lower()) if match else None
    return name and name.replace("_", " ")
