"""`cie duplicates`: images that are alike in an aspect, or in several at once."""

import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import click

from . import limits, options
from .command import Command
from .terminal import print_table

if TYPE_CHECKING:
    from ..collection.grouping.duplicates import Duplicate

SHOWN_GROUPS, SHOWN_IMAGES = 20, 8


@click.command(cls=Command)
@click.argument("db", default="./embeddings")
@click.option(
    "-c",
    "--condition",
    "conditions",
    multiple=True,
    help="An aspect that was embedded; repeat it for images that are alike in all of them. Left out: no condition.",
)
@click.option(
    "--threshold",
    type=limits.FRACTION,
    metavar="T",
    help="Alike is what this fraction of random pairs of the collection falls short of.  [default: 0.999]",
)
@click.option("--similarity", type=limits.COSINE, metavar="S", help="Alike from this cosine on, instead.")
@options.setting
@options.where
@options.facet
@options.among
@click.option("--json", "as_json", is_flag=True, help="Print the images of all groups as JSON.")
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    callback=options.output_file,
    metavar="FILE",
    help="Write a page with the groups side by side.",
)
def duplicates(
    db: str,
    conditions: tuple[str, ...],
    threshold: float | None,
    similarity: float | None,
    pattern: str,
    where: str | None,
    facets: tuple[str, ...],
    among: frozenset[str] | None,
    as_json: bool,
    html: Path | None,
) -> None:
    r"""Images that are alike in an aspect, in groups: each is compared with its group's first, usually the largest.

    \b
    Example:  cie duplicates ./embeddings -c "car color" -c "car model"
              cie duplicates ./embeddings -c "car color" --threshold 0.9999 --html duplicates.html
    """
    from dataclasses import asdict

    from ..collection.filters import Filter
    from ..collection.grouping.duplicates import duplicates as find
    from ..collection.spaces import choose
    from ..collection.storage.store import Store
    from ..reports import groups_page

    if threshold is not None and similarity is not None:
        raise click.UsageError("--threshold (a fraction of random pairs) and --similarity (a cosine): give one of them")
    store = Store(db, create=False)
    settings = choose(store, conditions or [None], pattern)
    known = [each.condition for each in store.settings()] if facets else []
    only = Filter.of(where=where, facets=options.words_by_condition(facets, known), among=among)
    rows = find(store, settings, threshold=threshold, similarity=similarity, only=only)
    if html:
        groups_page.write_duplicates(html, store, settings, rows)
        click.echo(f"Look at {html}", err=True)
    if as_json:
        click.echo(json.dumps([asdict(row) for row in rows], indent=2, ensure_ascii=False))
    else:
        _print(rows)


def _print(rows: "Sequence[Duplicate]") -> None:
    if not rows:
        click.echo("no images are alike to that degree", err=True)
        return
    groups = [list(members) for _, members in groupby(rows, key=lambda row: row.group)]
    print_table(
        ("group", "image", "cosine", "of pairs", "pixels", ""),
        [cells for members in groups[:SHOWN_GROUPS] for cells in _lines(members)],
        right=(0, 2, 3, 4),
    )
    click.echo(f"{len(rows)} images in {len(groups)} groups", err=True)
    if len(groups) > SHOWN_GROUPS:
        click.echo(f"... and {len(groups) - SHOWN_GROUPS} groups more (--json for all)", err=True)


def _lines(members: "Sequence[Duplicate]") -> Iterator[Sequence[str]]:
    """A group's, the first with its number; all but the first are compared with it."""
    for row in members[:SHOWN_IMAGES]:
        compared = row is not members[0]
        yield (
            "" if compared else str(row.group),
            row.image_id,
            f"{row.similarity:.4f}" if compared else "",
            f"{row.percentile:.3%}" if compared else "",
            f"{row.size[0]} x {row.size[1]}" if row.size else "",
            f"the same file as {row.same_file_as}" if row.same_file_as else "",
        )
    if len(members) > SHOWN_IMAGES:
        yield ("", f"... and {len(members) - SHOWN_IMAGES} more", "", "", "", "")
