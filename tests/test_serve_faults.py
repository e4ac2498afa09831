"""Clients that mean harm or know no better: what they get is a line, and the others get their vectors."""

import http.server
import resource
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import httpx2
import numpy as np
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import checks
from serving_at_hand import Colors, Served, data_uri, message, picture, serving, until, vectors_of

from conditional_image_embeddings.server import connections
from conditional_image_embeddings.server.api import urls

BODY = {"input": data_uri(picture(0))}
EXPECTED = Colors().encode([picture(0)])
BOUNDED = settings(
    max_examples=25, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving(max_body=200_000, max_held=300_000, timeout=2.0) as running:
        yield running


@pytest.fixture(scope="module")
def client(served: Served) -> Iterator[httpx2.Client]:
    with served.client() as asking:
        yield asking


def still_right(client: httpx2.Client) -> None:
    np.testing.assert_allclose(vectors_of(client.post("/v1/embeddings", json=BODY)), EXPECTED, atol=1e-5)


def raw(served: Served, data: bytes) -> socket.socket:
    url = httpx2.URL(served.address)
    connection = socket.create_connection((url.host, url.port or 80), 10)
    connection.sendall(data)
    return connection


HEAD = b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def test_a_body_without_end_is_refused(client: httpx2.Client) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(100):
            yield b" " * 10_000

    answer = client.post("/v1/embeddings", content=endless(), headers={"Content-Type": "application/json"})
    assert answer.status_code == 413
    assert "more than 200,000 bytes" in message(answer)
    still_right(client)


def test_half_a_request_that_sleeps_is_ended(served: Served, client: httpx2.Client) -> None:
    with raw(served, HEAD + b"Content-Length: 1000\r\n\r\n{") as half:
        still_right(client)
        half.settimeout(30)
        assert half.recv(1000).startswith(b"HTTP/1.1 408")


def test_requests_of_too_many_bytes_at_once_are_told_to_come_back(served: Served, client: httpx2.Client) -> None:
    part = HEAD + b"Content-Length: 199000\r\n\r\n" + b" " * 190_000
    with raw(served, part), raw(served, part) as second:
        second.settimeout(30)
        assert second.recv(1000).startswith((b"HTTP/1.1 503", b"HTTP/1.1 408"))
    until(lambda: client.post("/v1/embeddings", json=BODY).status_code == 200)


def test_a_thousand_idle_connections_are_in_nobodys_way(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice as many as the server holds; both ends of each are files of this process."""
    monkeypatch.setattr(connections, "HEAD_SECONDS", 3)
    with many_files(2 * 1000 + 200), ExitStack() as opened:
        idle = [opened.enter_context(raw(served, data)) for data in (b"", b"POST /v1/emb", HEAD, b"\x00") * 250]
        with served.client() as client:
            still_right(client)
        for each in idle:
            each.settimeout(30)
            with suppress(ConnectionResetError):
                assert b"200" not in each.recv(1000)  # closed, or told that this is no HTTP
    with served.client() as client:
        still_right(client)


@contextmanager
def many_files(number: int) -> Iterator[None]:
    """At least so many may be open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < number:
        pytest.skip(f"a process may have {hard} files open here")
    if soft == resource.RLIM_INFINITY or soft >= number:
        yield
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (number, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_head_that_comes_in_drops_is_ended(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.5)
    with raw(served, b"GET /health HTTP/1.1\r\n") as slow, pytest.raises(OSError):  # noqa: PT011, PT012
        slow.settimeout(30)
        for _ in range(100):
            slow.sendall(b"X")
            time.sleep(0.1)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", ""])
def test_names_that_were_made_to_point_here_get_nothing(host: str, client: httpx2.Client) -> None:
    assert client.get("/v1/models", headers={"Host": host}).status_code == 400


def test_pages_of_other_sites_get_nothing_unless_they_were_named(client: httpx2.Client) -> None:
    for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        answer = client.post("/v1/embeddings", json=BODY, headers=headers)
        assert answer.status_code == 403
        assert "access-control-allow-origin" not in answer.headers
    with serving(cors_origins=["https://app.example"], api_key="k") as open_one, open_one.client() as asking:
        own = {"Origin": "https://app.example", "Sec-Fetch-Site": "cross-site", "Authorization": "Bearer k"}
        answer = asking.post("/v1/embeddings", json=BODY, headers=own)
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "https://app.example")
        asks_first = {**own, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
        del asks_first["Authorization"]
        assert asking.options("/v1/embeddings", headers=asks_first).status_code == 200
        other = {**own, "Origin": "https://evil.example"}
        assert asking.post("/v1/embeddings", json=BODY, headers=other).status_code == 403


def test_the_key_opens_everything_but_health_is_open() -> None:
    with serving(api_key="secret") as running, running.client() as asking:
        assert asking.get("/health").status_code == 200
        for path in ("/v1/models", "/metrics", "/openapi.json", "/nowhere"):
            for header in ({}, {"Authorization": "Bearer"}, {"Authorization": "Bearer secre"},
                           {"Authorization": "Basic secret"}, {"Authorization": b"Bearer \xff"}):  # fmt: skip
                answer = asking.get(path, headers=header)
                assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
                assert "API key" in message(answer)
        assert asking.get("/v1/models", headers={"Authorization": "Bearer secret"}).status_code == 200


def test_urls_are_fetched_from_the_allowed_hosts_alone() -> None:
    """The allowed host is a second server on loopback, which is no address of the public internet."""

    class Images(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            where = {"/away": "http://169.254.169.254/latest", "/loop": "/loop", "/moved": "/a.png"}.get(self.path)
            if where:
                self.send_response(302)
                self.send_header("Location", where)
                self.end_headers()
                return
            self.send_response(200 if self.path in {"/a.png", "/large"} else 404)
            self.end_headers()
            self.wfile.write(picture(0) if self.path == "/a.png" else bytes(2_000_000))

        def log_message(self, *_: object) -> None:
            pass

    images = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Images)
    threading.Thread(target=images.serve_forever, daemon=True).start()
    host = f"127.0.0.1:{images.server_port}"

    def ask(asking: httpx2.Client, url: str) -> httpx2.Response:
        return asking.post("/v1/embeddings", json={"input": {"image": url}})

    try:
        with serving(url_hosts=[host], private_urls=True, max_body=1_000_000) as running, running.client() as asking:
            for path in ("/a.png", "/moved"):
                np.testing.assert_allclose(vectors_of(ask(asking, f"http://{host}{path}")), EXPECTED, atol=1e-5)
            for url, said in (
                (f"http://{host}/away", "nothing is fetched from '169.254.169.254'"),
                (f"http://{host}/loop", "redirected more than 3 times"), (f"http://{host}/large", "1,000,000 bytes"),
                (f"http://{host}/none", "answers 404"), ("http://127.0.0.1:1/a", "nothing is fetched"),
                (f"http://user@{host}/a.png", "nothing is fetched"), ("http://localhost/a.png", "nothing is fetched"),
                ("http://[::1]/", "nothing is fetched"), ("http://", ""), ("http://\ud7ff.example/", ""),
            ):  # fmt: skip
                answer = ask(asking, url)
                assert answer.status_code == 400, answer.text
                assert said in message(answer)
        with serving(url_hosts=[host]) as running, running.client() as asking:
            assert "no host of the public internet" in message(ask(asking, f"http://{host}/a.png"))
    finally:
        images.shutdown()


@pytest.mark.parametrize(
    ("address", "public"),
    [("8.8.8.8", True), ("2606:4700::1111", True), ("127.0.0.1", False), ("10.1.2.3", False), ("240.0.0.1", False),
     ("169.254.169.254", False), ("100.64.0.1", False), ("224.0.0.1", False), ("::1", False), ("fe80::1%eth0", False),
     ("fd00::1", False), ("::ffff:10.0.0.1", False), ("64:ff9b::a00:1", False), ("2002:a00:1::", False)],
)  # fmt: skip
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert urls.is_public(address) is public


def test_the_description_is_kept_whatever_is_sent() -> None:
    """No 5xx but the documented 503, no traceback, answers of the described form; the examples work."""
    with serving(max_text=1000) as running, running.client() as client:
        described = client.get("/openapi.json").json()
        for path, operations in described["paths"].items():
            for operation in operations.values():
                content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
                for name, example in content.get("examples", {}).items():
                    answer = client.post(path, json=example["value"])
                    assert answer.status_code == (404 if path == "/v1/search" else 200), (name, answer.text)
        schema = schemathesis.openapi.from_dict(described)
        answered: Counter[int] = Counter()
        kept = [checks.not_a_server_error, checks.status_code_conformance, checks.content_type_conformance,
                checks.response_schema_conformance]  # fmt: skip

        def see(case: schemathesis.Case) -> None:
            answer = case.call(base_url=running.address)
            assert "Traceback" not in answer.text
            answered[answer.status_code] += 1
            case.validate_response(answer, checks=kept)

        for result in schema.get_all_operations():
            operation = result.ok()
            for mode in schemathesis.GenerationMode:
                strategy = operation.as_strategy(generation_mode=mode)
                with suppress(Unsatisfiable):  # nothing can be wrong where nothing is sent
                    BOUNDED(given(case=strategy)(see))()
        assert {200, 400, 422} <= set(answered) <= {200, 400, 404, 405, 422}
        still_right(client)
