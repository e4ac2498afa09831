"""Whether a file that was not found is gone, or only out of reach: a network mount that is lost looks empty.

It is gone only where the folder that it would be in, or the nearest above it that is left, holds something else.
"""

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

from .folders import text_to_path


def judge_files(root: Path) -> Callable[[str], bool | None]:
    """From a path below `root`, as text, to whether its file is gone; None where that cannot be known."""

    @cache
    def is_left(folder: Path) -> bool | None:
        """Whether something else is where the folder is or was."""
        try:
            with os.scandir(folder) as entries:
                return True if next(entries, None) is not None else None
        except NotADirectoryError:  # a file has its place
            return True
        except FileNotFoundError:
            return None if folder.is_symlink() or folder == root else is_left(folder.parent)
        except OSError:
            return None

    def is_gone(inner: str) -> bool | None:
        path = root / text_to_path(inner)
        try:
            path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return is_left(path.parent)
        except (OSError, ValueError):
            return None
        return False

    return is_gone
