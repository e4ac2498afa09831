"""Which files below a folder are taken: not hidden ones, not programs' caches, not what a user excludes.

Photo folders hold more than photographs: a NAS keeps thumbnails of each in `@eaDir` and what was deleted in `#recycle`,
Lightroom its previews in `*.lrdata`. Patterns are those of .gitignore, matched by the library for them, pathspec.
"""

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from pathspec import GitIgnoreSpec

from ..errors import SourceError, preview
from .formats import suffixes

# Thumbnails, snapshots and deleted files, in lower case; those whose names begin with a dot are hidden anyway.
CACHES = (
    *("@eadir/", "@tmp/", r"\#recycle/", r"\#snapshot/"),  # Synology
    *("@recycle/", "@recently-snapshot/", "@transcode/", "@__thumb/"),  # QNAP
    *("$recycle.bin/", "recycler/", "system volume information/", "lost+found/", "~snapshot/", "__macosx/"),
    *("*.lrdata/", "**/*.photoslibrary/resources/", "**/*.aplibrary/thumbnails/", "**/*.aplibrary/previews/"),
    *("node_modules/", "__pycache__/"),
)


class Selection:
    """What is taken. Paths are relative to the folder that is searched, with forward slashes.

    Args:
        include_hidden: Take hidden files and folders, and `CACHES`.
        exclude: Patterns as in .gitignore of what is left out.

    Raises:
        SourceError: a pattern that is none.
    """

    def __init__(self, *, include_hidden: bool = False, exclude: Sequence[str] = ()) -> None:
        self.include_hidden = include_hidden
        self._excluded = GitIgnoreSpec.from_lines(map(_checked, [exclude] if isinstance(exclude, str) else exclude))

    def reason_to_skip(self, path: str, *, is_folder: bool) -> str | None:
        """Why a file or folder, whose own folders are all taken, is not: "hidden", "caches" or "excluded"."""
        if not self.include_hidden:
            if path.rpartition("/")[2].startswith("."):
                return "hidden"
            if is_folder and is_cache(path):
                return "caches"
        return "excluded" if self.excludes(path, is_folder=is_folder) else None

    def excludes(self, path: str, *, is_folder: bool = False) -> bool:
        return self._excluded.match_file(f"{path}/" if is_folder else path)


class Skipped:
    """What was left out while images were looked for, for the message where none are found."""

    def __init__(self) -> None:
        self._names: dict[str, list[str]] = {"hidden": [], "caches": [], "excluded": []}

    def add(self, reason: str, path: str, *, is_folder: bool) -> None:
        if is_folder or Path(path).suffix.lower() in suffixes():
            self._names[reason].append(f"{path}/" if is_folder else path)

    def __str__(self) -> str:
        """One clause to put behind a message, or nothing."""
        parts = [f"{len(names)} {reason} ({preview(names, 2)})" for reason, names in self._names.items() if names]
        if not parts:
            return ""
        by_default = self._names["hidden"] or self._names["caches"]
        remedy = "; --include-hidden takes those that are hidden or caches" if by_default else ""
        return f"; skipped: {', '.join(parts)}{remedy}"


def is_cache(folder: str) -> bool:
    """Whether a folder, by its relative path, is one of `CACHES` or lies in one."""
    return _caches().match_file(f"{folder.lower()}/")


@cache
def _caches() -> GitIgnoreSpec:
    return GitIgnoreSpec.from_lines(CACHES)


def _checked(pattern: str) -> str:
    """A pattern for pathspec: `#` begins a comment in a file, but a name on a command line."""
    line = rf"\{pattern}" if pattern.startswith("#") else pattern
    reason = "" if pattern.strip("!/ ") else "it is empty"
    try:
        # One that is no comment and yet matches nothing is broken.
        if not reason and any(each.include is None for each in GitIgnoreSpec.from_lines([line]).patterns):
            reason = "a bracket is not closed"
    except (ValueError, re.error) as error:
        reason = " ".join(str(error).split())
    if reason:
        raise SourceError(f"{pattern!r} cannot be excluded ({reason}): write it as in .gitignore, such as '*.tmp.jpg'")
    return line
