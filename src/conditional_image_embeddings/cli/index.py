"""`cie index`: the index that a search among many images goes through."""

import json

import click

from . import options
from .command import Command


@click.command(cls=Command)
@click.argument("db", default="./embeddings")
@click.option("-c", "--condition", "conditions", multiple=True, help="An aspect that was embedded; by default all.")
@options.setting
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
def index(db: str, conditions: tuple[str, ...], pattern: str, as_json: bool) -> None:
    r"""Build the search index of each setting, or bring it up to date.

    Searches find every image without an index, and what came after it: it makes them fast. Small settings need none.

    \b
    Example:  cie index ./embeddings
    """
    from ..collection.searching.neighbours import build_indexes, settings_to_index, summary
    from ..collection.storage.store import Store

    store = Store(db, create=False)
    reports = []
    for report in build_indexes(store, settings_to_index(store, conditions, pattern)):
        reports.append(report)
        if not as_json:
            click.echo(summary(report))
    if as_json:
        rows = [{**vars(report), "setting": report.setting.name} for report in reports]
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
