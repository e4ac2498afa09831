"""`cie evaluate`: scores of what is in a database."""

import json
from pathlib import Path

import click

from .command import Command


@click.command(cls=Command)
@click.argument("db", default="./embeddings")
@click.option("--setting", "pattern", default="*", show_default=True, help="Glob over the settings' names.")
@click.option("--metric", type=click.Choice(["cosine", "euclidean"]), default="cosine", show_default=True)
@click.option("--all-aspects", is_flag=True, help="Score every setting on every aspect, not only on its own.")
@click.option("--datasets-dir", type=click.Path(path_type=Path), help="Where the benchmarks' labels are, if moved.")
@click.option("--json", "as_json", is_flag=True, help="Print the scores as JSON.")
def evaluate(db: str, pattern: str, metric: str, all_aspects: bool, datasets_dir: Path | None, as_json: bool) -> None:
    r"""Score embeddings of a benchmark: MAP@R, Precision@1, AMI, NMI.

    \b
    Example:  cie evaluate ./embeddings --setting "synthetic_cars-*"
    """
    from ..evaluation import evaluate as evaluate_store
    from ..evaluation import format_table
    from ..store import Store

    rows = evaluate_store(
        Store(db, create=False), pattern, metric=metric, all_aspects=all_aspects, datasets_dir=datasets_dir
    )
    click.echo(json.dumps(rows, indent=2) if as_json else format_table(rows))
