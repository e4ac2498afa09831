"""`cie cluster`: groups under a condition, named by their words."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from . import limits, options
from .command import Command
from .terminal import print_table

if TYPE_CHECKING:
    from ..collection.grouping.clusters import Cluster

SHOWN_WORDS, SHOWN_IDS = 3, 3
FILE = click.Path(path_type=Path, dir_okay=False)


@click.command(cls=Command)
@click.argument("db", default="./embeddings")
@click.option("-c", "--condition", help="The aspect that was embedded, such as 'car color'. Left out: no condition.")
@click.option("-n", "--groups", "n", type=limits.GROUPS, help="How many groups; by default the number that fits best.")
@options.setting
@options.where
@options.facet
@options.among
@click.option("--json", "as_json", is_flag=True, help="Print the groups with all their images as JSON.")
@options.html
@click.option(
    "-o", "--output", type=FILE, callback=options.output_file, metavar="FILE", help="Write image_id,cluster,name: CSV."
)
def cluster(
    db: str,
    condition: str | None,
    n: int | None,
    pattern: str,
    where: str | None,
    facets: tuple[str, ...],
    among: frozenset[str] | None,
    as_json: bool,
    html: Path | None,
    output: Path | None,
) -> None:
    r"""Groups of images that are alike in an aspect, each named by its most telling words.

    \b
    Example:  cie cluster ./embeddings -c "car color"
              cie cluster ./embeddings -c "car color" -n 11 --html groups.html -o labels.csv
    """
    from dataclasses import asdict

    from ..collection.filters import Filter
    from ..collection.grouping.clusters import clusters, write_labels
    from ..collection.spaces import choose
    from ..collection.storage.store import Store
    from ..reports import groups_page

    store = Store(db, create=False)
    (setting,) = choose(store, [condition], pattern).values()
    known = [each.condition for each in store.settings()] if facets else []
    only = Filter.of(where=where, facets=options.words_by_condition(facets, known), among=among)
    found = clusters(store, setting, n, only=only)
    if output:
        write_labels(found, output)
    if html:
        groups_page.write_clusters(html, store, setting, found)
        click.echo(f"Look at {html}", err=True)
    if as_json:
        click.echo(json.dumps([asdict(group) for group in found], indent=2, ensure_ascii=False))
    else:
        _print(found)


def _print(found: "Sequence[Cluster]") -> None:
    total = sum(group.size for group in found)
    rows = [
        (
            str(group.cluster),
            group.name,
            str(group.size),
            f"{group.size / total:.1%}",
            group.size / found[0].size,
            ", ".join(f"{each.word} {each.fraction:.2f}" for each in group.words[:SHOWN_WORDS]),
            ", ".join(group.images[:SHOWN_IDS]),
        )
        for group in found
    ]
    print_table(("", "group", "images", "share", "", "words", "nearest to its centre"), rows, right=(0, 2, 3))
