"""Export: what is selected, written aside and moved to its place whole."""

import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ...errors import OptionError, preview
from ...methods.settings import Setting
from ..storage.store import Store
from .formats import find
from .selection import Selection


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written: the settings, how many vectors of each, where, and what to do with it, a line each."""

    target: Path
    vectors: dict[str, int]
    settings: list[Setting]
    lines: Sequence[str]


def export(
    store: Store,
    target: str | os.PathLike[str],
    format: str,  # noqa: A002 - the option's name
    *,
    conditions: Sequence[str | None] | None = None,
    setting: str = "*",
    where: str | None = None,
    overwrite: bool = False,
) -> Exported:
    """Write vectors, words and what is known of the images for another tool; memory does not grow with their number.

    Args:
        store: The database.
        target: The file or folder to write. It appears when all of it was written, or not at all.
        format: One of `formats.FORMATS`.
        conditions: Those to export, None among them being "no condition"; by default all.
        setting: Glob over the settings' names.
        where: A filter over the columns of the table `images`, such as "width > 500".
        overwrite: Replace an earlier export. Whatever else is in that place is never removed.

    Raises:
        OptionError: an unknown format, a target that is there already, a filter that is none, or a setting that the
            format cannot say.
        StoreError: nothing to export, or the database is damaged.
    """
    known, place = find(format), Path(target).expanduser()
    is_file = known.writes_file(place)
    selection = Selection(store, conditions, setting, where)
    with _aside(place, is_file=is_file, overwrite=overwrite) as folder:
        lines = known.write(selection, folder / place.name if is_file else folder)
    vectors = {each.name: selection.count(each) for each in selection.settings}
    return Exported(target=place, vectors=vectors, settings=selection.settings, lines=lines)


@contextmanager
def _aside(target: Path, *, is_file: bool, overwrite: bool) -> Iterator[Path]:
    """A folder beside the target, which takes the target's place when the block ends well, and is gone otherwise."""
    target = target.absolute()
    empty = not target.exists() or (target.is_dir() and not is_file and not any(target.iterdir()))
    if not empty and not overwrite:
        raise OptionError(f"{target} is there already: choose another target, or --overwrite (overwrite=True)")
    if not empty and target.is_dir() == is_file:
        raise OptionError(f"{target} is a {'folder' if is_file else 'file'}: choose another target")
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = _beside(target, "partial")
    folder.mkdir()
    try:
        yield folder
        if is_file:
            for each in sorted(folder.iterdir(), key=lambda path: path.name == target.name):  # the file itself last
                each.replace(target.parent / each.name)
        else:
            _replace_folder(folder, target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _replace_folder(folder: Path, target: Path) -> None:
    """Put a folder in the place of another that holds nothing else than such an export."""
    if not target.exists():
        folder.rename(target)
        return
    strangers = sorted({each.name for each in target.iterdir()} - {each.name for each in folder.iterdir()})
    if strangers:
        raise OptionError(f"{target} holds what this export does not write ({preview(strangers, 3)}): remove it first")
    old = _beside(target, "old")
    target.rename(old)
    try:
        folder.rename(target)
    except OSError:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _beside(target: Path, what: str) -> Path:
    return target.with_name(f".{target.name[:40]}.{secrets.token_hex(4)}.{what}")
