"""Connections that ask for nothing, or for half of something: closed, so that they never stand in another's way."""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

MOST = 512  # at once; beyond, the one that has asked for nothing for longest is closed, first of those that never did
HEAD_SECONDS = 20  # until a request's head has come whole


class Connection(H11Protocol):
    """uvicorn's own, with an end to waiting for a request's head. How long a body may take, `safety.Guard` says."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._waiting: asyncio.TimerHandle | None = None
        self._since, self.was_asked = 0.0, False

    @property
    def idle_since(self) -> float | None:
        """When it began to ask for nothing, in the loop's time; None while a request is answered."""
        return None if self._waiting is None else self._since

    def connection_made(self, transport: Any) -> None:
        """Wait for a head; make room for it."""
        super().connection_made(transport)
        self._await_head()
        if len(self.connections) > MOST:
            idle = [each for each in self.connections if isinstance(each, Connection) and each.idle_since is not None]
            min(idle, key=lambda each: (each.was_asked, each.idle_since or 0.0)).transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """Wait no more once there is a request."""
        super().handle_events()
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_waiting()

    def on_response_complete(self) -> None:
        """Wait for the next."""
        self.was_asked = True
        self._await_head()
        super().on_response_complete()

    def _await_head(self) -> None:
        self._stop_waiting()
        self._since = self.loop.time()
        self._waiting = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
