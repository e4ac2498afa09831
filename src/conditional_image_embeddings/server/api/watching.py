"""Each request is counted and written down once it was answered, or its client has left."""

import logging
import time
from typing import TYPE_CHECKING

from .metrics import Metrics

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

PATHS = frozenset(
    {"/v1/embeddings", "/v1/words", "/v1/search", "/v1/models", "/health", "/metrics", "/openapi.json"}
)  # what has a counter of its own: anybody can ask for any other path
QUIET = frozenset({"/health", "/metrics"})  # asked every few seconds

logger = logging.getLogger(__name__)


class Watch:
    """Counts requests and logs each.

    Args:
        app: What answers them.
        metrics: Where they are counted.
    """

    def __init__(self, app: "ASGIApp", *, metrics: Metrics) -> None:
        self.app, self._metrics = app, metrics

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def watched(message: "Message") -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self._metrics.under_way.inc()
        try:
            await self.app(scope, receive, watched)
        finally:
            self._metrics.under_way.dec()
            seconds = time.perf_counter() - started
            path = scope["path"] if scope["path"] in PATHS else "other"
            self._metrics.requests.labels(path, str(status)).inc()
            self._metrics.seconds.labels(path).observe(seconds)
            client = (scope.get("client") or (None,))[0]
            told = {"method": scope["method"], "path": path, "status": status, "seconds": round(seconds, 4),
                    "client": client}  # fmt: skip
            level = logging.DEBUG if path in QUIET else logging.INFO
            logger.log(level, "%s %s %d in %.3f s", scope["method"], path, status, seconds, extra={"request": told})
