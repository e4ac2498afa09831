"""What every answer of a server on this machine is safe from: foreign pages, foreign names, bodies without end.

A browser lets any page on the web send requests to 127.0.0.1. A page whose name was made to point here (DNS rebinding)
is told by the Host header, one that sends requests across by Origin and Sec-Fetch-Site; neither gets an answer.
"""

from collections.abc import Sequence
from ipaddress import ip_address
from typing import TYPE_CHECKING

from fastapi.responses import JSONResponse
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

from .problems import problem

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOCAL_NAMES = ("127.0.0.1", "localhost", "::1", "[::1]")
MAX_BODY = 64 * 2**20  # bytes of a request
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server that listens on this address."""
    try:
        return host == "localhost" or ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def protect(app: "FastAPI", hosts: Sequence[str] = ()) -> None:
    """Put the guards around an application.

    Args:
        app: The application.
        hosts: Names under which it may be asked for, besides those of this machine itself.
    """
    app.add_middleware(Guard)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*LOCAL_NAMES, *hosts], www_redirect=False)


class Guard:
    """Refuses requests that another site's page sends and bodies that are too large; adds the headers of safety."""

    def __init__(self, app: "ASGIApp") -> None:
        self.app = app

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def guarded(message: "Message") -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        headers = Headers(scope=scope)
        if _is_foreign(scope, headers):
            refused = problem("a page of another site asked: only this server's own page gets answers", "forbidden")
            await JSONResponse(refused, 403)(scope, receive, guarded)
            return
        received = 0

        async def bounded() -> "Message":
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > MAX_BODY:
                raise HTTPException(413, f"the request has more than {MAX_BODY:,} bytes")
            return message

        await self.app(scope, bounded, guarded)


def _is_foreign(scope: "Scope", headers: Headers) -> bool:
    """Whether another site's page asks; following a link from there to this page is no such thing."""
    origin = headers.get("origin")
    if origin is not None and origin != f"{scope['scheme']}://{headers.get('host')}":
        return True
    navigates = headers.get("sec-fetch-mode") == "navigate" and scope["method"] == "GET"
    return headers.get("sec-fetch-site") in {"cross-site", "same-site"} and not navigates
