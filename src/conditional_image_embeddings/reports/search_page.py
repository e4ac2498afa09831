"""The page of a search: what was searched for, and what was found, with a bar per condition."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..collection.words import EMPTY
from ..inputs.images import read_image, thumbnail
from .pages import Picture, data_url, pictures, write_page

if TYPE_CHECKING:
    from ..collection.searching.hits import Hit, Hits
    from ..collection.storage.store import Store

SHOWN_WORDS = 3
MOST_PICTURES = 1000  # in one file


@dataclass(frozen=True)
class Similarity:
    """How similar a hit is under a condition: 0 to 1 of the bar's length, which is the percentile if there is one."""

    name: str
    cosine: float
    percentile: float | None
    length: float
    words: str
    pushes_away: bool


@dataclass(frozen=True)
class Found:
    """A hit with its picture, and its similarity under each condition."""

    hit: "Hit"
    picture: Picture
    similarities: Sequence[Similarity]


@dataclass(frozen=True)
class Asked:
    """A part of the query: an image's name or the words, and the weight; words have no picture."""

    name: str
    weight: float
    picture: Picture | None


def write(path: Path, store: "Store", hits: "Hits", query: Mapping[str, Sequence[tuple[Any, float]]]) -> None:
    """Write the page to `path`.

    Args:
        path: The HTML file; replaced whole if it is there.
        store: Where the pictures come from.
        hits: What was found; the first thousand are shown.
        query: What was searched for: files under `image`, ids under `image_id`, texts under `text`, with weights.
    """
    setting = next(iter(hits.settings.values()))
    shown = list(hits)[:MOST_PICTURES]
    needed = [hit.image_id for hit in shown] + [image_id for image_id, _ in query["image_id"]]
    stored = pictures(store, setting, needed)
    asked = [
        *(Asked(Path(file).name, weight, _picture_of(file)) for file, weight in query["image"]),
        *(Asked(image_id, weight, stored[image_id]) for image_id, weight in query["image_id"]),
        *(Asked(text, weight, None) for text, weight in query["text"]),
    ]
    write_page(
        path,
        "search.html",
        asked=asked,
        conditions=[(name or "no condition", weight) for name, weight in hits.conditions.items()],
        found=[Found(hit, stored[hit.image_id], _similarities(hit, hits)) for hit in shown],
        hits=hits,
    )


def _picture_of(file: Path | str) -> Picture:
    return Picture(Path(file).name, data_url(thumbnail(read_image(file))))


def _similarities(hit: "Hit", hits: "Hits") -> list[Similarity]:
    return [
        Similarity(
            name=name or "no condition",
            cosine=hit.scores[name],
            percentile=(share := hit.percentiles[name]),
            length=max(0.0, hit.scores[name]) if share is None else share,
            words=", ".join(word or EMPTY for word, _ in hit.words[name][:SHOWN_WORDS]),
            pushes_away=weight < 0,
        )
        for name, weight in hits.conditions.items()
    ]
