"""A server in this process: a free port, loopback unless asked otherwise, and a browser once it answers."""

import asyncio
import logging
import math
import signal
import socket
import threading
import time
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from ..errors import OptionError
from .safety import is_loopback

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

BACKLOG = 128  # connections that wait to be accepted
GRACE = 2  # seconds that requests in flight have at the end
LEAVE = 1  # seconds that threads have to end once no request is left

logger = logging.getLogger(__name__)


def listen(host: str, port: int | None, first: int) -> socket.socket:
    """A socket to serve on; who connects from now on waits until it is served.

    Args:
        host: An address or name of this machine.
        port: The port; None takes `first`, or, if that is taken, any that is free.
        first: See `port`.

    Raises:
        OptionError: the port is taken or not allowed, or the host is none of this machine.
    """
    try:
        every = socket.getaddrinfo(host.strip("[]"), port or first, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = every[0]
    except (OSError, UnicodeError) as error:
        raise OptionError(f"{host!r} is no address of this machine: {error}") from error
    # Without its protocol, asyncio would not turn off Nagle's algorithm, and each answer would come 40 ms late.
    found = socket.socket(family, kind, protocol)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind(address)
        found.listen(BACKLOG)  # now: two that are bound to one port learn only here that it is taken
    except OSError as error:
        if port is None:
            found.close()
            with suppress(OSError):
                return socket.create_server((address[0], 0, *address[2:]), family=family, backlog=BACKLOG)
        found.close()
        reason = (error.strerror or str(error)).lower()
        raise OptionError(f"cannot listen on {host}, port {port or first}: {reason}; choose another --port") from error
    return found


def address_of(listening: socket.socket) -> str:
    """The URL that a browser on this machine opens."""
    host, port = listening.getsockname()[:2]
    if host in {"0.0.0.0", "::"}:  # noqa: S104 - compared, not bound
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"  # noqa: S104
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def warn_if_open(listening: socket.socket, what: str = "can look at these images") -> None:
    """Say so where other machines can reach a server; `what` they can do there."""
    host = listening.getsockname()[0]
    if not is_loopback(host):
        logger.warning(
            "listening on %s: every machine that reaches this one %s, without a password; leave --host out to keep "
            "it here",
            host,
            what,
        )


def server_of(app: "FastAPI", *, grace: float = GRACE, **config: Any) -> "uvicorn.Server":
    """What serves an application: `.run(sockets=[...])` does, until `.should_exit` is set.

    Args:
        app: The application.
        grace: Seconds that requests in flight have at the end.
        config: Further keywords of uvicorn's.
    """
    import uvicorn

    from .connections import HEAD_SECONDS, MOST, Connection

    own: dict[str, Any] = {
        "log_level": "warning", "access_log": False, "server_header": False, "http": Connection, "ws": "none",
        "timeout_keep_alive": HEAD_SECONDS,  # longer than clients keep theirs, which would meet a closed one
        "timeout_graceful_shutdown": math.ceil(grace), "limit_concurrency": 2 * MOST,
    }  # fmt: skip
    return uvicorn.Server(uvicorn.Config(app, **own | config))


def run(
    app: "FastAPI", listening: socket.socket, *, browser: bool = False, server: "uvicorn.Server | None" = None
) -> bool:
    """Serve until Ctrl-C or SIGTERM.

    Args:
        app: The application.
        listening: What `listen` gave.
        browser: Open it in the user's browser once it answers.
        server: What `server_of` made of it otherwise than by default.

    Returns:
        Whether all has ended: False where a thread still computes an answer, now for nobody. It writes nothing by
        halves, but Python waits for it, which may take minutes: a program that is to end now ends itself.
    """
    server = server_of(app) if server is None else server
    before = {*threading.enumerate()}
    if browser:
        threading.Thread(target=_open_browser, args=(server, address_of(listening)), daemon=True).start()
    with listening, _ended_by_signals(), suppress(KeyboardInterrupt):
        server.run(sockets=[listening])
    started = [each for each in threading.enumerate() if each not in before and not each.daemon]
    until = time.monotonic() + LEAVE
    for each in started:
        each.join(max(0, until - time.monotonic()))
    return not any(each.is_alive() for each in started)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """SIGTERM ends a server as Ctrl-C does: uvicorn raises either again, after the server has ended well."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = {each: signal.signal(each, signal.default_int_handler) for each in (signal.SIGINT, signal.SIGTERM)}
    quiet = logging.getLogger("uvicorn.error")
    quiet.addFilter(_no_cancelled)
    try:
        yield
    finally:
        quiet.removeFilter(_no_cancelled)
        for each, handler in former.items():
            signal.signal(each, handler)


def _no_cancelled(record: logging.LogRecord) -> bool:
    """Requests that are given up at the end are no errors."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, asyncio.CancelledError) and "timeout graceful shutdown exceeded" not in str(record.msg)


def _open_browser(server: "uvicorn.Server", address: str) -> None:
    while not server.started and not server.should_exit:
        time.sleep(0.05)
    if server.started and not webbrowser.open(address):
        logger.warning("no browser could be opened: open %s yourself", address)
