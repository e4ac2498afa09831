"""The sources of a command line, looked for again and again while files come and go."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import NoImagesError, SourceError
from . import braces
from .folders import absolute, fixed_part, path_to_text
from .references import ImageSource
from .shards import Shards
from .sources import Files, expanded, find
from .tables import is_table


class Lookup:
    """Where images are looked for, as `sources.find` takes it.

    Args:
        paths: Files, folders, globs, Parquet and Lance files, WebDataset shards.
        options: Of `sources.find`.

    Attributes:
        folders: Whose content decides what is found: folders, those that globs begin at, Lance tables.
        files: Files that were named, and Parquet files.

    Raises:
        SourceError: a path that does not exist. One that is there may have no images yet.
    """

    def __init__(self, paths: Sequence[str | os.PathLike[str]], **options: Any) -> None:
        self._options = options
        self._searched: list[str] = []  # searched anew each time
        named: list[str] = []
        self.folders: list[Path] = []
        self.files: list[Path] = []
        for path in map(os.fsdecode, paths):
            if "://" in path:  # an object store tells nothing of changes
                self._searched.append(path)
                continue
            place = expanded(path)
            if os.path.lexists(place) and not place.is_dir() and not is_table(place):
                named.append(path)
                self.files.append(absolute(place))
                continue
            self._searched.append(path)
            if place.is_dir():
                self.folders.append(absolute(place))
            elif os.path.lexists(place):
                self.files.append(absolute(place))
            else:
                patterns = braces.expand(path)
                self.folders += {fixed_part(absolute(expanded(each))): None for each in patterns}
        # Their common folder is the root of their ids, whichever of them are there later.
        found = find(named, **options) if named else []
        self._named = [source for source in found if isinstance(source, Files | Shards)]
        for path in self._searched:
            try:
                find([path], **options)
            except NoImagesError:
                continue

    def look(self) -> tuple[list[ImageSource], dict[str, SourceError]]:
        """The sources that have images now, and why others have none, by path."""
        found: dict[tuple[type, str | None, str], ImageSource] = {}
        problems: dict[str, SourceError] = {}
        for path in self._searched:
            try:
                for source in find([path], **self._options):
                    whole = path if isinstance(source, Files | Shards) else ""  # several globs may begin at one folder
                    found.setdefault((type(source), source.root, whole), source)
            except SourceError as error:
                problems[path_to_text(path)] = error
        for source in self._named:
            try:
                there = source.existing()
            except SourceError as error:  # shards that are still being written
                problems[source.root] = error
                continue
            if there is None:
                problems[source.root] = NoImagesError(f"none of the files that were named in {source.root} is there")
            else:
                found[type(there), source.root, ""] = there
        return list(found.values()), problems
