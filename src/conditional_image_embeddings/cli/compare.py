"""`cie compare`: in which aspects two images agree."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from ..methods import METHODS
from . import options
from .command import Command
from .terminal import print_table

if TYPE_CHECKING:
    from ..collection.comparison import Comparison

SHOWN_WORDS = 2


@click.command(cls=Command)
@click.argument("images", nargs=-1, required=True, metavar="[DB] A B")
@click.option(
    "-c", "--condition", "conditions", multiple=True, help="An aspect. With a DB: by default, all that it has."
)
@click.option("-m", "--model", help="Without a DB: a hub id, a local directory, or `builtin`.")
@click.option("--method", type=click.Choice(METHODS), help="Without a DB: by default what the model is for.")
@options.setting
@click.option("--device", help="Of the model, if one is needed: cpu, cuda, cuda:1, mps.")
@click.option("--model-path", help="With a DB: where its model is now, if it was moved.")
@click.option("--local-files-only", is_flag=True, help="Never ask the hub.")
@click.option("--json", "as_json", is_flag=True, help="Print the comparisons as JSON.")
def compare(
    images: tuple[str, ...],
    conditions: tuple[str, ...],
    model: str | None,
    method: str | None,
    pattern: str,
    device: str | None,
    model_path: str | None,
    local_files_only: bool,
    as_json: bool,
) -> None:
    r"""Compare two images aspect by aspect: two files under a model, or two images of a collection (ids or files).

    With a collection, the share of its random pairs that are less similar says what a cosine means.

    \b
    Example:  cie compare a.jpg b.jpg -m builtin -c "car color" -c "car model"
              cie compare ./embeddings a.jpg b.jpg
    """
    from .. import load
    from .. import open as open_collection

    *db, a, b = images if len(images) in {2, 3} else (None, None, None, None)
    if a is None or b is None or len(db) > 1:
        raise click.UsageError("give two images, or a database and two of its images")
    if db:
        if model or method:
            raise click.UsageError("a collection is compared with the model that made it: leave out -m and --method")
        with open_collection(
            str(db[0]), device=device, model_path=model_path, local_files_only=local_files_only
        ) as there:
            compared = there.compare(a, b, conditions or None, setting=pattern)
    else:
        if model is None and (method is None or METHODS[method].model_family):
            from ..models.suggestion import suggest_models

            raise click.UsageError(suggest_models())
        from ..collection.comparison import compare as compare_images

        with load(model or str(method), method=method, device=device, local_files_only=local_files_only) as embedder:
            compared = compare_images(embedder, a, b, conditions or None)
    if as_json:
        click.echo(json.dumps([each.to_json() for each in compared], indent=2, ensure_ascii=False))
    else:
        _show(compared)


def _show(compared: "Sequence[Comparison]") -> None:
    has_shares = any(each.percentile is not None for each in compared)
    rows = [
        (
            each.condition or "(no condition)",
            f"{each.similarity:.3f}",
            *(("" if each.percentile is None else f"{each.percentile:.1%}",) if has_shares else ()),
            max(0.0, each.similarity) if each.percentile is None else each.percentile,
            *(", ".join(f"{word} {share:.2f}" for word, share in words[:SHOWN_WORDS]) for words in each.words),
        )
        for each in compared
    ]
    headings = ("", "cosine", *(("of pairs",) if has_shares else ()), "", "A", "B")
    print_table(headings, rows, right=(1, 2) if has_shares else (1,))
