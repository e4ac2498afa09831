"""`cie`: one short function per command; the work is done by the package.

Results go to stdout (as JSON with `--json`), progress and errors to stderr. Exit status: 0 all was done, 3 some images
failed and are listed, 2 wrong usage, 1 anything else, with one line of error (`--debug` shows the traceback).
"""

import click

from .. import __version__
from .cluster import cluster
from .command import CONTEXT, Commands
from .compare import compare
from .datasets import datasets
from .demo import demo
from .duplicates import duplicates
from .embed import embed
from .evaluate import evaluate
from .explore import explore
from .export import export
from .import_vectors import import_vectors
from .index import index
from .mcp import mcp
from .models import models
from .refine import refine
from .reproduce import reproduce
from .search import search
from .serve import serve
from .suggest import suggest
from .sweep import sweep
from .words import words


@click.group(cls=Commands, context_settings=CONTEXT)
@click.version_option(__version__, prog_name="cie")
def main() -> None:
    r"""Compare images by what you care about: embeddings under a condition named in plain words.

    \b
    Start here:   cie demo
    Your photos:  cie embed photos/ -c "car color" -m builtin
    """


COMMANDS = (
    *(demo, suggest, embed, explore, serve, mcp, search, cluster, duplicates, compare, words, index, refine),
    *(export, import_vectors, evaluate, sweep, reproduce, datasets, models),
)

for command in COMMANDS:
    main.add_command(command)
