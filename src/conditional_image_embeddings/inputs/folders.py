"""Folders walked for images: everything below, each real folder once, in an order that is the same on every run.

This is the one walker there is: what is embedded and what is labelled are found by it. It keeps no stack of calls, so
that a tree may be as deep as its paths can be named.
"""

import fnmatch
import glob
import heapq
import os
import re
from collections.abc import Callable, Hashable, Iterator
from pathlib import Path
from typing import Literal, TypeAlias

from .formats import suffixes
from .selection import Selection, Skipped, is_cache

Kind: TypeAlias = Literal["file", "folder", "link", "other"]  # link: to a folder; a broken one is a file
Entries: TypeAlias = Iterator[tuple[str, Kind | OSError]]

_ESCAPED = re.compile(rb"\\x(5c|[89a-f][0-9a-f])")
_LIKE_AN_ESCAPE = re.compile(r"\\(?=x(?:5c|[89a-f][0-9a-f]))")


def path_to_text(path: str | os.PathLike[str]) -> str:
    r"""A path as text that can be stored, no two as the same: bytes that are not UTF-8 are written as `\xff`.

    A backslash of the path itself stays, but for one that could be taken for the beginning of such: that is `\x5c`.
    """
    encoded = os.fsencode(path)
    if b"\\" in encoded:
        parts = _LIKE_AN_ESCAPE.split(encoded.decode("utf-8", "surrogateescape"))
        encoded = rb"\x5c".join(part.encode("utf-8", "surrogateescape") for part in parts)
    return encoded.decode("utf-8", "backslashreplace")


def text_to_path(text: str) -> Path:
    """The path that `path_to_text` made this text of."""
    encoded = text.encode("utf-8", "surrogateescape")
    return Path(os.fsdecode(_ESCAPED.sub(lambda found: bytes.fromhex(found[1].decode()), encoded)))


def absolute(path: Path) -> Path:
    """Absolute and without `..`, links kept: the name that the user knows."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links


def images_below(
    folder: Path, selection: Selection, skipped: Skipped | None = None, *, depth: int | None = None
) -> Iterator[tuple[str, Path | OSError]]:
    """The image files below a folder, by their paths from there; and why a folder, with a slash, cannot be listed.

    Args:
        folder: Where to begin.
        selection: What is taken.
        skipped: Where to note what is not.
        depth: So many levels of folders below; None: all.
    """

    def is_taken(inner: str, *, is_folder: bool) -> bool:
        reason = selection.reason_to_skip(inner, is_folder=is_folder)
        if reason is not None and skipped is not None:
            skipped.add(reason, path_to_text(inner), is_folder=is_folder)
        return reason is None

    def descend(inner: str) -> bool | None:
        if inner and ((depth is not None and inner.count("/") >= depth) or not is_taken(inner, is_folder=True)):
            return None
        return True

    for inner, kind in tree(folder, descend):
        if isinstance(kind, OSError):
            yield f"{inner or '.'}/", kind
        elif kind == "file" and _suffix(inner) in suffixes() and is_taken(inner, is_folder=False):
            yield inner, folder / inner


def matches(pattern: Path, selection: Selection) -> tuple[list[Path], Skipped]:
    """What a glob matches and is taken: not what lies in a folder of caches, unless the pattern names that folder."""
    root, skipped, taken = fixed_part(pattern), Skipped(), []
    wanted = pattern.relative_to(root).parts

    def reached(inner: str) -> frozenset[int]:
        """How many of the pattern's parts a path may have used up."""
        places = _with_none_of_stars({0}, wanted)
        for name in filter(None, inner.split("/")):
            places = _with_none_of_stars(
                {
                    place + (wanted[place] != "**")
                    for place in places
                    if place < len(wanted) and _fits(name, wanted[place], hidden=selection.include_hidden)
                },
                wanted,
            )
        return frozenset(places)

    def descend(inner: str) -> Hashable:
        return (reached(inner) - {len(wanted)}) or None

    for inner, kind in tree(root, descend):
        is_folder = kind in {"folder", "link"}
        if isinstance(kind, OSError) or kind == "other" or len(wanted) not in reached(inner):
            continue
        folders = inner.split("/") if is_folder else inner.split("/")[:-1]
        unnamed = "/".join(name for name in folders if name not in wanted)
        if unnamed and not selection.include_hidden and is_cache(unnamed):
            skipped.add("caches", path_to_text(inner), is_folder=is_folder)
        elif selection.excludes(inner, is_folder=is_folder):
            skipped.add("excluded", path_to_text(inner), is_folder=is_folder)
        else:
            taken.append(root / inner)
    return sorted(taken, key=str), skipped


def fixed_part(pattern: Path) -> Path:
    """The folders of a glob before its first wildcard."""
    return next(folder for folder in pattern.parents if not glob.has_magic(str(folder)))


def tree(root: Path, descend: Callable[[str], Hashable]) -> Entries:
    """What is below a folder, by its path from there, and the error for a folder that cannot be listed.

    Folders come first and in the order of their names; then those that links lead to and that were not met yet, the
    shortest path first. So a link more or less changes no other path, and links to each other end.

    Args:
        root: Where to begin.
        descend: From the path of a folder ("" for the root) to None where it is not entered; otherwise something that
            a real folder is entered once for.
    """
    seen: set[tuple[int, int, Hashable]] = set()
    starts = [(0, "")]
    while starts:
        _, start = heapq.heappop(starts)
        stack = [_entries(root, start, descend(start), seen)]
        while stack:
            for inner, kind in stack[-1]:
                yield inner, kind
                if kind in {"folder", "link"} and (value := descend(inner)) is not None:
                    if kind == "folder":
                        stack.append(_entries(root, inner, value, seen))
                        break
                    heapq.heappush(starts, (inner.count("/"), inner))
            else:
                stack.pop()


def _entries(root: Path, inner: str, value: Hashable, seen: set[tuple[int, int, Hashable]]) -> Entries:
    """What is in one folder, by name; nothing where it was seen."""
    folder = root / inner
    try:
        status = folder.stat()
        key = (status.st_dev, status.st_ino, value)
        if key in seen:
            return
        seen.add(key)
        with os.scandir(folder) as listing:
            entries = sorted((entry.name, _kind(entry)) for entry in listing)
    except OSError as error:
        yield inner, error
        return
    for name, kind in entries:
        yield f"{inner}/{name}" if inner else name, kind


def _kind(entry: os.DirEntry[str]) -> Kind:
    try:
        if entry.is_dir():
            return "link" if entry.is_symlink() else "folder"
        if entry.is_file():
            return "file"
        return "file" if entry.is_symlink() and not Path(entry).exists() else "other"
    except OSError:  # a link to itself
        return "file"


def _suffix(inner: str) -> str:
    return Path(inner).suffix.lower()


def _fits(name: str, part: str, *, hidden: bool) -> bool:
    """Whether a name matches one part of a glob; wildcards at its beginning match no hidden name."""
    if name.startswith(".") and not part.startswith(".") and not hidden:
        return False
    return part == "**" or fnmatch.fnmatch(name, part)


def _with_none_of_stars(places: set[int], wanted: tuple[str, ...]) -> set[int]:
    """With the places behind each `**`, which matches no folder too."""
    for place in range(len(wanted)):
        if place in places and wanted[place] == "**":
            places.add(place + 1)
    return places
