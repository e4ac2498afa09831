"""Why a model could not be loaded, in one line.

Loaders raise nearly anything, over many lines; what the user can do about it is said here.
"""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock

from ..errors import CieError, ModelError

# transformers and its quantisers name what they lack by its command, such as `pip install 'accelerate>=1.1'`.
_INSTALL = re.compile(r"pip install ([^`()]+)([`)]?)")


_SETTINGS = RLock()  # of transformers' logging, which are the whole process's


@contextmanager
def single_line_errors(name: str, what: str, *, verb: str = "be") -> Iterator[None]:
    """Turn whatever a loader raises (they raise nearly anything, over many lines) into one line about this model.

    Args:
        name: The model's.
        what: What it cannot be, such as "loaded".
        verb: Another one than "be".
    """
    try:
        yield
    except CieError:
        raise
    except Exception as error:
        raise ModelError(f"model {name!r} cannot {verb} {what}: {_reason(name, error)}") from error


def _reason(name: str, error: Exception) -> str:
    import torch
    from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError
    from safetensors import SafetensorError

    causes = [cause for cause in (error, error.__cause__, error.__context__) if cause is not None]
    text, whole = line(error), str(error)
    if any(isinstance(cause, GatedRepoError) for cause in causes):
        return gated(name)
    if any(isinstance(cause, OSError) and cause.errno == errno.ENOSPC for cause in causes):
        return "the disk is full; free some space, or keep models elsewhere with cache_folder"
    if any(isinstance(cause, LocalEntryNotFoundError) for cause in causes):
        return "it is only partly in the cache and the hub cannot be reached; try online, or pass a local directory"
    if isinstance(error, SafetensorError):
        return f"a safetensors file is damaged ({text}); fetch it again"
    if isinstance(error, torch.OutOfMemoryError):
        return "it does not fit in the device's memory; pass dtype='bfloat16', a smaller model, or device='cpu'"
    if missing := next(filter(None, map(missing_package, causes)), None):
        return f"it needs a package that is not installed: pip install {missing}"
    if "trust_remote_code" in whole:
        return "it comes with its own code, which is not run; pass trust_remote_code=True only if you trust its author"
    return text


def missing_package(error: BaseException) -> str | None:
    """What an import or a check for a library wanted installed, as `pip install` takes it."""
    said = " ".join(str(error).split())
    asks_for_it = isinstance(error, ImportError) or "requires `accelerate`" in said  # a ValueError, for `device_map`
    if asks_for_it and (command := _INSTALL.search(said)):
        words = [word.strip("'\",.") for word in command[1].split() if not word.startswith("-")]
        packages = [word for word in words if word] if command[2] else words[:1]
        if packages:
            return " ".join(f"'{each}'" if set(each) & set("<>=[") else each for each in packages)
    if isinstance(error, ModuleNotFoundError) and error.name:
        return error.name.partition(".")[0]
    return None


def gated(name: str) -> str:
    """What to do about a model that one must ask for."""
    return (
        f"it is gated; accept its terms at https://huggingface.co/{name}, "
        "then log in with `hf auth login` or pass token"
    )


def line(error: BaseException, limit: int = 300) -> str:
    """The error's text in one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= limit else f"{text[:limit]}..."


@contextmanager
def quiet(*, progress: bool) -> Iterator[None]:
    """Without transformers' remarks on its loading, and with its progress bars only where they are worth it."""
    from transformers.utils import logging as transformers_logging

    with _SETTINGS:
        verbosity = transformers_logging.get_verbosity()
        bars = transformers_logging.is_progress_bar_enabled()
        transformers_logging.set_verbosity_error()
        if not progress:
            transformers_logging.disable_progress_bar()
        try:
            yield
        finally:
            transformers_logging.set_verbosity(verbosity)
            if bars:
                transformers_logging.enable_progress_bar()
