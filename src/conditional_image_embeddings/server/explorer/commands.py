"""The command line that prints what the page shows."""

import re
import shlex
from collections.abc import Iterator, Sequence
from decimal import Decimal

from ...collection.words import EMPTY
from .requests import Aspect, CommandRequest, Filters, Weighted

UPLOAD = "YOUR-IMAGE"  # the page does not know where a picture lay that was dropped on it
CHOSEN = "ids.txt"


def command(db: str, request: CommandRequest, *, several_spaces: bool, chosen: bool) -> tuple[str, str | None]:
    """A `cie` command with the same result, and what to know before it is run.

    Args:
        db: The database.
        request: What the page shows.
        several_spaces: Whether the database has more than the one that is looked at.
        chosen: Whether images are shown that no option describes (a group, a lasso): these are read from a file.
    """
    parts, notes = [*_beginning(f"./{db}" if db.startswith("-") else db, request)], []
    if several_spaces:
        parts += ["--setting", request.space]
    if request.shows == "compare" and request.pair is not None:
        parts += ["--", *request.pair]
    if request.shows == "duplicates" and len(counted := _counted(request)) > 1 and None in counted:
        notes.append("the command line has no way to say that they are alike under no condition too")
    if request.shows != "compare":
        parts += _filters(request.filters)
        if chosen:
            parts += ["--among", CHOSEN]
            notes.append(f"export the shown images as ids to {CHOSEN} first")
    if request.shows == "images" and request.query.upload:
        notes.append(f"put your picture's path in place of {UPLOAD}")
    return shlex.join(parts), "; ".join(notes) or None


def _beginning(db: str, request: CommandRequest) -> Iterator[str]:
    conditions = _counted(request).values()
    (first, *_) = conditions
    if request.shows == "groups":
        yield from ("cie", "cluster", db, *_condition(first.condition))
        if request.groups is not None:
            yield from ("-n", str(request.groups))
    elif request.shows == "duplicates":
        yield from ("cie", "duplicates", db)
        for each in conditions:
            yield from _condition(each.condition)
        if request.threshold is not None:
            yield from ("--threshold", _number(request.threshold))
    elif request.shows == "compare" and request.pair is not None:
        yield from ("cie", "compare", db)
    elif request.shows == "words" or not request.query:
        yield from ("cie", "words", db)
        for each in conditions:
            yield from ("--no-condition",) if each.condition is None else _condition(each.condition)
    else:
        yield from ("cie", "search", db)
        yield from _weighted("--text", request.query.text)
        yield from _weighted("--id", request.query.image_id)
        yield from _weighted("--image", [Weighted(value=UPLOAD, weight=each.weight) for each in request.query.upload])
        for each in conditions:
            if each.condition is None:
                yield from ("--no-condition", _number(each.weight))
            else:
                weighted = each.weight != 1 or re.search(r":[-+]?[\d.]+$", each.condition)
                yield from ("-c", f"{each.condition}:{_number(each.weight)}" if weighted else each.condition)
        yield from ("-k", str(request.k), *(("--cut", "auto") if request.cut else ()))


def _counted(request: CommandRequest) -> dict[str | None, Aspect]:
    """The conditions that count."""
    return {each.condition: each for each in request.conditions if each.weight} or {None: Aspect(condition=None)}


def _number(value: float) -> str:
    """All its digits, without an exponent."""
    return format(Decimal(repr(value)).normalize(), "f")


def _condition(name: str | None) -> Iterator[str]:
    if name is not None:
        yield from ("-c", name)


def _weighted(option: str, several: Sequence[Weighted]) -> Iterator[str]:
    for each in several:
        if each.weight:
            plain = each.weight == 1 and not re.match(r"[-+]?[\d.]+:", each.value)
            yield f"{option}={each.value}" if plain else f"{option}={_number(each.weight)}:{each.value}"


def _filters(filters: Filters) -> Iterator[str]:
    if filters.where is not None:
        yield from ("--where", filters.where)
    for facet in filters.facets:
        for word in facet.words:
            yield f"--facet={facet.condition or ''}{'!=' if facet.excluded else '='}{word or EMPTY}"
