"""Where images come from: files, folders, globs, tables (Parquet, Lance) with an image column, shards, s3://.

A source gives each image an id that stays the same from run to run (its path relative to the source's root, or its
row's id), and is listed anew whenever it is iterated, so that no list of a million images is ever held.
"""

import glob
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from ..errors import NoImagesError, SourceError, preview
from . import braces, folders
from .absence import judge_files
from .encoded import FileStat, stat_of
from .folders import absolute, path_to_text, text_to_path
from .formats import suffixes
from .images import LazyImage
from .object_store import Objects, ObjectUri, named_together
from .references import ImageSource, Unreadable
from .selection import Selection, Skipped
from .shards import Shards, is_shard, refuse_compressed, stored
from .tables import Table, is_table


def find(
    paths: Sequence[str | os.PathLike[str]],
    *,
    include_hidden: bool = False,
    exclude: Sequence[str] = (),
    allow_outside: bool = False,
) -> list[ImageSource]:
    """The sources that a command line names: one a folder, glob or table, and one for all single files together.

    A folder, with its folders, is searched for files with the suffix of an image; so is what a glob matches. A file
    that is named is taken whatever its suffix. Single files get ids relative to their common folder. The shards that
    one glob matches, or that are named singly, are one source too. Braces are expanded as by a shell.

    Args:
        paths: Files, folders, globs, Parquet and Lance files, WebDataset shards; prefixes, objects and tables on s3://.
        include_hidden: Take hidden files and folders too, and folders of caches (`selection.CACHES`), which are
            skipped unless they are named themselves.
        exclude: Patterns as in .gitignore of what to leave out: without a slash they match the name of a file or
            folder at any depth, with one the path relative to the source's root. Rows of tables, and what is in
            shards, are not matched.
        allow_outside: Read also files that rows of a table name outside of the folder that the table is in.

    Raises:
        NoImagesError: a glob that matches nothing, a folder, prefix or shards without images.
        SourceError: a path that does not exist, a table without an image column, a pattern that is none, shards that
            cannot be read, a bucket that is not there or may not be listed, a URL of another kind.
    """
    selection = Selection(include_hidden=include_hidden, exclude=exclude)
    sources: dict[str, ImageSource] = {}
    files: list[Path] = []
    shards: list[Path] = []
    objects: dict[str, list[ObjectUri]] = {}  # by bucket
    stored_shards: dict[str, list[ObjectUri]] = {}
    for given in paths:
        path = os.fsdecode(given)
        if not path:
            raise SourceError("an empty path names no images: name files or folders; '.' is the current one")
        if "://" in path:
            uri = ObjectUri.parse(path)
            refuse_compressed(uri)
            if is_table(uri):
                sources[str(uri)] = Table(uri, allow_outside=allow_outside)
            elif uri.kind() == "object":
                (stored_shards if is_shard(uri) else objects).setdefault(uri.bucket.name, []).append(uri)
            elif is_shard(uri):
                sources[str(uri)] = Shards.of_objects(stored(path))
            else:
                sources[str(uri)] = Objects(uri, selection=selection)
            continue
        place = expanded(path)
        if os.path.lexists(place):
            matches = [place]
        else:
            root, matches, skipped = _matches(path, selection)
            packed = [match for match in matches if is_shard(match)]
            matched = [match for match in matches if match.suffix.lower() in suffixes() and not match.is_dir()]
            if packed:
                sources[f"{root} {path} shards"] = Shards.of_files(root, packed)
            if matched:
                sources[f"{root} {path}"] = Files(root, matched)
            matches = [match for match in matches if is_table(match) or (match.is_dir() and not matched)]
            if not matched and not matches and not packed:
                raise NoImagesError(f"no image, folder, table or shard matches {path}{skipped}")
        for match in matches:
            if is_table(match):
                sources[str(match)] = Table(match, allow_outside=allow_outside)
            elif match.is_dir():
                sources.setdefault(os.path.realpath(match), Folder(match, selection))
            else:
                refuse_compressed(match)
                (shards if is_shard(match) else files).append(match)
    if files:
        sources["files"] = Files(*_together(files, selection))
    if shards:
        sources["shards"] = Shards.of_files(*_together(shards, selection))
    for name, uris in objects.items():
        sources[f"objects {name}"] = named_together(uris, selection)
    for name, uris in stored_shards.items():
        sources[f"shards {name}"] = Shards.of_objects(uris)
    return list(sources.values())


