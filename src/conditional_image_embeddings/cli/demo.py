"""`cie demo`."""

import json
from pathlib import Path

import click

from ..errors import require
from .command import Command
from .explore import open_page


@click.command(cls=Command)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("cie-demo"),
    show_default=True,
    help="Where images, embeddings and the report page go.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the scores as JSON.")
@click.option("--explore", is_flag=True, help="Open the page over the demo's cars at the end: `cie explore`.")
def demo(output: Path, as_json: bool, explore: bool) -> None:
    r"""The whole story on the bundled models: render cars, embed, score, write a page to look at.

    \b
    Example:  cie demo -o cie-demo
              cie demo --explore
    """
    from ..evaluation import format_table
    from ..reports import demo as story

    if explore:
        require("serve", "the page")
    rows = story.run(output)
    click.echo(json.dumps(rows, indent=2) if as_json else format_table(rows))
    click.echo(f"Look at {output / 'report.html'}", err=True)
    if explore:
        open_page([str(output / "embeddings")])
