"""Braces in paths, as shells and WebDataset expand them: `shards/{000..009}.tar`, `{train,test}/*.jpg`."""

import re

from ..errors import SourceError

MOST = 100_000  # paths that one pattern stands for

_INNERMOST = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


def expand(pattern: str) -> list[str]:
    """The paths that a pattern stands for, in its order; itself, where it has no braces to expand.

    Numbers keep the width that they are written in: `{08..10}` is 08, 09, 10.

    Raises:
        SourceError: they are more than `MOST`.
    """
    for found in _INNERMOST.finditer(pattern):
        if (choices := _choices(found[1])) is not None:
            before, after = pattern[: found.start()], pattern[found.end() :]
            expanded: list[str] = []
            for choice in choices:
                expanded += expand(f"{before}{choice}{after}")
                if len(expanded) > MOST:
                    raise SourceError(f"{pattern} stands for more than {MOST} paths: use a wildcard (*) instead")
            return expanded
    return [pattern]


def _choices(inner: str) -> list[str] | None:
    if numbers := _RANGE.fullmatch(inner):
        first, last = numbers.groups()
        width = max(len(first), len(last)) if "0" in {first[0], last[0]} and max(len(first), len(last)) > 1 else 0
        step = 1 if int(first) <= int(last) else -1
        count = abs(int(last) - int(first)) + 1
        if count > MOST:
            raise SourceError(f"{{{inner}}} stands for more than {MOST} paths: use a wildcard (*) instead")
        return [f"{number:0{width}d}" for number in range(int(first), int(last) + step, step)]
    return inner.split(",") if "," in inner else None
