"""`cie export`: vectors, words and images for other tools."""

import json

import click

from ..collection.exchange.formats import FORMATS
from . import options
from .command import Command


@click.command(cls=Command)
@click.argument("db", default="./embeddings")
@click.option("-o", "--output", "target", required=True, help="The file or folder to write.")
@click.option("--format", "format_name", type=click.Choice(list(FORMATS)), required=True, help="See below.")
@click.option("-c", "--condition", "conditions", multiple=True, help="Only these conditions; by default all.")
@click.option("--no-condition", is_flag=True, help="Take also what was embedded without a condition.")
@options.setting
@options.where
@click.option("--overwrite", is_flag=True, help="Replace an earlier export.")
@click.option("--json", "as_json", is_flag=True, help="Print what was written as JSON.")
def export(
    db: str,
    target: str,
    format_name: str,
    conditions: tuple[str, ...],
    no_condition: bool,
    pattern: str,
    where: str | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    r"""Write vectors, words and images for another tool; nothing is written until all of it is.

    \b
    Example:  cie export ./embeddings -o cars.parquet --format parquet -c "car color"
    """
    from ..collection.exchange import exporting
    from ..collection.storage.store import Store

    chosen = (*conditions, None) if no_condition else conditions or None
    done = exporting.export(
        Store(db, create=False), target, format_name, conditions=chosen, setting=pattern, where=where,
        overwrite=overwrite,
    )  # fmt: skip
    if as_json:
        rows = [
            {"setting": each.name, "condition": each.condition, "vectors": done.vectors[each.name]}
            for each in done.settings
        ]
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    for each in done.settings:
        click.echo(f"{each.name}: {done.vectors[each.name]} vectors")
    click.echo(f"written to {done.target}")
    for line in done.lines:
        click.echo(line, err=True)


export.epilog = "\b\n" + "\n".join(f"{each.name}: {each.description}" for each in FORMATS.values())
