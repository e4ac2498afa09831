"""The model behind a collection: loaded for the first text or foreign picture, let go when none came for a while."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ...collection.collection import Collection
from ...collection.spaces import Space


class Models:
    """What is loaded, and since when it is being loaded.

    Args:
        collection: Whose models they are.
        keep: Seconds after which one that nobody needed is let go.
    """

    def __init__(self, collection: Collection, keep: float) -> None:
        self._collection, self._keep = collection, keep
        self._lock = threading.Lock()
        self._loading: list[float] = []  # since when, of each request that waits for a model
        self._in_use = 0
        self._timer: threading.Timer | None = None

    def state(self) -> dict[str, Any]:
        """`{state, seconds}`: "loading" for so many seconds, "ready" or "absent"."""
        with self._lock:
            if self._loading:
                return {"state": "loading", "seconds": time.monotonic() - self._loading[0]}
        return {"state": "ready" if self._collection.models_loaded else "absent", "seconds": 0}

    @contextmanager
    def needed(self, space: Space, conditions: Sequence[str | None], *, by: bool) -> Iterator[None]:
        """Have the model loaded for as long as the block runs, where the query needs it (`by`)."""
        if not by:
            yield
            return
        since = time.monotonic()
        with self._lock:
            self._in_use += 1
            self._loading.append(since)
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        try:
            try:
                self._collection.load_models(list(conditions), setting=space.name)
            finally:
                with self._lock:
                    self._loading.remove(since)
            yield
        finally:
            with self._lock:
                self._in_use -= 1
                if not self._in_use:
                    self._timer = threading.Timer(self._keep, self._let_go)
                    self._timer.daemon = True
                    self._timer.start()

    def close(self) -> None:
        """Stop waiting to let go."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def _let_go(self) -> None:
        with self._lock:
            if threading.current_thread() is self._timer:  # else somebody came just now
                self._collection.unload_models()
