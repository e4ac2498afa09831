"""`cie mcp`: a collection as tools for agents."""

import sys
from pathlib import Path
from typing import Any

import click

from . import options
from .command import Command


@click.command(cls=Command)
@click.argument("db", default="./embeddings")
@click.option(
    "--allow-files",
    "files",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="A folder whose images may be searched with. Without: no file is read but those of the collection.",
)
@options.loading
def mcp(db: str, files: Path | None, **loading: Any) -> None:
    r"""Give an agent tools over a collection: search, words, groups, comparisons, with small pictures.

    It speaks the Model Context Protocol on stdin and stdout: name this command in the settings of Claude Desktop,
    Claude Code or another client, which starts and ends it. It changes nothing, and sends nothing but its answers.

    \b
    Example:  cie mcp ./embeddings
              claude mcp add cars -- cie mcp /home/me/cars/embeddings
    """
    from ..errors import require

    require("mcp", "a server for agents")
    from ..server.agent.serving import serve

    if sys.stdin.isatty():
        click.echo("An agent's client starts this command and talks to it; nothing is to be typed.", err=True)
    serve(db, files=files, **loading)
