"""Where images come from: files, folders, globs, and tables (Parquet, Lance) with an image column.

A source gives each image an id that stays the same from run to run (its path relative to the source's root, or its
row's id), and is listed anew whenever it is iterated, so that no list of a million images is ever held.
"""

import glob
import os
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from ..errors import ImageError, SourceError, preview
from .formats import suffixes
from .selection import Selection, Skipped, is_cache

if TYPE_CHECKING:
    from .images import ImageInput

IMAGE_COLUMNS = ("image", "img", "picture", "photo", "bytes", "jpg", "jpeg", "png", "webp")
ID_COLUMNS = ("image_id", "id", "key", "file_name", "filename", "path")
ROWS = 32  # of a table with encoded images, held at a time

LazyImage: TypeAlias = "ImageInput | Callable[[], ImageInput]"  # an image, or what reads it when its turn comes


class ImageSource(Protocol):
    """Images with an id each. The ids are distinct, and the same each time the source is iterated."""

    @property
    def dataset(self) -> str:
        """The name that the images' vectors are stored under."""

    @property
    def root(self) -> str | None:
        """The directory that ids are relative to, or the table's file."""

    def __iter__(self) -> Iterator[tuple[str, LazyImage]]: ...


def find(
    paths: Sequence[str | os.PathLike[str]], *, include_hidden: bool = False, exclude: Sequence[str] = ()
) -> "list[ImageSource]":
    """The sources that a command line names: one a folder, glob or table, and one for all single files together.

    A folder, with its folders, is searched for files with the suffix of an image; so is what a glob matches. A file
    that is named is taken whatever its suffix. Single files get ids relative to their common folder.

    Args:
        paths: Files, folders, globs, Parquet and Lance files.
        include_hidden: Take hidden files and folders too, and folders of caches (`selection.CACHES`), which are
            skipped unless they are named themselves.
        exclude: Patterns as in .gitignore of what to leave out: without a slash they match the name of a file or
            folder at any depth, with one the path relative to the source's root. Rows of tables are not matched.

    Raises:
        SourceError: a path that does not exist, a glob that matches nothing, a folder without images, a table without
            an image column, a pattern that is none.
    """
    selection = Selection(include_hidden=include_hidden, exclude=exclude)
    sources: dict[str, ImageSource] = {}
    files: list[Path] = []
    for given in paths:
        path = os.fspath(given)
        if "://" in path:
            raise SourceError(f"{path} is a URL: download the images first, nothing is fetched from here")
        place = Path(path).expanduser()
        matches = [place]
        if not os.path.lexists(place):
            if not glob.has_magic(path):
                raise SourceError(f"{path} does not exist: name files, folders, globs, Parquet or Lance files")
            matches, skipped = _matches(place, selection)
            matched = [match for match in matches if match.suffix.lower() in suffixes() and not match.is_dir()]
            if matched:
                source = Files(_fixed_part(place), matched)
                sources[f"{source.root} {path}"] = source
            matches = [match for match in matches if _is_table(match) or (match.is_dir() and not matched)]
            if not matched and not matches:
                raise SourceError(f"no image, folder or table matches {path}{skipped}")
        for match in matches:
            if _is_table(match):
                sources[str(match)] = Table(match)
            elif match.is_dir():
                sources.setdefault(os.path.realpath(match), Folder(match, selection))
            else:
                files.append(match)
    if files:
        root = _absolute(Path(os.path.commonpath([_absolute(file).parent for file in files])))
        taken = [file for file in files if not selection.excludes(_absolute(file).relative_to(root).as_posix())]
        if not taken:
            raise SourceError(
                f"all files that were named are excluded: {preview([path_to_text(file) for file in files], 3)}"
            )
        sources["files"] = Files(root, taken)
    return list(sources.values())


def listing(source: ImageSource) -> Iterator[tuple[str, Path | None]]:
    """Image ids and files (None for an image that has no file of its own), without reading any image."""
    if isinstance(source, Table):
        return ((image_id, None) for image_id in source.ids())
    return ((image_id, Path(image) if isinstance(image, str | os.PathLike) else None) for image_id, image in source)


def select(source: ImageSource, wanted: Callable[[str], bool]) -> Iterator[tuple[str, LazyImage]]:
    """The images whose ids are wanted; no other is read."""
    if isinstance(source, Table):
        return source.select(wanted)
    return ((image_id, image) for image_id, image in source if wanted(image_id))


