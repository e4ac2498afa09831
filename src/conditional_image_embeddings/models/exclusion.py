"""What must not happen at once: passes of one model, and any pass while a model is being loaded.

Loading sets the whole process's default type for a while (transformers builds a model in its own): an image that is
prepared meanwhile, or another model's pass, would be computed in it, and of two models that load at once one is built
wrongly.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition, RLock
from types import TracebackType


class _Gate:
    """Open for any number of passes, or for one load; who loads comes first, since passes never end."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._passes = self._waiting = 0
        self._loads = False

    def enter(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not (self._loads or self._waiting))
            self._passes += 1

    def leave(self) -> None:
        with self._changed:
            self._passes -= 1
            self._changed.notify_all()

    @contextmanager
    def load(self) -> Iterator[None]:
        with self._changed:
            self._waiting += 1
            try:
                self._changed.wait_for(lambda: not (self._loads or self._passes))
                self._loads = True
            finally:
                self._waiting -= 1
        try:
            yield
        finally:
            with self._changed:
                self._loads = False
                self._changed.notify_all()


_gate = _Gate()


@contextmanager
def loading() -> Iterator[None]:
    """While open no model computes; whoever holds a `ModelLock` must not open it."""
    with _gate.load():
        yield


@contextmanager
def computing() -> Iterator[None]:
    """While open no model is loaded. Nothing inside opens it again or takes a `ModelLock`: a load may wait by then."""
    gate = _gate
    gate.enter()
    try:
        yield
    finally:
        gate.leave()


class ModelLock:
    """Held by the one thread that has a model compute; it may take it again."""

    def __init__(self) -> None:
        self._lock = RLock()
        self._depth = 0

    def __enter__(self) -> None:
        self._lock.acquire()
        try:
            if not self._depth:
                _gate.enter()
            self._depth += 1
        except BaseException:  # Ctrl-C while it waits
            self._lock.release()
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._depth -= 1
        if not self._depth:
            _gate.leave()
        self._lock.release()


def forget() -> None:
    """In a forked process: nobody is here who would leave or finish."""
    global _gate  # noqa: PLW0603
    _gate = _Gate()
