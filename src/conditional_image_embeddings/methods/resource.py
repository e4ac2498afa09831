"""A loaded model as a thing that is shared and given back: one thread at a time, closed, sent to a process."""

import os
import sys
from abc import ABC
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakSet

from ..errors import ModelError
from ..models.exclusion import ModelLock, forget

PLAIN = (str, int, float, type(None))  # what a closed embedder still knows of itself


class Resource(ABC):
    """What every embedder is besides: safe in threads, closable, picklable.

    It is pickled as what it was made of (a checkpoint's name and options, an embedder that it stands on), and loads
    again on the other side. Embedders that are pickled together and stand on one model share it there too.
    """

    model: str
    method: str
    _made_of: tuple[tuple[Any, ...], dict[str, Any]]
    _own_lock: ModelLock
    _closed: bool

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        made = super().__new__(cls)
        made._made_of, made._own_lock, made._closed = (args, kwargs), ModelLock(), False
        _alive.add(made)
        return made

    @property
    def lock(self) -> ModelLock:
        """Held by the thread that uses the model, for one pass at a time; one lock for all that stand on it."""
        return self._own_lock

    def close(self) -> None:
        """Let go of the model; a pass of another thread is waited for. Its memory is free once nothing else uses it.

        Whatever is asked of the embedder afterwards raises a `ModelError`. An embedder that stands on this one's model
        goes on.
        """
        if self._closed:
            return
        with self.lock:
            on_gpu = self._uses_cuda()
            self.__dict__ = {name: value for name, value in vars(self).items() if isinstance(value, PLAIN)}
            self._closed = True
        if on_gpu:
            import torch

            torch.cuda.empty_cache()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        if self._closed:
            raise ModelError(f"{self!r} cannot be pickled")
        return _made, (type(self), *self._made_of), self._learned() or None

    def __setstate__(self, learned: dict[str, Any]) -> None:
        self.__dict__.update(learned)

    def _learned(self) -> dict[str, Any]:
        """Attributes that calls have changed since it was loaded, and that change vectors."""
        return {}

    def _uses_cuda(self) -> bool:
        return False

    if not TYPE_CHECKING:  # a type checker would take every name for an attribute

        def __getattr__(self, name: str) -> Any:
            if self.__dict__.get("_closed") and not name.startswith("__"):
                raise ModelError(f"{self!r} cannot be used: load the model again")
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


_alive: "WeakSet[Resource]" = WeakSet()


def _after_fork() -> None:
    """Let a forked process use the embedders that it has from its parent.

    Their models have run there, on OpenMP's threads, which are not in this process: to wait for them would be for ever.
    torch's own data loaders do the same. Nor is anybody here who would release a lock.
    """
    if _alive and (torch := sys.modules.get("torch")):
        torch.set_num_threads(1)
    forget()
    for each in list(_alive):
        if not each._closed:  # noqa: SLF001
            each._own_lock = ModelLock()  # noqa: SLF001


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _made(cls: type[Resource], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Resource:
    return cls(*args, **kwargs)
