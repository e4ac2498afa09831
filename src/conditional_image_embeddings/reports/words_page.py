"""The page of a collection's words: how often each is there, with pictures of images that it is said of."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .pages import Picture, pictures, write_page

if TYPE_CHECKING:
    from ..collection.facets import Facet, Facets
    from ..collection.storage.store import Store

MOST_LINES = 100  # per table


@dataclass(frozen=True)
class Line:
    """A word, or the words under several conditions: how many images, their share, the bar's length from 0 to 1."""

    words: Sequence[str | None]
    count: int
    share: float
    length: float
    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Section:
    """A table: its conditions, its lines, and how many more words in how many images are not shown."""

    conditions: Sequence[str]
    lines: Sequence[Line]
    more_words: int
    more_images: int


def write(path: Path, store: "Store", facets: "Facets") -> None:
    """Write the page to `path`.

    Args:
        path: The HTML file; replaced whole if it is there.
        store: Where the pictures come from.
        facets: What is shown: under all conditions together, then under each.
    """
    tables = [facets.crossed]
    if len(facets.settings) > 1:
        tables += list(facets.by_condition.values())
    setting = next(iter(facets.settings.values()))
    needed = {image_id for table in tables for facet in table[:MOST_LINES] for image_id in facet.images}
    stored = pictures(store, setting, sorted(needed))
    write_page(path, "words.html", images=facets.images, sections=[_section(table, stored, facets) for table in tables])


def _section(table: "Sequence[Facet]", stored: dict[str, Picture], facets: "Facets") -> Section:
    most = max((facet.count for facet in table), default=1)
    rest = table[MOST_LINES:]
    return Section(
        conditions=[name or "no condition" for name in (table[0].words if table else facets.settings)],
        lines=[
            Line(
                words=list(facet.words.values()),
                count=facet.count,
                share=facet.count / facets.images,
                length=facet.count / most,
                pictures=[stored[image_id] for image_id in facet.images],
            )
            for facet in table[:MOST_LINES]
        ],
        more_words=len(rest),
        more_images=sum(facet.count for facet in rest),
    )
