"""`cie words`: what the model would say of each image, and how often."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..collection.words import EMPTY
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
              cie words ./embeddings -c "car color" -c "car model" --html words.html
    """
    from .. import open as open_collection
    from ..collection.words import words_by_image, words_of
    from ..reports import words_page

    names = (*conditions, None) if no_condition else conditions
    if not names:
        raise click.UsageError("say under which condition: -c CONDITION, or --no-condition")
    with open_collection(db) as collection:
        if as_json and len(names) == 1 and html is None:
            rows = words_by_image(collection.store, names[0], pattern, where)
            click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
            return
        found = collection.facets(names, where, setting=pattern)
        if html is not None:
            words_page.write(html, collection.store, found)
            click.echo(f"Look at {html}", err=True)
        (first, *others) = found.settings.values()
        rows = [] if others else words_of(collection.store, first, where, None if as_json else images)
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
    return "(no words)" if word is None else word or EMPTY
