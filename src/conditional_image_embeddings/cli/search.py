"""`cie search`: neighbours under one or several conditions."""

import json
import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import limits, options
from .command import Command
from .terminal import print_table

if TYPE_CHECKING:
    from ..collection.searching.hits import Hits

WEIGHT = r"[-+]?(?:\d+\.?\d*|\.\d+)"
SHOWN_WORDS = 2


@click.command(cls=Command)
@click.argument("db", default="./embeddings")
@click.option("--image", "images", multiple=True, metavar="[WEIGHT:]FILE", help="Near to this image. Repeat it.")
@click.option("--id", "image_ids", multiple=True, metavar="[WEIGHT:]ID", help="Near to this image of the collection.")
@click.option("--text", "texts", multiple=True, metavar="[WEIGHT:]WORDS", help="Near to what these words say.")
@click.option(
    "-c",
    "--condition",
    "conditions",
    multiple=True,
    metavar="CONDITION[:WEIGHT]",
    help="In this respect. Repeat it; weights are 1 if not said, negative ones push away. Without: no condition.",
)
@click.option("--no-condition", type=limits.WEIGHT, metavar="WEIGHT", help="No condition too, with this weight.")
@click.option("-k", type=limits.HITS, help="So many hits at most.  [default: 20; with --cut, all]")
@options.where
@options.facet
@options.among
@click.option("--word", help="Only images with this word among theirs, under one of the conditions.")
@click.option("--min-score", type=limits.SCORE, help="Only hits with this score or more.")
@click.option("--cut", type=click.Choice(["auto"]), help="auto: end the list where images no longer match.")
@click.option("--exact", is_flag=True, help="Score every image, though there is an index.")
@click.option(
    "--index/--no-index", "build_index", default=True, show_default=True, help="Build the index first where it is due."
)
@click.option(
    "--setting",
    "patterns",
    multiple=True,
    metavar="[CONDITION=]GLOB",
    help="Glob over the settings' names. Repeated with CONDITION= it is for that one alone: then conditions of several "
    "methods or models are weighed by percentiles.",
)
@options.loading
@click.option("--json", "as_json", is_flag=True, help="Print the hits as JSON.")
@options.html
def search(
    db: str,
    images: tuple[str, ...],
    image_ids: tuple[str, ...],
    texts: tuple[str, ...],
    conditions: tuple[str, ...],
    no_condition: float | None,
    patterns: tuple[str, ...],
    facets: tuple[str, ...],
    device: str | None,
    model_path: str | None,
    local_files_only: bool,
    as_json: bool,
    html: Path | None,
    **choice: Any,
) -> None:
    r"""Find images by what you care about: like an image, like words, or like several of them at once.

    The score is the weighted sum of the cosines under each condition. Beside each cosine: the share of random pairs of
    the collection that are less similar.

    \b
    Example:  cie search ./embeddings --text red -c "car color" --cut auto
              cie search ./embeddings --image my.jpg -c pattern -c "color:-0.5" --html hits.html
              cie search ./embeddings --id a.jpg --id 2:b.jpg -c fabric --where "width > 500" --json
              cie search ./embeddings --id a.jpg -c color -c style --setting "color=*dior*" --setting "style=*instruct*"
    """
    from .. import open as open_collection
    from ..reports import search_page

    if not (images or image_ids or texts):
        raise click.UsageError("nothing to search for: give --image FILE, --id ID or --text WORDS")
    with open_collection(db, device=device, model_path=model_path, local_files_only=local_files_only) as collection:
        known = {(name or "").casefold() for name in collection.conditions}
        weights: dict[str | None, float] = dict(_condition(each, known) for each in conditions)
        if no_condition is not None or not conditions:
            weights[None] = 1.0 if no_condition is None else no_condition
        query: dict[str, Any] = {
            "image": [_weighted(each) for each in images],
            "image_id": [_weighted(each) for each in image_ids],
            "text": [_weighted(each) for each in texts],
        }
        choice["facets"] = options.words_by_condition(facets, collection.conditions if facets else ())
        hits = collection.search(**query, conditions=weights, setting=_setting(patterns, weights), **choice)
        if html is not None:
            search_page.write(html, collection.store, hits, query)
            click.echo(f"Look at {html}", err=True)
    if as_json:
        click.echo(json.dumps([hit.to_json() for hit in hits], indent=2, ensure_ascii=False))
    else:
        _show(hits)
    click.echo(_summary(hits, auto=choice["cut"] is not None), err=True)


def _weighted(given: str) -> tuple[str, float]:
    """A file, id or text with the weight before it, if any; a file that is really called so is that file."""
    match = re.fullmatch(rf"({WEIGHT}):(.+)", given, re.DOTALL)
    return (given, 1.0) if match is None or Path(given).exists() else (match[2], float(match[1]))


def _condition(given: str, known: Collection[str]) -> tuple[str, float]:
    """A condition with the weight after it, if any; one that was embedded under such a name is that condition."""
    match = re.fullmatch(rf"(.+):({WEIGHT})", given, re.DOTALL)
    return (given, 1.0) if match is None or given.casefold() in known else (match[1], float(match[2]))


def _setting(given: Sequence[str], conditions: Iterable[str | None]) -> str | dict[str | None, str]:
    """A glob for all conditions; or for each, where one is named before an equals sign ("" is no condition)."""
    names = {(name or "").casefold(): name for name in conditions}
    of_each: dict[str | None, str] = {}
    of_all = []
    for each in given:
        name, equals, glob = each.rpartition("=")
        if equals and name.casefold() in names:
            of_each[names[name.casefold()]] = glob
        else:
            of_all.append(each)
    if len(of_all) > 1:
        raise click.UsageError(f"--setting names no condition that is searched: {' and '.join(of_all)}")
    (glob,) = of_all or ["*"]
    return dict.fromkeys(names.values(), glob) | of_each if of_each else glob


def _show(hits: "Hits") -> None:
    several = len(hits.conditions) > 1
    headings = ["", "image", *(["score"] if several else [])]
    for name in hits.conditions:
        headings += [name or "(no condition)", "of pairs", "words"]
    rows = []
    for hit in hits:
        row = [str(hit.rank), hit.image_id, *([f"{hit.score:.3f}"] if several else [])]
        for name in hits.conditions:
            share = hit.percentiles[name]
            row += [
                f"{hit.scores[name]:.3f}",
                "" if share is None else f"{share:.1%}",
                ", ".join(f"{word} {probability:.2f}" for word, probability in hit.words[name][:SHOWN_WORDS]),
            ]
        rows.append(row)
    numbers = [index for index, heading in enumerate(headings) if heading not in {"image", "words"}]
    print_table(headings, rows, right=numbers)


def _summary(hits: "Hits", *, auto: bool) -> str:
    said = f"{len(hits)} of {hits.images} images" + ("" if hits.exact else " (candidates from the index)")
    if auto:
        said += "; no group stands out: nothing was cut" if hits.cut is None else f"; cut below {hits.cut:.3f}"
    return said
