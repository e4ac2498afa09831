"""`cie refine`: centred, whitened or shortened vectors beside the stored ones."""

import click

from . import limits, options
from .command import Command


@click.command(cls=Command)
@click.argument("db", default="./embeddings")
@options.setting
@click.option("--center/--no-center", default=True, show_default=True, help="Subtract the collection's mean.")
@click.option("--whiten", is_flag=True, help="Principal components of equal variance.")
@click.option("--dimensions", type=limits.DIMENSIONS, help="Keep so many: the strongest, if whitened.")
def refine(db: str, pattern: str, center: bool, whiten: bool, dimensions: int | None) -> None:
    r"""Refine stored vectors; the result is a setting of its own, fitted on the collection.

    \b
    Example:  cie refine ./embeddings --setting "*car_color*" --whiten --dimensions 64
    """
    from ..collection import refinement
    from ..collection.storage.store import Store

    store = Store(db, create=False)
    done = refinement.refine(store, store.settings(pattern), center=center, whiten=whiten, dimensions=dimensions)
    for setting, made in done:
        click.echo(f"{setting.name}: {'made' if made else 'already there'}")
