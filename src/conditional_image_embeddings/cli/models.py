"""`cie models`."""

import json

import click

from .command import Command


@click.command(cls=Command)
@click.option("--json", "as_json", is_flag=True, help="Print the table as JSON.")
def models(as_json: bool) -> None:
    r"""The models in the box, and the model families that the tests hold to the plain pass.

    Other families work too: a loaded model is tried against plain passes, and shares what is exact.

    \b
    Example:  cie models
    """
    from ..lvlm.families import describe

    rows = describe()
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    widths = [max(len(str(row[column])) for row in rows) for column in ("name", "kind", "family")]
    for row in rows:
        name, kind, family = (
            row[column].ljust(w) for column, w in zip(("name", "kind", "family"), widths, strict=True)
        )
        click.echo(f"{name}  {kind}  {family}  {row['exact']}")
