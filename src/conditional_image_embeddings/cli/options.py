"""Options that several commands take, with one name, one meaning and one check."""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from ..collection.words import EMPTY, WITHOUT

if TYPE_CHECKING:
    from ..collection.filters import Word

LONGEST_LIST = 256 * 1024**2  # bytes of ids


def output_file(_: click.Context, option: click.Parameter, path: Path | None) -> Path | None:
    """A file that is to be written, before the work for it begins: a callback of click's."""
    if path is not None and not path.parent.is_dir():
        raise click.BadParameter(f"there is no directory {path.parent}", param=option)
    return path


def read_ids(_: click.Context, option: click.Parameter, file: BinaryIO | None) -> frozenset[str] | None:
    """The ids in a file, one per line; white space at the end of a line and empty lines count for nothing."""
    if file is None:
        return None
    named = f"{getattr(file, 'name', 'the file')}"
    data = file.read(LONGEST_LIST + 1)
    if len(data) > LONGEST_LIST:
        raise click.BadParameter(f"{named} has more than {LONGEST_LIST // 1024**2} MiB of ids", param=option)
    try:
        lines = data.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise click.BadParameter(f"{named} is no UTF-8 text at byte {error.start}", param=option) from None
    if not (found := frozenset(line.rstrip("\r") for line in lines) - {""}):
        raise click.BadParameter(f"{named} has no ids: one per line", param=option)
    return found


def words_by_condition(given: Sequence[str], known: Collection[str | None]) -> "dict[str | None, list[Word]] | None":
    """What was given to `--facet`, as `Collection.search` takes facets; None where nothing was.

    A condition may have an equals sign, and so may a word: the longest condition that is known counts, and if none is,
    what is before the last equals sign. With `!=` the word is one that it is not.
    """
    from ..collection.filters import Not

    folded = {(each or "").casefold() for each in known}
    found: dict[str | None, list[Word]] = {}
    for each in map(str.strip, given):
        splits = [(each[:place].strip(), each[place + 1 :].strip()) for place, sign in enumerate(each) if sign == "="]
        if not splits:
            raise click.BadParameter(f"{each!r} has no equals sign: CONDITION=WORD, such as 'car color=red'")
        splits += [(before[:-1].strip(), after) for before, after in splits if before.endswith("!")]
        named = [split for split in splits if split[0].casefold() in folded]
        condition, word = max(named, key=lambda split: len(split[0])) if named else splits[-1]
        excluded = each[len(condition) :].lstrip().startswith("!=")
        plain = {EMPTY: "", WITHOUT: None}.get(word, word)
        found.setdefault(condition or None, []).append(Not(plain) if excluded else plain)
    return found or None


def loading(command: Callable[..., Any]) -> Callable[..., Any]:
    """How the model that made a collection is loaded, where a query needs it: keywords of `cie.open`."""
    for option in (
        click.option("--local-files-only", is_flag=True, help="Never ask the hub."),
        click.option("--model-path", help="Where the model is now, if it was moved."),
        click.option("--device", help="Of the model, if one is needed: cpu, cuda, cuda:1, mps."),
    ):
        command = option(command)
    return command


setting = click.option("--setting", "pattern", default="*", show_default=True, help="Glob over the settings' names.")
where = click.option("--where", metavar="SQL", help='Only images that fit, such as "width > 500": columns of `images`.')
facet = click.option(
    "--facet",
    "facets",
    multiple=True,
    metavar="CONDITION=WORD",
    help="Only images whose first word under this condition is this, or, with !=, is not. Repeat it: words of one "
    "condition are alternatives, conditions must all hold.",
)
among = click.option(
    "--among",
    type=click.File("rb"),
    callback=read_ids,
    metavar="FILE",
    help="Only images whose ids are in this file, one per line; - is the standard input.",
)
html = click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    callback=output_file,
    metavar="FILE",
    help="Write a page with pictures.",
)
