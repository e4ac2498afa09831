"""A server in this process: a free port, loopback unless asked otherwise, and a browser once it answers."""

import logging
import socket
import threading
import time
import webbrowser
from contextlib import suppress
from typing import TYPE_CHECKING

from ..errors import OptionError
from .safety import is_loopback

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

CONNECTIONS = 256  # at once; more are answered 503
GRACE = 5  # seconds that requests in flight have at the end

logger = logging.getLogger(__name__)


def listen(host: str, port: int | None, first: int) -> socket.socket:
    """A socket to serve on.

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
    except OSError as error:
        if port is None:
            with suppress(OSError):
                found.bind((address[0], 0, *address[2:]))
                return found
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


def warn_if_open(listening: socket.socket) -> None:
    """Say so where other machines can reach a server."""
    host = listening.getsockname()[0]
    if not is_loopback(host):
        logger.warning(
            "listening on %s: every machine that reaches this one can look at these images, without a password; "
            "leave --host out to keep them here",
            host,
        )


def server_of(app: "FastAPI") -> "uvicorn.Server":
    """What serves an application: `.run(sockets=[...])` does, until `.should_exit` is set."""
    import uvicorn

    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=GRACE,
        limit_concurrency=CONNECTIONS,
    )  # fmt: skip
    return uvicorn.Server(config)


def run(app: "FastAPI", listening: socket.socket, *, browser: bool = False) -> None:
    """Serve until Ctrl-C or SIGTERM.

    Args:
        app: The application.
        listening: What `listen` gave.
        browser: Open it in the user's browser once it answers.
    """
    server = server_of(app)
    if browser:
        threading.Thread(target=_open_browser, args=(server, address_of(listening)), daemon=True).start()
    with listening, suppress(KeyboardInterrupt):  # uvicorn raises the signal again, after it has ended well
        server.run(sockets=[listening])


def _open_browser(server: "uvicorn.Server", address: str) -> None:
    while not server.started and not server.should_exit:
        time.sleep(0.05)
    if server.started and not webbrowser.open(address):
        logger.warning("no browser could be opened: open %s yourself", address)
