"""Tables for people: as wide as the terminal, or, in a pipe or file, plain lines that nothing is cut from."""

import sys
from collections.abc import Iterable, Sequence

import click

PLAIN_WIDTH = 1_000_000  # of what is no terminal
BAR_WIDTH = 24


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str | float]], *, right: Iterable[int] = ()) -> None:
    """Print a table. What a user typed or a model said is shown as it is, never as markup.

    Args:
        headings: One per column.
        rows: As many cells as there are headings: texts, and numbers from 0 to 1, which are shown as bars.
        right: The columns that are aligned to the right.
    """
    from rich.bar import Bar
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    is_terminal = sys.stdout.isatty()
    console = Console(width=None if is_terminal else PLAIN_WIDTH, markup=False, emoji=False, highlight=False)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    aligned = set(right)
    for index, heading in enumerate(headings):
        table.add_column(Text(_printable(heading)), justify="right" if index in aligned else "left", overflow="fold")
    for row in rows:
        table.add_row(
            *(Text(_printable(each)) if isinstance(each, str) else Bar(1, 0, each, width=BAR_WIDTH) for each in row)
        )
    if is_terminal:
        console.print(table)
        return
    with console.capture() as captured:
        console.print(table, soft_wrap=True)
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def _printable(text: str) -> str:
    """A name or a word without what a terminal would take for a command."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)
