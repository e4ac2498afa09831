"""`cie evaluate`: scores of what is in a database."""

from pathlib import Path
from typing import Any

import click

from . import limits, options
from .command import Command


@click.command(cls=Command)
@click.argument("db", default="./embeddings")
@options.setting
@click.option("--metric", type=click.Choice(["cosine", "euclidean"]), default="cosine", show_default=True)
@click.option("--all-aspects", is_flag=True, help="Score every setting on every aspect, not only on its own.")
@click.option("--datasets-dir", type=click.Path(path_type=Path), help="Where the benchmarks' labels are, if moved.")
@click.option("--dataset-info-dir", type=click.Path(path_type=Path), help="Where the universal sets are, if moved.")
@click.option(
    "--labels",
    "table",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Labels of your own images, CSV or TSV: a column of image ids (paths), and one per aspect.",
)
@click.option(
    "--folders", "folders_are", metavar="ASPECT", help="The name of an image's folder is its label in ASPECT."
)
@click.option("--allow-missing", is_flag=True, help="Leave out images without a vector or a label, with a warning.")
@click.option("--clustering/--no-clustering", default=True, help="With or without AMI and NMI: k-means takes its time.")
@click.option("--bootstrap", type=limits.SAMPLES, metavar="N", help="95 % intervals from N samples of queries.")
@click.option(
    "--format",
    "printed",
    type=click.Choice(["table", "json", "csv", "latex"]),
    default="table",
    show_default=True,
    help="What to print.",
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option(
    "-o",
    "--output",
    "files",
    type=click.Path(path_type=Path, dir_okay=False),
    multiple=True,
    metavar="FILE",
    help="Also write FILE, .json, .csv or .tex: whole settings, versions, counts. May be given again.",
)
def evaluate(
    db: str,
    pattern: str,
    table: Path | None,
    folders_are: str | None,
    printed: str,
    as_json: bool,
    files: tuple[Path, ...],
    **options: Any,
) -> None:
    r"""Score embeddings of a benchmark, or against your own labels: MAP@R, Precision@1, R-Precision, AMI, NMI.

    \b
    Example:  cie evaluate ./embeddings --setting "synthetic_cars-*"
              cie evaluate ./embeddings --bootstrap 1000 -o scores.csv -o scores.tex
              cie evaluate ./embeddings --labels labels.csv
              cie evaluate ./embeddings --folders "clothing category"
    """
    from .. import evaluation
    from ..collection.storage.store import Store
    from ..datasets.labelled import from_folders, from_table

    if table and folders_are:
        raise click.UsageError("--labels and --folders are two places of labels: choose one")

    for file in files:
        evaluation.check_file(file)
    store = Store(db, create=False)
    benchmark = None
    if table:
        allow_missing = options["allow_missing"]
        benchmark = from_table(evaluation.images_of(store, pattern), table, allow_missing=allow_missing)
    elif folders_are:
        benchmark = from_folders(evaluation.images_of(store, pattern), folders_are)
    given = {name: value for name, value in options.items() if value is not None}
    rows = evaluation.evaluate(store, pattern, benchmark=benchmark, **given)
    for file in files:
        evaluation.write(rows, file)
    click.echo(evaluation.FORMATS["json" if as_json else printed](rows))
