"""`cie sweep`: layers, prompt types and tokens compared on a benchmark."""

import json
from pathlib import Path

import click

from ..inputs.conditions import PROMPTS
from . import limits
from .command import Command


def _integers(ctx: click.Context, parameter: click.Parameter, value: str) -> tuple[int, ...] | None:
    if value == "all":
        return None
    kind = limits.LAYER if parameter.name == "layers" else limits.TOKEN
    try:
        return tuple(kind(part.strip(), parameter, ctx) for part in value.split(","))
    except click.BadParameter as error:
        raise click.BadParameter(f"{error.message} Write 'all', or numbers such as -1,-2.", ctx, parameter) from error


@click.command(cls=Command)
@click.argument("dataset")
@click.option("-m", "--model", help="A hub id, a local directory, or `builtin`.")
@click.option("-c", "--condition", "conditions", multiple=True, help="An aspect of the dataset; by default all.")
@click.option("--layers", default="all", show_default=True, callback=_integers, help="Such as -1,-2; or all.")
@click.option("--prompt-types", default="all", show_default=True, help="Such as describe,express; or all.")
@click.option("--tokens", default="-1", show_default=True, callback=_integers, help="Such as -1,-2.")
@click.option("--metric", type=click.Choice(["cosine", "euclidean"]), default="cosine", show_default=True)
@click.option("--datasets-dir", type=click.Path(path_type=Path), default=Path("datasets"), show_default=True)
@click.option("-e", "--db", default="./embeddings", show_default=True, help="A LanceDB directory or URI.")
@click.option("--batch-size", type=limits.BATCH, help="Images per batch at most; by default by tokens.")
@click.option("--json", "as_json", is_flag=True, help="Print all combinations as JSON.")
def sweep(
    dataset: str,
    model: str | None,
    conditions: tuple[str, ...],
    layers: tuple[int, ...] | None,
    prompt_types: str,
    tokens: tuple[int, ...] | None,
    metric: str,
    datasets_dir: Path,
    db: str,
    batch_size: int | None,
    as_json: bool,
) -> None:
    r"""Score every combination of layer, prompt type and token, all from one pass per image.

    Ranked on one half of the images; the other half tells what the choice is worth. Report figures on neither.

    \b
    Example:  cie sweep synthetic_cars -m builtin --layers -1,-2,-3 --prompt-types describe,express
    """
    from .. import datasets, load
    from ..collection.storage.store import Store
    from ..evaluation.sweep import format_table
    from ..evaluation.sweep import sweep as score_all
    from ..methods.request import Request

    if model is None:
        from ..models.suggestion import suggest_models

        raise click.UsageError(suggest_models())
    benchmark = datasets.get(dataset, datasets_dir)
    embedder = load(model)
    if not embedder.has_hidden_states:
        raise click.UsageError(f"{model} is for method {embedder.method}: it has no layers and tokens to choose from")
    request = Request(
        conditions=conditions or tuple(aspect.condition for aspect in benchmark.aspects),
        prompt_types=tuple(PROMPTS) if prompt_types == "all" else tuple(prompt_types.split(",")),
        tokens=tokens or (-1,),
        layers=layers or (*range(embedder.depth), -1),
    )
    combinations = request.shape[1] * request.shape[2] * request.shape[3]
    click.echo(f"{combinations} combinations x {request.shape[0]} aspects: as many tables in {db}", err=True)
    rows = score_all(Store(db), benchmark, embedder, request, metric=metric, batch_size=batch_size)
    click.echo(json.dumps(rows, indent=2) if as_json else format_table(rows))
