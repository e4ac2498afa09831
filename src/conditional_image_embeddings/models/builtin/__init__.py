"""The bundled models, as any directory that `from_pretrained` loads; see the card (README.md) in each."""

from pathlib import Path

from ...errors import ModelError, OptionError

FOLDERS = {"builtin": "lvlm", "builtin-clip": "clip"}


def path(name: str) -> Path:
    """The directory of "builtin" or "builtin-clip".

    Raises:
        OptionError: there is no bundled model of that name.
        ModelError: it was not installed.
    """
    if name not in FOLDERS:
        raise OptionError(f"no bundled model is called {name!r}: it is one of {', '.join(FOLDERS)}")
    directory = Path(__file__).parent / FOLDERS[name]
    if not (directory / "config.json").is_file():
        raise ModelError(f"the bundled model {name!r} is not installed at {directory}: install the package anew")
    return directory