def _matches(path: str, selection: Selection) -> tuple[Path, list[Path], str]:
    """Their common folder, the paths that a pattern stands for, and what was skipped."""
    patterns = braces.expand(path)
    matches: dict[Path, None] = {}
    skipped = ""
    for pattern in patterns:
        place = expanded(pattern)
        if os.path.lexists(place):
            matches[place] = None
        elif glob.has_magic(pattern):
            found, left_out = folders.matches(place, selection)
            matches.update(dict.fromkeys(found))
            skipped += str(left_out)
        else:
            what = "name files, folders, globs, Parquet or Lance files, WebDataset shards"
            raise SourceError(f"{pattern} does not exist: {what}")
    root = os.path.commonpath([absolute(folders.fixed_part(expanded(pattern))) for pattern in patterns])
    return Path(root), list(matches), skipped


def _together(files: Sequence[Path], selection: Selection) -> tuple[Path, list[Path]]:
    """The common folder of files that were named singly, and those that are not excluded."""
    root = absolute(Path(os.path.commonpath([absolute(file).parent for file in files])))
    taken = [file for file in files if not selection.excludes(absolute(file).relative_to(root).as_posix())]
    if not taken:
        named = preview([path_to_text(file) for file in files], 3)
        raise SourceError(f"all files that were named are excluded: {named}")
    return root, taken


class Files:
    """Named files, whatever their suffix."""

    def __init__(self, root: Path, files: Sequence[Path]) -> None:
        self._root = absolute(root)
        self.root = path_to_text(self._root)
        self.dataset = path_to_text(self._root.name) or "root"
        self._files = {path_to_text(absolute(file).relative_to(self._root).as_posix()): file for file in files}

    def __iter__(self) -> Iterator[tuple[str, LazyImage]]:
        return self.open(self.references())

    def references(self) -> Iterator[tuple[str, Path]]:
        yield from self._files.items()

    def open(self, references: Iterable[tuple[str, Path]]) -> Iterator[tuple[str, LazyImage]]:
        yield from references

    def stat(self, reference: Path) -> FileStat | None:
        return stat_of(reference)

    def file_of(self, image_id: str) -> Path:
        return self._root / text_to_path(image_id)

    def judge(self) -> Callable[[str], bool | None]:
        return judge_files(self._root)

    def existing(self) -> "Files | None":
        """Those that are there now, under the ids that they have here; None where none is."""
        there = [file for file in self._files.values() if os.path.lexists(file)]
        return Files(self._root, there) if there else None


class Folder:
    """A folder's images, its folders' too, as `folders.images_below` finds them."""

    def __init__(self, folder: Path, selection: Selection | None = None) -> None:
        self._folder = absolute(folder)
        self._selection = selection or Selection()
        self.root = path_to_text(self._folder)
        self.dataset = path_to_text(self._folder.name) or "root"
        try:
            with os.scandir(self._folder):
                pass
        except OSError as error:
            raise SourceError(f"folder {self.root} cannot be listed: {error.strerror}") from error
        skipped = Skipped()
        if next(folders.images_below(self._folder, self._selection, skipped), None) is None:
            everything = folders.tree(self._folder, lambda _: True)
            there = [path_to_text(inner) for inner, kind in everything if kind == "file"]
            tables = [inner for inner in there if inner.endswith(".parquet")]
            shards = [inner for inner in there if inner.endswith(".tar")]
            hint = f"; name its Parquet files instead ({preview(tables, 2)})" if tables else ""
            hint += f"; name its WebDataset shards instead ({preview(shards, 2)})" if shards else ""
            looked = f"looked for suffixes such as .jpg, .png, .webp{skipped}"
            raise NoImagesError(f"folder {self.root} has no images ({looked}){hint}")

    def __iter__(self) -> Iterator[tuple[str, LazyImage]]:
        return self.open(self.references())

    def references(self) -> Iterator[tuple[str, Path | Unreadable]]:
        for inner, found in folders.images_below(self._folder, self._selection):
            if isinstance(found, OSError):
                folder = path_to_text(self._folder / inner)
                yield path_to_text(inner), Unreadable(f"folder {folder} cannot be listed: {found.strerror}")
            else:
                yield path_to_text(inner), found

    def open(self, references: Iterable[tuple[str, Path | Unreadable]]) -> Iterator[tuple[str, LazyImage]]:
        yield from references

    def stat(self, reference: Path | Unreadable) -> FileStat | None:
        return None if isinstance(reference, Unreadable) else stat_of(reference)

    def file_of(self, image_id: str) -> Path:
        return self._folder / text_to_path(image_id)

    def judge(self) -> Callable[[str], bool | None]:
        return judge_files(self._folder)


def expanded(path: str) -> Path:
    """A path with its `~` resolved."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise SourceError(f"{path} does not exist: {error}") from error
