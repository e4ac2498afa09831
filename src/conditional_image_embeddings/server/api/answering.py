"""Waiting for an answer as long as anybody wants it: until the deadline, or until the client leaves."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from fastapi import Request
from starlette.exceptions import HTTPException

from ..problems import BusyError
from .service import Service

T = TypeVar("T")

CLIENT_LEFT = 499  # as nginx counts it: nobody reads it
SEARCHES = 4  # at once
MOST_SEARCHES = 64  # that wait, too


class DeadlineError(BusyError):
    """It took too long."""


async def answers(request: Request, futures: Sequence[Future[T]], service: Service) -> list[T]:
    """The results of work that goes on in other threads.

    However this ends, what is not done by then is cancelled.

    Raises:
        DeadlineError: it took longer than the server's timeout.
        HTTPException: the client has left.
    """
    seconds = service.limits.timeout
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    results = [asyncio.wrap_future(each) for each in futures]
    left = asyncio.ensure_future(_left(request))
    waited: set[asyncio.Future[Any]] = {left, *results}
    try:
        while any(not each.done() for each in results):
            done, waited = await asyncio.wait(
                waited, timeout=max(0.0, until - loop.time()), return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                raise DeadlineError(f"there was no answer within {seconds:g} s: ask again later, for less")
            for each in done - {left}:
                each.result()
            if left in done:
                service.metrics.cancelled.inc()
                raise HTTPException(CLIENT_LEFT, "the client has left")
        return [each.result() for each in results]
    finally:
        left.cancel()
        for each in results:
            if not each.cancel() and not each.cancelled():
                each.exception()  # nobody looks at it any more
        for future in futures:
            future.cancel()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


class Searches:
    """Threads for what does not go through the queue: a bounded number, before which a bounded number waits."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(SEARCHES, thread_name_prefix="search")
        self._number = 0

    def submit(self, run: Callable[[], Any]) -> Future[Any]:
        """Have it run; called from the loop's thread.

        Raises:
            BusyError: too many wait.
        """
        if self._number >= MOST_SEARCHES:
            raise BusyError(f"{self._number} searches wait already: ask again later")
        self._number += 1
        future = self._pool.submit(run)
        loop = asyncio.get_running_loop()
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._ended))
        return future

    def close(self) -> None:
        """Begin no other."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _ended(self) -> None:
        self._number -= 1
