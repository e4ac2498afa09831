"""What decoders say beside their result: kept with the image that they say it of, not printed.

Pillow warns and logs, libtiff writes to the terminal. `warnings.catch_warnings` is no help, since it changes the whole
process: with threads it loses other people's filters. So one filter stays, which answers for threads that read an
image and for no other. No filter of the caller's, `error` neither, changes whether an image can be read.
"""

import ctypes
import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, cast

from PIL import _imaging

KEPT = 3  # different messages on an image
_LENGTH = 120


class _Thread(threading.local):
    messages: list[str] | None = None  # None: it reads no image


_thread = _Thread()
_adding = threading.Lock()


@contextmanager
def collected() -> Iterator[list[str]]:
    """What this thread's decoders say meanwhile, the first few messages of it."""
    _silence_libtiff()
    _filter_warnings()
    outer, _thread.messages = _thread.messages, []
    try:
        yield _thread.messages
    finally:
        _thread.messages = outer


class _Filter:
    """Stands where filters of `warnings` have the pattern of a message, and is a filter of `logging`."""

    def match(self, message: str) -> bool:
        """Whether this thread is reading an image; then the message is its."""
        messages = _thread.messages
        if messages is None:
            return False
        text = " ".join(message.split())[:_LENGTH]
        if text not in messages and len(messages) < KEPT:
            messages.append(text)
        return True

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno < logging.WARNING or not self.match(record.getMessage())


_FILTER = _Filter()
_ENTRY = ("ignore", _FILTER, Warning, None, 0)


def _filter_warnings() -> None:
    """Put the filter before all others; `catch_warnings` and `resetwarnings` elsewhere may have taken it away."""
    filters = cast("list[Any]", warnings.filters)
    if filters[:1] != [_ENTRY]:
        with _adding:
            if _ENTRY in filters:
                filters.remove(_ENTRY)
            filters.insert(0, _ENTRY)


@cache
def _silence_libtiff() -> None:
    """Once: errors of the libtiff that Pillow brings go nowhere; Pillow raises an error of its own for each."""
    for module in ("Image", "ImageFile", "PngImagePlugin", "TiffImagePlugin"):
        logging.getLogger(f"PIL.{module}").addFilter(_FILTER)
    try:
        handler = ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler
    except (AttributeError, OSError, TypeError):  # a Pillow without libtiff, or with one that cannot be reached
        return
    handler.argtypes, handler.restype = [ctypes.c_void_p], ctypes.c_void_p
    handler(None)