def path_to_text(path: str | os.PathLike[str]) -> str:
    r"""A path as text that can be stored: bytes that are not UTF-8 are written as `\xff`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


class Files:
    """Named files, whatever their suffix."""

    def __init__(self, root: Path, files: Sequence[Path]) -> None:
        root = _absolute(root)
        self.root = path_to_text(root)
        self.dataset = path_to_text(root.name) or "root"
        self._files = {path_to_text(_absolute(file).relative_to(root).as_posix()): file for file in files}

    def __iter__(self) -> Iterator[tuple[str, LazyImage]]:
        yield from self._files.items()


class Folder:
    """A folder's images, its folders' too. A link back to a folder above is not followed."""

    def __init__(self, folder: Path, selection: Selection | None = None) -> None:
        self._folder = _absolute(folder)
        self._selection = selection or Selection()
        self.root = path_to_text(self._folder)
        self.dataset = path_to_text(self._folder.name) or "root"
        try:
            with os.scandir(self._folder):
                pass
        except OSError as error:
            raise SourceError(f"folder {self.root} cannot be listed: {error.strerror}") from error
        skipped = Skipped()
        if next(self._walk("", (), skipped), None) is None:
            tables = [path_to_text(file.name) for file in sorted(self._folder.rglob("*.parquet"))]
            hint = f"; name its Parquet files instead ({preview(tables, 2)})" if tables else ""
            looked = f"looked for suffixes such as .jpg, .png, .webp{skipped}"
            raise SourceError(f"folder {self.root} has no images ({looked}){hint}")

    def __iter__(self) -> Iterator[tuple[str, LazyImage]]:
        return self._walk("", ())

    def _walk(
        self, inner: str, above: tuple[tuple[int, int], ...], skipped: Skipped | None = None
    ) -> Iterator[tuple[str, LazyImage]]:
        """The images of a folder, `inner` being its path relative to the root, with a slash behind it."""
        folder = self._folder / inner
        try:
            status = folder.stat()
            names = sorted(entry.name for entry in os.scandir(folder))
        except OSError as error:
            yield path_to_text(inner) or "./", _unlisted(folder, error)
            return
        here = (status.st_dev, status.st_ino)
        if here in above:
            return
        for name in names:
            path = folder / name
            is_folder = path.is_dir()
            if not is_folder and path.suffix.lower() not in suffixes():
                continue
            reason = self._selection.reason_to_skip(inner + name, is_folder=is_folder)
            if reason is not None:
                if skipped is not None:
                    skipped.add(reason, path_to_text(inner + name), is_folder=is_folder)
            elif is_folder:
                yield from self._walk(f"{inner}{name}/", (*above, here), skipped)
            elif path.is_file() or not path.exists():  # a broken link is listed
                yield path_to_text(inner + name), path


class Table:
    """The rows of a Parquet file or a Lance table (`NAME.lance`) with a column of encoded images.

    The images are bytes, or a struct of `bytes` and `path` as Hugging Face writes them. Ids come from the first column
    of `ID_COLUMNS` whose values are distinct, else from the struct's paths if those are, else they are row numbers.
    """

    def __init__(self, path: Path) -> None:
        self._path = _absolute(path)
        self.root = path_to_text(self._path)
        self.dataset = path_to_text(self._path.stem)
        import pyarrow as pa

        try:
            self._lance = _lance_table(self._path) if self._path.suffix == ".lance" else None
            schema = self._schema()
            self._image = _image_column(schema, self.root)
            self._bytes_only = not pa.types.is_struct(schema.field(self._image).type)
            candidates = [name for name in ID_COLUMNS if name in schema.names and name != self._image]
            self._struct_path = f"{self._image}.path"
            if not self._bytes_only and self._lance is None and "path" in schema.field(self._image).type.names:
                candidates.append(self._struct_path)
            self._id = next((name for name in candidates if _distinct(self._values(name))), None)
        except (OSError, ValueError, RuntimeError, pa.ArrowException) as error:
            raise SourceError(f"{self.root} cannot be read as a table: {' '.join(str(error).split())[:300]}") from error
        if next(self.ids(), None) is None:
            raise SourceError(f"{self.root} has no rows")

    def __iter__(self) -> Iterator[tuple[str, LazyImage]]:
        return self.select(lambda _: True)

    def ids(self) -> Iterator[str]:
        if self._id is not None:
            return map(str, self._values(self._id))
        return (f"{row:08d}" for row in range(self._rows()))

    def select(self, wanted: Callable[[str], bool]) -> Iterator[tuple[str, LazyImage]]:
        if not any(map(wanted, self.ids())):  # the column of images is many times larger than that of ids
            return
        separate = [] if self._id is None or self._id == self._struct_path else [self._id]
        rows = count()
        for batch in self._batches([self._image, *separate], ROWS):
            images = batch.column(self._image)
            if self._id is None:
                ids = [f"{next(rows):08d}" for _ in images]
            else:
                ids = (batch.column(self._id) if separate else images.field("path")).to_pylist()
            for image_id, image in zip(map(str, ids), images, strict=True):
                if wanted(image_id):
                    yield image_id, self._encoded(image, image_id)

    def _encoded(self, cell: Any, image_id: str) -> LazyImage:
        value = cell.as_py()
        data = value if self._bytes_only or value is None else value.get("bytes")
        if data is not None:
            return bytes(data)
        if value is not None and value.get("path"):
            return self._path.parent / str(value["path"])

        def nothing() -> "ImageInput":
            raise ImageError(f"{self.root}: row {image_id} has no image")

        return nothing

    def _schema(self) -> Any:
        import pyarrow.parquet as pq

        return pq.read_schema(self._path) if self._lance is None else self._lance.schema

    def _rows(self) -> int:
        import pyarrow.parquet as pq

        return int(pq.read_metadata(self._path).num_rows if self._lance is None else self._lance.count_rows())

    def _values(self, column: str) -> Iterator[Any]:
        for batch in self._batches([column], 4096):
            values = batch.column(0)
            yield from (values.field("path") if column == self._struct_path else values).to_pylist()

    def _batches(self, columns: list[str], rows: int) -> Iterator[Any]:
        import pyarrow.parquet as pq

        if self._lance is None:
            with pq.ParquetFile(self._path) as file:
                yield from file.iter_batches(rows, columns=columns, use_threads=False)
        else:
            yield from self._lance.search().select(columns).to_batches(rows)


def _is_table(path: Path) -> bool:
    return path.suffix in {".parquet", ".lance"} or (path / "_versions").is_dir()


def _lance_table(path: Path) -> Any:
    import lancedb

    return lancedb.connect(path.parent).open_table(path.stem)


def _image_column(schema: Any, where: str) -> str:
    import pyarrow as pa

    def holds_bytes(kind: Any) -> bool:
        if pa.types.is_struct(kind):
            return "bytes" in kind.names and holds_bytes(kind.field("bytes").type)
        return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))

    possible = [field.name for field in schema if holds_bytes(field.type)]
    for name in (*IMAGE_COLUMNS, *(possible if len(possible) == 1 else ())):
        if name in possible:
            return str(name)
    raise SourceError(
        f"{where} has no image column (encoded bytes, or a struct with them, named {' or '.join(IMAGE_COLUMNS[:2])}); "
        f"its columns: {preview(schema.names, 10)}"
    )


def _distinct(values: Iterator[Any]) -> bool:
    """Whether these are all there and all different; 8 bytes a value."""
    import numpy as np

    hashes = np.fromiter((hash(None if value is None else str(value)) for value in values), np.int64)
    return hash(None) not in hashes and len(np.unique(hashes)) == len(hashes)


def _unlisted(folder: Path, error: OSError) -> "Callable[[], ImageInput]":
    def raise_it() -> "ImageInput":
        raise ImageError(f"folder {path_to_text(folder)} cannot be listed: {error.strerror}")

    return raise_it


def _matches(pattern: Path, selection: Selection) -> tuple[list[Path], Skipped]:
    """What a glob matches and is taken: not what lies in a folder of caches, unless the pattern names that folder."""
    root, skipped, taken = _fixed_part(pattern), Skipped(), []
    found = glob.glob(str(pattern), recursive=True, include_hidden=selection.include_hidden)  # noqa: PTH207 - absolute patterns too
    for match in map(Path, sorted(found)):
        inner, is_folder = match.relative_to(root), match.is_dir()
        folders = inner.parts if is_folder else inner.parts[:-1]
        unnamed = "/".join(name for name in folders if name not in pattern.parts)
        if unnamed and not selection.include_hidden and is_cache(unnamed):
            skipped.add("caches", path_to_text(inner.as_posix()), is_folder=is_folder)
        elif selection.excludes(inner.as_posix(), is_folder=is_folder):
            skipped.add("excluded", path_to_text(inner.as_posix()), is_folder=is_folder)
        else:
            taken.append(match)
    return taken, skipped


def _fixed_part(pattern: Path) -> Path:
    """The folders of a glob before its first wildcard."""
    return next(folder for folder in pattern.parents if not glob.has_magic(str(folder)))


def _absolute(path: Path) -> Path:
    """Absolute and without `..`, links kept: the name that the user knows."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links
