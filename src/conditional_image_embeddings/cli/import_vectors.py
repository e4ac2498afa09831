"""`cie import`: vectors that were exported, or that other tools made."""

import json
import sys

import click

from ..collection.exchange.formats import FORMATS
from .command import EXIT_SOME_IMAGES_FAILED, SHOWN_FAILURES, Command


@click.command("import", cls=Command)
@click.argument("source")
@click.option(
    "--format",
    "format_name",
    type=click.Choice([each.name for each in FORMATS.values() if each.comes_back]),
    required=True,
)
@click.option("-e", "--db", default="./embeddings", show_default=True, help="A LanceDB directory or URI.")
@click.option("--dataset", help="Of another tool's vectors: the name to store them under.")
@click.option("--method", help="Of these: the method; by default what the files say, or `imported`.")
@click.option("-m", "--model", help="Of these: the model that made them.")
@click.option("-c", "--condition", help="Of these: the condition that they were made under.")
@click.option("--images", help="Of these: the folder of their images, or that of the benchmarks, to look up ids in.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
def import_vectors(
    source: str,
    format_name: str,
    db: str,
    dataset: str | None,
    method: str | None,
    model: str | None,
    condition: str | None,
    images: str | None,
    as_json: bool,
) -> None:
    r"""Bring in vectors: what `cie export` wrote comes back as it was; another tool's get a setting of their own.

    \b
    Example:  cie import embeddings_of_the_paper/ --format reference -e ./embeddings --images ./datasets
    """
    from ..collection.exchange import importing
    from ..collection.storage.store import Store

    done = importing.import_vectors(
        Store(db), source, format_name, dataset=dataset, method=method, model=model, condition=condition, images=images
    )
    if as_json:
        rows = [
            {"setting": each.setting.name, "imported": each.imported, "already_there": each.already_there}
            for each in done.settings
        ]
        click.echo(json.dumps({"settings": rows, "bad": done.bad}, indent=2, ensure_ascii=False))
    else:
        for each in done.settings:
            click.echo(f"{each.setting.name}: {each.imported} imported, {each.already_there} already there")
    for line in done.bad[:SHOWN_FAILURES]:
        click.echo(f"left out: {line}", err=True)
    if len(done.bad) > SHOWN_FAILURES:
        click.echo(f"... and {len(done.bad) - SHOWN_FAILURES} rows more (--json lists all)", err=True)
    if done.bad:
        sys.exit(EXIT_SOME_IMAGES_FAILED)
