"""Movie Posters: posters of films from 1980 to 2015 (Chu and Guo, MUSA2 at ACM Multimedia 2017), with what IMDb says.

From the authors' page at National Chung Cheng University. Two layouts are read: the archives as unpacked, with a text
file a year in `groundtruth`; and the posters beside the table of the paper's reference (`imdbID, Genre, Country`). Each
film counts once; a film with several genres or countries has the first as its label.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

from ..errors import DatasetError
from .benchmark import Aspect, Benchmark, Description, join_labels, unlabelled
from .files import absent, images, lines, places, table, table_of

NAME = "movie_posters"
GENRE, COUNTRY = Aspect("movie genre"), Aspect("movie's production country")
DESCRIPTION = Description(
    name=NAME,
    aspects=(GENRE, COUNTRY),
    images=8052,
    where="public at the authors' page (National Chung Cheng University): `cie datasets download movie-posters`",
    terms="the authors ask for a citation; the posters belong to the films' distributors",
)
UNKNOWN = "N/A"  # as the metadata itself writes it; the paper counts it as a label
Film: TypeAlias = Mapping[str, object]
COLUMNS = {GENRE: "Genre", COUNTRY: "Country"}
_NEXT = re.compile(r"[^\s,\[\]\ufeff]")
_SHELL = re.compile(r'\b(?:ObjectId|ISODate|NumberLong|NumberInt)\(\s*("[^"]*"|-?\d+)\s*\)')


def find(directory: Path, *, allow_missing: bool = False, keep_unlabelled: bool = False) -> Benchmark:
    """Read the benchmark from `directory`/movie_posters, or from `directory` itself.

    The authors' own metadata names films whose posters they do not have, and the other way round: these are left out
    with a warning, for the benchmark is what has both. The reference's table is of films with a poster: each must be
    there.

    Raises:
        DatasetError: no layout is there, or its files do not fit each other.
    """
    remedy = f"get the rest: cie datasets download movie-posters {directory}"
    for place in places(NAME, directory):
        inner = ("groundtruth", "Movie_Poster_Metadata/groundtruth", "Movie_Poster_Metadata")
        texts = next((found for folder in inner if (found := sorted((place / folder).glob("[!.]*.txt")))), [])
        if annotation := table_of(NAME, place, ["imdbID", *COLUMNS.values()]):
            films = _rows(annotation)
        elif texts:
            films, annotation = (film for text in texts for film in _records(text)), texts[0].parent
            allow_missing = True
        else:
            continue
        labels: dict[str, dict[Aspect, str]] = {}
        for where, film in films:
            labels.setdefault(_id(film, where), {aspect: _first(film.get(c)) for aspect, c in COLUMNS.items()})
        return join_labels(
            NAME,
            place,
            labels,
            _by_film(images(place)),
            annotation=annotation,
            noun="films",
            remedy=remedy,
            allow_missing=allow_missing,
            keep_unlabelled=keep_unlabelled,
        )
    raise absent(
        NAME,
        directory,
        "groundtruth/1980.txt, a table with the columns imdbID, Genre, Country",
        f"get it: cie datasets download movie-posters {directory}",
    )


def find_images(directory: Path) -> Benchmark | None:
    """The posters without what is said of them, one per film."""
    here = places(NAME, directory, named=True)
    return unlabelled(DESCRIPTION, ((place, _by_film(images(place)).values()) for place in here))


def _by_film(paths: Iterable[Path]) -> dict[str, Path]:
    """IMDb id to poster: a film that is in two years has one in both."""
    films: dict[str, Path] = {}
    for path in paths:
        films.setdefault(path.stem, path)
    return films


def _id(film: Film, where: str) -> str:
    image_id = film.get("imdbID")
    if not isinstance(image_id, str) or not image_id:
        raise DatasetError(f"{where}: a film has no imdbID; get the file again")
    return image_id


def _first(value: object) -> str:
    """The first of "Comedy, Drama"."""
    return str(value or "").partition(",")[0].strip() or UNKNOWN


def _rows(path: Path) -> Iterator[tuple[str, Film]]:
    for line, row in table(path):
        yield f"{path}, line {line}", row


def _records(path: Path) -> Iterator[tuple[str, Film]]:
    """The films of a year: one JSON object after the other, as a database's shell prints them."""
    text = _SHELL.sub(r"\1", "\n".join(lines(path)))
    decoder = json.JSONDecoder(strict=False)
    at = 0
    while match := _NEXT.search(text, at):
        try:
            film, at = decoder.raw_decode(text, match.start())
        except json.JSONDecodeError as error:
            raise DatasetError(f"{path}, line {error.lineno} is broken: {error.msg}; get the file again") from error
        except RecursionError as error:
            raise DatasetError(f"{path} is broken: it is nested too deep; get the file again") from error
        where = f"{path}, line {text.count(chr(10), 0, match.start()) + 1}"
        if not isinstance(film, dict):
            raise DatasetError(f"{where}: not a film; get the file again")
        yield where, film
