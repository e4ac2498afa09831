"""`cie evaluate`: scores of what is in a database."""

from pathlib import Path

import click

from .command import Command


@click.command(cls=Command)
@click.argument("db", default="./embeddings")
@click.option("--setting", "pattern", default="*", show_default=True, help="Glob over the settings' names.")
@click.option("--metric", type=click.Choice(["cosine", "euclidean"]), default="cosine", show_default=True)
@click.option("--all-aspects", is_flag=True, help="Score every setting on every aspect, not only on its own.")
@click.option("--datasets-dir", type=click.Path(path_type=Path), help="Where the benchmarks' labels are, if moved.")
@click.option("--clustering/--no-clustering", default=True, help="With or without AMI and NMI: k-means takes its time.")
@click.option("--bootstrap", type=click.IntRange(min=1), metavar="N", help="95 % intervals from N samples of queries.")
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
    metric: str,
    all_aspects: bool,
    datasets_dir: Path | None,
    clustering: bool,
    bootstrap: int | None,
    printed: str,
    as_json: bool,
    files: tuple[Path, ...],
) -> None:
    r"""Score embeddings of a benchmark: MAP@R, Precision@1, R-Precision, AMI, NMI.

    \b
    Example:  cie evaluate ./embeddings --setting "synthetic_cars-*"
              cie evaluate ./embeddings --bootstrap 1000 -o scores.csv -o scores.tex
    """
    from .. import evaluation
    from ..store import Store

    for file in files:
        evaluation.check_file(file)
    rows = evaluation.evaluate(
        Store(db, create=False),
        pattern,
        metric=metric,
        all_aspects=all_aspects,
        datasets_dir=datasets_dir,
        clustering=clustering,
        bootstrap=bootstrap or 0,
    )
    for file in files:
        evaluation.write(rows, file)
    click.echo(evaluation.FORMATS["json" if as_json else printed](rows))
