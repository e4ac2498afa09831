"""What threads that read images have in common: the callers' objects, of which one thread at a time, and the memory."""

import ctypes
import os
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from threading import Condition, Lock
from typing import Any

MEMORY = 2**30  # bytes of pixels that are decoded at one time, over all threads of the process
_STRIPES = 64


class MemoryBudget:
    """Bytes that threads take and give back, in the order in which they ask; what is more than all of it goes alone."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._taken = 0
        self._changed = Condition()
        self._waiting: deque[object] = deque()

    @contextmanager
    def holding(self, size: int) -> Iterator[None]:
        """Wait until so many bytes are free, and hold them."""
        size = min(size, self.limit)
        turn = object()
        with self._changed:
            self._waiting.append(turn)
            try:
                self._changed.wait_for(lambda: self._waiting[0] is turn and self._taken + size <= self.limit)
                self._taken += size
            finally:
                self._waiting.remove(turn)
                self._changed.notify_all()
        try:
            if size >= self.limit // 4:
                _trim()
            yield
        finally:
            with self._changed:
                self._taken -= size
                self._changed.notify_all()


def _trim() -> None:
    """Hand memory that is free back to the system: glibc keeps for each thread what its last image took."""
    if trim := _malloc_trim():
        trim(0)


@cache
def _malloc_trim() -> Any:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # another C library than glibc
        return None


class ObjectLocks:
    """A lock for any object, hashable or not, for as long as it lives: one of a fixed number, by its identity."""

    def __init__(self) -> None:
        self._locks = [Lock() for _ in range(_STRIPES)]

    def of(self, value: Any) -> Lock:
        return self._locks[hash(id(value) >> 4) % _STRIPES]


def _renew() -> None:
    """Also in a forked process, where no thread is left that would give back what it holds."""
    global decoding, _images, _files
    decoding, _images, _files = MemoryBudget(MEMORY), ObjectLocks(), ObjectLocks()


@contextmanager
def alone_with(image: Any) -> Iterator[None]:
    """No other thread reads this image or file object, nor another image that is read from the same file object."""
    with ExitStack() as held:
        if not hasattr(image, "read"):
            held.enter_context(_images.of(image))
            image = getattr(image, "fp", None)
        if image is not None:
            held.enter_context(_files.of(image))
        yield


decoding = MemoryBudget(MEMORY)
_images, _files = ObjectLocks(), ObjectLocks()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
