"""A web server on loopback that serves bytes from memory, and misbehaves as it is told to."""

import io
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Server:
    """What it serves, what it was asked, and what it does wrong with the next requests (`faults`, first in first out).

    Faults: a status such as 503 or 416; "stall", "cut" and "reset" after half of the body; "whole" (200 to a request
    for a part); "elsewhere" (206 from another byte); "unsized" (no length, cut).
    """

    def __init__(self, base: str) -> None:
        self.base = base
        self.files: dict[str, bytes] = {}
        self.redirects: dict[str, str] = {}
        self.faults: list[int | str] = []
        self.ranges: list[str | None] = []
        self.released = threading.Event()  # ends a stall


@contextmanager
def serving() -> Iterator[Server]:
    def respond(handler: BaseHTTPRequestHandler) -> None:
        _respond(handler, server)

    handler: Any = type("Handler", (BaseHTTPRequestHandler,), {"do_GET": respond, "log_message": lambda *_: None})
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    http.daemon_threads = True
    server = Server(f"http://127.0.0.1:{http.server_port}")
    thread = threading.Thread(target=lambda: http.serve_forever(poll_interval=0.01), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        http.shutdown()
        http.server_close()
        thread.join(5)


def _respond(handler: BaseHTTPRequestHandler, server: Server) -> None:
    path = handler.path.partition("?")[0]
    wanted = handler.headers.get("Range")
    if path in server.redirects:
        handler.send_response(302)
        handler.send_header("Location", server.redirects[path])
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return
    server.ranges.append(wanted)
    fault = server.faults.pop(0) if server.faults else None
    body = server.files.get(path)
    begins = int(re.sub(r"\D", "", wanted)) if wanted else 0
    if isinstance(fault, int) or body is None:
        status, headers, content = fault or 404, {"Retry-After": "0"}, b"no"
    elif wanted and fault == "elsewhere":
        status, headers, content = 206, {"Content-Range": f"bytes 0-{len(body) - 1}/{len(body)}"}, body
    elif wanted and fault != "whole" and begins >= len(body):
        status, headers, content = 416, {"Content-Range": f"bytes */{len(body)}"}, b""
    elif wanted and fault != "whole":
        headers = {"Content-Range": f"bytes {begins}-{len(body) - 1}/{len(body)}"}
        status, content = 206, body[begins:]
    else:
        status, headers, content = 200, {}, body
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    if fault != "unsized":
        handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    broken: dict[Any, Callable[[], object]] = {
        "stall": lambda: server.released.wait(10),
        "cut": lambda: None,
        "reset": lambda: _reset(handler),
    }
    if fault in broken:
        handler.wfile.write(content[: (len(content) + 1) // 2])
        handler.wfile.flush()
        broken[fault]()
        handler.close_connection = True
    else:
        handler.wfile.write(content)


def _reset(handler: BaseHTTPRequestHandler) -> None:
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.wfile.close()
    handler.connection.close()
    handler.wfile = io.BytesIO()
