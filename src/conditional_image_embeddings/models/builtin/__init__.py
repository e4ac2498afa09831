"""The models in the box, as any directory that `from_pretrained` loads; see the card (README.md) in each."""

from importlib.resources import files
from pathlib import Path

from ...errors import OptionError

_FOLDERS = {"builtin": "lvlm", "builtin-clip": "clip"}


def path(name: str) -> Path:
    """The directory of "builtin" or "builtin-clip"."""
    if name not in _FOLDERS:
        raise OptionError(f"no model in the box is called {name!r}: it is one of {', '.join(_FOLDERS)}")
    return Path(str(files(__package__) / _FOLDERS[name]))
