"""The commands as a user types them, run in this process: output, warnings and exit status as a shell sees them.

Warnings and log records go to stderr, as in a fresh interpreter (pytest keeps them for itself otherwise); `sys.exit`,
click's own exits and exceptions that nobody caught become an exit status and what they print.
"""

import logging
import runpy
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import click
from click.testing import CliRunner

from conditional_image_embeddings.cli import main

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Finished:
    """What is left of a command."""

    returncode: int
    stdout: str
    stderr: str


def cie(*arguments: object, cwd: Path | None = None) -> Finished:
    """`cie ARGUMENTS`."""
    return _run(main, "cie", arguments, cwd)


def script(name: str, *arguments: object, cwd: Path | None = None) -> Finished:
    """`python NAME ARGUMENTS`, for the paper's commands."""
    return _run(main_of(name), name, arguments, cwd)


def error_of(finished: Finished, status: int) -> str:
    """What it printed on stderr, once it ended with this status and without a traceback."""
    assert finished.returncode == status, finished.stderr
    assert "Traceback" not in finished.stderr
    return finished.stderr


def paths(command: click.Command = main, *path: str) -> Iterator[tuple[str, ...]]:
    """Every command of `cie` as it is typed, such as ("cie", "datasets", "list")."""
    yield path or ("cie",)
    for name, each in getattr(command, "commands", {}).items():
        yield from paths(each, *(path or ("cie",)), name)


@cache
def main_of(name: str) -> click.Command:
    command: click.Command = runpy.run_path(str(ROOT / name))["main"]
    return command


def _run(command: click.Command, name: str, arguments: tuple[object, ...], cwd: Path | None) -> Finished:
    with chdir(cwd or Path.cwd()), _fresh_interpreter():
        result = CliRunner().invoke(command, list(map(str, arguments)), prog_name=name)
    stderr = result.stderr
    if result.exception and result.exc_info and not isinstance(result.exception, SystemExit):
        stderr += "".join(traceback.format_exception(*result.exc_info))
    return Finished(result.exit_code, result.stdout, stderr)


@contextmanager
def _fresh_interpreter() -> Iterator[None]:
    """Warnings and log records as Python shows them by default, on whatever stderr is at that moment."""
    handler = _Stderr(logging.WARNING)
    root = logging.getLogger()
    handlers, root.handlers = root.handlers, [handler]
    known = (each for each in root.manager.loggerDict.values() if isinstance(each, logging.Logger))
    levels = {each: each.level for each in (root, *known)}
    with warnings.catch_warnings():
        warnings.resetwarnings()
        for ignored in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
            warnings.simplefilter("ignore", ignored)
        warnings.showwarning = lambda *shown, **_: _print(warnings.formatwarning(*shown[:4]))
        try:
            yield
        finally:
            root.handlers = handlers
            for each, level in levels.items():
                if each.level != level:  # a server sets it for its process; to set it anew looks at every logger
                    each.setLevel(level)


class _Stderr(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        _print(f"{record.getMessage()}\n")


def _print(text: str) -> None:
    sys.stderr.write(text)
