"""What every answer of a server on this machine is safe from: foreign pages, foreign names, bodies without end.

A browser lets any page on the web send requests to 127.0.0.1. A page whose name was made to point here (DNS rebinding)
is told by the Host header, one that sends requests across by Origin and Sec-Fetch-Site; neither gets an answer.
"""

import asyncio
import hmac
from collections.abc import Sequence
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

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


def protect(app: "FastAPI", hosts: Sequence[str] = (), **guard: Any) -> None:
    """Put the guards around an application.

    Args:
        app: The application.
        hosts: Names under which it may be asked for, besides those of this machine itself; "*" is any.
        guard: What `Guard` takes.
    """
    app.add_middleware(Guard, **guard)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*LOCAL_NAMES, *hosts], www_redirect=False)


class Guard:
    """Refuses requests that another site's page sends and bodies that are too large; adds the headers of safety.

    Args:
        app: What is guarded.
        origins: Sites whose pages may ask all the same.
        max_body: Bytes of a request; None is `MAX_BODY`.
        max_held: Bytes of all requests that are under way; those that would go beyond are answered 503.
        body_seconds: How long a request's body may take to come.
    """

    def __init__(
        self,
        app: "ASGIApp",
        *,
        origins: Sequence[str] = (),
        max_body: int | None = None,
        max_held: int = 2**30,
        body_seconds: float = 60.0,
    ) -> None:
        self.app, self._origins = app, frozenset(origins)
        self._max_body, self._max_held, self._body_seconds = max_body, max_held, body_seconds
        self._held = 0

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
        if headers.get("origin") not in self._origins and _is_foreign(scope, headers):
            refused = problem("a page of another site asked: only this server's own page gets answers", "forbidden")
            await JSONResponse(refused, 403)(scope, receive, guarded)
            return
        received, whole = 0, False
        limit = MAX_BODY if self._max_body is None else self._max_body
        until = asyncio.get_running_loop().time() + self._body_seconds

        async def bounded() -> "Message":
            nonlocal received, whole
            try:
                async with asyncio.timeout_at(None if whole else until):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, f"the request did not come whole in {self._body_seconds:g} s") from None
            if message["type"] == "http.request":
                whole = not message.get("more_body", False)
                received += (size := len(message.get("body", b"")))
                self._held += size
                if received > limit:
                    raise HTTPException(413, f"the request has more than {limit:,} bytes")
                if self._held > self._max_held:
                    said = "requests of too many bytes are under way: ask again later"
                    raise HTTPException(503, said, headers={"Retry-After": "1"})
            return message

        try:
            await self.app(scope, bounded, guarded)
        finally:
            self._held -= received


class ApiKey:
    """Lets requests pass that carry the key, as `Authorization: Bearer KEY`.

    Args:
        app: What it is for.
        key: The key.
        open_paths: What may be asked without.
    """

    def __init__(self, app: "ASGIApp", *, key: str, open_paths: Sequence[str] = ()) -> None:
        self.app, self._key, self._open_paths = app, key.encode(), frozenset(open_paths)

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Answer one request."""
        if scope["type"] == "http" and scope["path"] not in self._open_paths:
            scheme, _, given = Headers(scope=scope).get("authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), self._key):
                refused = problem("this server wants its API key: Authorization: Bearer KEY", "unauthorized")
                await JSONResponse(refused, 401, headers={"WWW-Authenticate": "Bearer"})(scope, receive, send)
                return
        await self.app(scope, receive, send)


def _is_foreign(scope: "Scope", headers: Headers) -> bool:
    """Whether another site's page asks; following a link from there to this page is no such thing."""
    origin = headers.get("origin")
    if origin is not None and origin != f"{scope['scheme']}://{headers.get('host')}":
        return True
    navigates = headers.get("sec-fetch-mode") == "navigate" and scope["method"] == "GET"
    return headers.get("sec-fetch-site") in {"cross-site", "same-site"} and not navigates
