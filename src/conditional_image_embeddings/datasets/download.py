"""Getting the benchmarks: the public ones from their addresses, the others from archives that a person put there.

A benchmark that is there already is left alone; one that is not is downloaded, verified, unpacked and read. Stanford
Cars and DeepFashion ask for an account or for terms to be accepted: `steps` says what to do.
"""

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..errors import DatasetError
from . import Benchmark, cub200, description, get
from .archives import is_archive, unpack
from .transfer import check_patience, fetch

AUTHORS = "https://www.cs.ccu.edu.tw/~wtchu/projects/MoviePoster"  # of Movie Posters


@dataclass(frozen=True)
class Archive:
    """A file to download.

    Attributes:
        url: Its address.
        file: The name that it gets.
        md5: Its MD5; "" where its authors say none: then its size and its own checksums count.
    """

    url: str
    file: str
    md5: str = ""


PUBLIC = {
    "cub200": (
        Archive(
            "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz?download=1",
            "CUB_200_2011.tgz",
            "97eceeb196236b17998738112f37df78",
        ),
    ),
    "movie_posters": tuple(
        Archive(f"{AUTHORS}/{file}", file) for file in ("Movie_Poster_Dataset.zip", "Movie_Poster_Metadata.zip")
    ),
}

_STEPS = {
    "synthetic_cars": """\
The original's link is gone. Render a set of the same kind, the same images on every machine:
    cie datasets make synthetic-cars {directory}
If you have the original, put its cars.csv (or the paper's synthetic_metadata.csv) into {home},
its images beside it or into {home}/cars, and run this again.""",
    "cars196": """\
1. With a Kaggle account, download https://www.kaggle.com/datasets/eduardo4jesus/stanford-cars-dataset
   and put the archive into {home}
2. Its test images have no labels. Download "cars_test_annos_withlabels (1).mat", an input of
   https://www.kaggle.com/code/subhangaupadhaya/pytorch-stanfordcars-classification/input
   and put it into {home}
3. Run this again: it unpacks and checks.
If you have the authors' own car_ims.tgz and cars_annos.mat: put these two there instead.""",
    "deepfashion": """\
1. Accept the terms of the Category and Attribute Prediction Benchmark:
   https://mmlab.ie.cuhk.edu.hk/projects/DeepFashion/AttributePrediction.html
2. Download from its Google Drive the folder Anno_fine and, of the folder Img, the file img.zip
   and put both into {home}
3. Run this again: it unpacks and checks.
If you have the flat images of the paper's reference: put them and deepfashon_metadata.csv there instead.""",
}


def steps(name: str, directory: Path | str = "./datasets") -> str:
    """What a person has to do to get the benchmark `name`; "" if `download` needs nobody.

    Raises:
        DatasetError: an unknown name.
    """
    known = description(name).name
    return _STEPS.get(known, "").format(directory=directory, home=Path(directory) / known)


def download(
    name: str,
    directory: Path | str = "./datasets",
    *,
    mirror: str | None = None,
    archives: Sequence[Archive] | None = None,
    keep_archives: bool = False,
    timeout: float = 30.0,
    attempts: int = 5,
    backoff: float = 1.0,
    show_progress_bar: bool | None = None,
) -> Benchmark:
    """Get the benchmark `name` into `directory`/`name` and read it; a complete one that is there stays as it is.

    Args:
        name: One of `datasets.NAMES`.
        directory: Where the benchmarks are.
        mirror: A web folder with archives of the same names, to take them from instead.
        archives: What to download instead of the benchmark's own archives.
        keep_archives: Keep what was downloaded after unpacking it. An archive that was there before stays anyway.
        timeout: See `transfer.fetch`, as for `attempts` and `backoff`.
        attempts: See `timeout`.
        backoff: See `timeout`.
        show_progress_bar: None shows it on a terminal.

    Raises:
        OptionError: see `timeout`.
        DatasetError: a download or archive is broken, the benchmark is not complete after all, or a person has to do
            something first: `steps` says what.
    """
    check_patience(timeout, attempts, backoff)
    directory = Path(directory).expanduser()
    described = description(name)
    home = directory / described.name
    stamp = home / ".unpacked"  # how many images there were when the archives had been unpacked
    with suppress(DatasetError):
        found = get(name, directory)
        if len(found) >= min(described.images, _count(stamp)):
            return found
    wanted = archives or PUBLIC.get(described.name, ())
    fetched = []
    for archive in wanted:
        url = f"{mirror.rstrip('/')}/{archive.file}" if mirror else archive.url
        path = home / archive.file
        if fetch(
            url,
            path,
            md5=archive.md5,
            timeout=timeout,
            attempts=attempts,
            backoff=backoff,
            show_progress_bar=show_progress_bar,
        ):
            fetched.append(path)
    waiting = [home / archive.file for archive in wanted] or sorted(filter(is_archive, home.glob("*")))
    for path in waiting:
        try:
            unpack(path, home, wanted=_WANTED.get(described.name, _all), show_progress_bar=show_progress_bar)
        except DatasetError as error:
            if path in fetched and not isinstance(error.__cause__, OSError):  # a full disk is not the archive's fault
                path.unlink()  # it came so; the next run gets it anew
            raise
    benchmark = get(name, directory)
    if waiting:
        stamp.write_text(str(len(benchmark)), encoding="ascii")
    if not keep_archives:
        for path in fetched:
            path.unlink()
    return benchmark


def _count(stamp: Path) -> int:
    return int(stamp.read_text(encoding="ascii")) if stamp.is_file() else sys.maxsize


def _all(_: PurePosixPath) -> bool:
    return True


def _test_birds(path: PurePosixPath) -> bool:
    """Of CUB's archive the test classes' images, and the files that list them."""
    if path.suffix == ".txt":
        return len(path.parts) == 2
    return path.parent.parent.name == "images" and cub200.is_test(path.parent.name)


_WANTED: dict[str, Callable[[PurePosixPath], bool]] = {"cub200": _test_birds}
