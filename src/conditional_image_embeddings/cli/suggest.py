"""`cie suggest`: aspects in which images differ."""

import json
import shlex
import sys
from typing import TYPE_CHECKING, Any

import click

from ..collection.words import EMPTY
from . import limits
from .command import EXIT_SOME_IMAGES_FAILED, Command, list_failures
from .terminal import print_table

if TYPE_CHECKING:
    from ..suggestion.ranking import Suggestions

SHOWN_WORDS = 4
SHOWN_ALIKE = 3


@click.command(cls=Command)
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option("-m", "--model", help="A hub id, a local directory, or `builtin`.")
@click.option("-n", "count", type=limits.SAMPLES, default=10, show_default=True, help="Aspects at most.")
@click.option("--sample", type=click.IntRange(3, 1000), default=100, show_default=True, help="Images, drawn at random.")
@click.option("--candidate", "candidates", multiple=True, metavar="ASPECT", help="Try this one too; repeat it.")
@click.option("--no-proposals", is_flag=True, help="Try the candidates given and no other aspect.")
@click.option("--seed", type=limits.SEED, default=42, show_default=True, help="Of the draw.")
@click.option("--include-hidden", is_flag=True, help="Take hidden files too, as in cie embed.")
@click.option("--exclude", multiple=True, metavar="GLOB", help="Leave out what matches, as in .gitignore.")
@click.option("--batch-size", type=limits.BATCH, help="Images per batch at most; by default by tokens.")
@click.option("--device", help="cpu, cuda, cuda:1, mps; by default the best there is.")
@click.option("--dtype", help="float32, bfloat16 or float16; by default float32 on a CPU, bfloat16 on a GPU.")
@click.option("--revision", help="The model's revision on the hub.")
@click.option("--local-files-only", is_flag=True, help="Never ask the hub.")
@click.option("--trust-remote-code", is_flag=True, help="Run code that comes with the model. Only if you trust it.")
@click.option("--json", "as_json", is_flag=True, help="Print the aspects as JSON.")
def suggest(
    sources: tuple[str, ...],
    model: str | None,
    count: int,
    sample: int,
    candidates: tuple[str, ...],
    no_proposals: bool,
    seed: int,
    include_hidden: bool,
    exclude: tuple[str, ...],
    batch_size: int | None,
    as_json: bool,
    **loading: Any,
) -> None:
    r"""Aspects in which images differ, ranked by how well they separate them: what to embed them under.

    The model names them itself, asked about a few of the images; where it names none, as small ones do, everyday
    aspects are tried.

    \b
    Example:  cie suggest photos/ -m builtin
              cie suggest photos/ -m builtin --candidate fabric --candidate "car color"
    """
    from ..inputs import sources as image_sources

    if model is None:
        from ..models.suggestion import suggest_models

        raise click.UsageError(suggest_models())
    if no_proposals and not candidates:
        raise click.UsageError("--no-proposals leaves nothing to try: give aspects with --candidate")
    found = image_sources.find(sources, include_hidden=include_hidden, exclude=exclude)
    from .. import load
    from ..suggestion.sampling import draw_from_sources
    from ..suggestion.suggest import check_method, suggest_for

    images = draw_from_sources(found, sample, seed)
    with load(model, **{name: value for name, value in loading.items() if value}) as embedder:
        check_method(embedder.method)
        suggested = suggest_for(
            images, embedder, n=count, candidates=candidates, propose=not no_proposals, batch_size=batch_size
        )
    if as_json:
        click.echo(json.dumps([each.to_json() for each in suggested.aspects], indent=2, ensure_ascii=False))
    elif suggested.aspects:
        _show(suggested)
    click.echo(_summary(suggested), err=True)
    if suggested.clear:
        wanted = [f"-c {shlex.quote(each.condition)}" for each in suggested.clear]
        click.echo(f"next: cie embed {shlex.join(sources)} {' '.join(wanted)} -m {shlex.quote(model)}", err=True)
    if list_failures(suggested.failures, where=""):
        sys.exit(EXIT_SOME_IMAGES_FAILED)


def _show(suggested: "Suggestions") -> None:
    rows = [
        (
            str(rank),
            each.condition,
            f"{each.separation:.2f}",
            each.separation,
            f"{each.unconditioned:.2f}",
            ", ".join(f"{word or EMPTY} {share:.0%}" for word, share in each.words[:SHOWN_WORDS])
            + (f" and {len(each.words) - SHOWN_WORDS} more" if len(each.words) > SHOWN_WORDS else ""),
            ", ".join(each.alike[:SHOWN_ALIKE])
            + (f" and {len(each.alike) - SHOWN_ALIKE} more" if len(each.alike) > SHOWN_ALIKE else ""),
        )
        for rank, each in enumerate(suggested.aspects, 1)
    ]
    print_table(("", "aspect", "separation", "", "without it", "words", "alike"), rows, right=(0, 2, 4))


def _summary(suggested: "Suggestions") -> str:
    named = (
        f"the model named {len(suggested.proposed)} of them" if suggested.proposed else "the model named none itself"
    )
    said = f"{len(suggested.tried)} aspects tried on {suggested.images} images ({named})"
    return said if suggested.aspects else f"{said}: none separates them"
