"""`cie words`: what the model would say of each image, and how often."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..collection.words import EMPTY, WITHOUT
from . import limits, options
from .command import Command
from .terminal import print_table

if TYPE_CHECKING:
    from ..collection.facets import Facet

IMAGES = 10
LINES = 40


@click.command(cls=Command)
@click.argument("db", default="./embeddings")
@click.option(
    "-c",
    "--condition",
    "conditions",
    multiple=True,
    help="The aspect that was embedded, such as 'car color'. Repeat it: words are counted together.",
)
@click.option("--no-condition", is_flag=True, help="What was embedded without a condition.")
@options.where
@options.facet
@options.among
@options.setting
@click.option("-n", "--images", type=limits.SHOWN, default=IMAGES, show_default=True, help="Images listed.")
@click.option("--lines", type=limits.SHOWN, default=LINES, show_default=True, help="Words listed.")
@click.option("--json", "as_json", is_flag=True, help="Print all: a condition's words by image, or several's counts.")
@options.html
def words(
    db: str,
    conditions: tuple[str, ...],
    no_condition: bool,
    where: str | None,
    facets: tuple[str, ...],
    among: frozenset[str] | None,
    pattern: str,
    images: int,
    lines: int,
    as_json: bool,
    html: Path | None,
) -> None:
    r"""The words stored with each vector, and how often each is the first: what a condition sees in a collection.

    Several conditions are counted together: how many red pickups there are.

    \b
    Example:  cie words ./embeddings -c "car color"
              cie words ./embeddings -c "car color" --facet "car model=pickup"
              cie words ./embeddings -c "car color" -c "car model" --html words.html
    """
    from .. import open as open_collection
    from ..collection.facets import facets as count_facets
    from ..collection.filters import Filter
    from ..collection.words import settings_with_words, words_of
    from ..reports import words_page

    names = (*conditions, None) if no_condition else conditions
    if not names:
        raise click.UsageError("say under which condition: -c CONDITION, or --no-condition")
    with open_collection(db) as collection:
        only = Filter.of(
            where=where, facets=options.words_by_condition(facets, collection.conditions if facets else ()), among=among
        )
        settings = settings_with_words(collection.store, names, pattern)
        (first, *others) = settings.values()
        passing = only.image_ids(collection.store, settings)
        if as_json and not others and html is None:
            rows = words_of(collection.store, first, passing)
            click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
            return
        found = count_facets(collection.store, settings, passing)
        if html is not None:
            words_page.write(html, collection.store, found)
            click.echo(f"Look at {html}", err=True)
        rows = [] if others else words_of(collection.store, first, passing, None if as_json else images)
    if as_json:
        counted = [facet.to_json() for facet in found.crossed] if others else rows
        click.echo(json.dumps(counted, indent=2, ensure_ascii=False))
        return
    _show(found.crossed, list(found.settings), found.images, lines)
    if rows:
        click.echo()
        said = [", ".join(f"{_word(each['word'])} {each['probability']:.2f}" for each in row["words"]) for row in rows]
        print_table(("image", "words"), [(row["image_id"], text) for row, text in zip(rows, said, strict=True)])
    if not others and images < found.images:
        click.echo(f"... and {found.images - images} images more (-n, or --json for all)", err=True)


def _show(counted: "Sequence[Facet]", conditions: Sequence[str | None], images: int, lines: int) -> None:
    """A bar per word, or per words under several conditions; the longest is the most frequent one's."""
    most = max((facet.count for facet in counted), default=1)
    rows: list[list[str | float]] = [
        [*map(_word, facet.words.values()), str(facet.count), f"{facet.count / images:.1%}", facet.count / most]
        for facet in counted[:lines]
    ]
    if rest := counted[lines:]:
        left = sum(facet.count for facet in rest)
        rows.append([f"({len(rest)} more)", *[""] * (len(conditions) - 1), str(left), f"{left / images:.1%}", ""])
    place = len(conditions)
    print_table([*(name or "(no condition)" for name in conditions), "images", "", ""], rows, right=(place, place + 1))


def _word(word: str | None) -> str:
    """`""` is an empty answer; None: no word is stored, or the image was not embedded under the condition."""
    return WITHOUT if word is None else word or EMPTY
