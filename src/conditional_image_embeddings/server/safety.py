"""What every answer of a server on this machine is safe from: foreign pages, foreign names, bodies without end.

A browser lets any page on the web send requests to 127.0.0.1. A page whose name was made to point here (DNS rebinding)
is told by the Host header, one that sends requests across by Origin and Sec-Fetch-Site; neither gets an answer.
"""

import asyncio
import hmac
import logging
import re
from collections.abc import Sequence
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from fastapi.responses import JSONResponse
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from ..errors import OptionError
from .problems import problem

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOCAL_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})
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

logger = logging.getLogger(__name__)


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
        hosts: Names under which it may be asked for, besides those of this machine itself.
        guard: What `Guard` takes besides.

    Raises:
        OptionError: one that is no name of a host.
    """
    names = frozenset(_checked_name(each) for each in hosts)
    app.add_middleware(Guard, names=names | LOCAL_NAMES, **guard)


class Guard:
    """Refuses what is asked under foreign names or by another site's page, and bodies that are too large.

    It adds the headers of safety to every answer, and answers a fault of this program with one line.

    Args:
        app: What answers all else.
        names: Hosts, in lower case, that it may be asked for by. The address that a request came in on is one besides:
            a page's name can be made to point here, an address in figures cannot.
        any_name: Take any, where a server is meant for other machines, and asked for by names that it cannot know.
        origins: Sites whose pages may ask all the same.
        max_body: Bytes of a request; None is `MAX_BODY`.
        max_held: Bytes of all requests that are under way; those that would go beyond are answered 503.
        body_seconds: How long a request's body may take to come.
    """

    def __init__(
        self,
        app: "ASGIApp",
        names: frozenset[str],
        *,
        any_name: bool = False,
        origins: Sequence[str] = (),
        max_body: int | None = None,
        max_held: int = 2**30,
        body_seconds: float = 60.0,
    ) -> None:
        self.app, self.names, self._origins = app, names, frozenset(origins)
        self._any_name = any_name
        self._max_body, self._max_held, self._body_seconds = max_body, max_held, body_seconds
        self._held = 0

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun, received, whole = False, 0, False
        limit = MAX_BODY if self._max_body is None else self._max_body
        until = asyncio.get_running_loop().time() + self._body_seconds

        async def guarded(message: "Message") -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

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

        headers = Headers(scope=scope)
        host = _host(headers.get("host", ""))
        if not self._any_name and host not in self.names and host != (scope.get("server") or ("",))[0]:
            said = f"nobody is here by the name of {host[:100]!r}: --allow-host NAME lets one be used"
            await JSONResponse(problem(said, "unknown_host"), 400)(scope, receive, guarded)
        elif headers.get("origin") not in self._origins and _is_foreign(scope, headers):
            said = "a page of another site asked: only this server's own page gets answers"
            await JSONResponse(problem(said, "forbidden"), 403)(scope, receive, guarded)
        else:
            try:
                await self.app(scope, bounded, guarded)
            except ClientDisconnect:
                pass  # nobody waits for an answer any more
            except Exception as error:
                logger.exception("internal error")
                if begun:
                    raise
                said = f"internal error: {type(error).__name__} (a fault of this program: the terminal says more)"
                await JSONResponse(problem(said, "internal"), 500)(scope, receive, guarded)
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


def _host(header: str) -> str:
    """A Host header's name, in lower case, without port; "" where it is none."""
    try:
        parts = urlsplit(f"//{header}")
        parts.port  # noqa: B018 - raises ValueError where it is no number
    except ValueError:
        return ""
    return parts.hostname or "" if parts.netloc == header and "@" not in header else ""


def _checked_name(name: str) -> str:
    bare = name if name.startswith("[") or name.count(":") < 2 else f"[{name}]"
    host = _host(bare)
    if bare.strip("[]").casefold() != host or not re.fullmatch(r"[\w.:-]+", host):
        raise OptionError(f"{name!r} is no name of a host, such as box.example: no port, no path, no star")
    return host


def _is_foreign(scope: "Scope", headers: Headers) -> bool:
    """Whether another site's page asks; following a link from there to this page is no such thing.

    A proxy may speak TLS with the browser: only host and port of the origin are compared.
    """
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc.casefold() != headers.get("host", "").casefold():
        return True
    navigates = headers.get("sec-fetch-mode") == "navigate" and scope["method"] == "GET"
    return headers.get("sec-fetch-site") in {"cross-site", "same-site"} and not navigates
