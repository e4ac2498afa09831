"""What the page's server refuses: foreign pages, foreign names, paths out of the folder, bodies without end."""

import io
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx2
import numpy as np
import pytest
from collections_at_hand import setting
from explorer_at_hand import exploring
from PIL import Image

from conditional_image_embeddings.collection.storage.store import Store
from conditional_image_embeddings.collection.storage.tables import ImageRecord
from conditional_image_embeddings.errors import OptionError
from conditional_image_embeddings.inputs.encoded import FileStat
from conditional_image_embeddings.server import safety
from conditional_image_embeddings.server.explorer.application import application
from conditional_image_embeddings.server.explorer.opened import OpenedCollection
from conditional_image_embeddings.server.running import address_of, listen, warn_if_open

BESIDE = "outside.png"


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of photographs, a picture beside it, and a database that names both, as a hostile one may."""
    root = tmp_path_factory.mktemp("places")
    photos = root / "photos"
    (photos / "inner").mkdir(parents=True)
    for path in (photos / "a.png", photos / "inner" / "b.png", root / BESIDE, photos / "c.tiff"):
        Image.new("RGB", (40, 30), "red").save(path)
    (photos / "link.png").symlink_to(root / BESIDE)
    (photos / "not.png").write_text("root:x:0:0")
    kinds: dict[str, Path | None] = {
        "a.png": photos / "a.png", "inner/b.png": photos / "inner" / "b.png", "c.tiff": photos / "c.tiff",
        "link.png": photos / "link.png", "not.png": photos / "not.png", "out.png": root / BESIDE,
        "up.png": photos / ".." / BESIDE, "etc": Path("/etc/passwd"), "gone.png": photos / "gone.png", "folder": photos,
    }  # fmt: skip
    store, of = Store(root / "db"), setting(source=str(photos))
    kinds["table.png"] = None
    records = [
        ImageRecord(
            image_id=name, width=40, height=30, content_hash=None, place=FileStat(path and str(path)), thumbnail=None
        )
        for name, path in kinds.items()
    ]
    store.add_images(of.dataset, of.source, records)
    vectors = np.random.default_rng(0).normal(size=(len(records), 8)).astype(np.float32)
    store.add_vectors(of, [record.image_id for record in records], vectors)
    return root


@pytest.fixture(scope="module")
def client(places: Path) -> Iterator[httpx2.Client]:
    with exploring(places / "db") as address, httpx2.Client(base_url=address) as asking:
        yield asking


@pytest.fixture(scope="module")
def space(client: httpx2.Client) -> str:
    return str(client.get("/api/db").json()["spaces"][0]["space"])


def message(answer: httpx2.Response) -> str:
    assert "Traceback" not in answer.text
    return str(answer.json()["error"]["message"])


def test_pictures_of_the_folder_are_shown(client: httpx2.Client, space: str) -> None:
    for name, kind in (("a.png", "image/png"), ("inner/b.png", "image/png"), ("c.tiff", "image/png")):
        original = client.get("/api/db/original", params={"space": space, "image": name})
        assert (original.status_code, original.headers["content-type"]) == (200, kind)
        preview = client.get("/api/db/preview", params={"space": space, "image": name})
        assert Image.open(io.BytesIO(preview.content)).size == Image.open(io.BytesIO(original.content)).size == (40, 30)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("link.png", "does not lie in the folder"), ("out.png", "does not lie in the folder"),
        ("up.png", "does not lie in the folder"), ("etc", "does not lie in the folder"), ("gone.png", "is gone"),
        ("folder", "is gone"), ("table.png", "no file of its own"), ("not.png", "no image"),
        ("../outside.png", "no image"), ("/etc/passwd", "no image"), ("..\\outside.png", "no image"),
        ("C:\\Windows\\win.ini", "no image"), ("\\\\host\\share\\a.png", "no image"),
        ("%2e%2e/outside.png", "no image"),
        ("a.png\0.txt", "no image"), ("photos/../a.png", "no image"), ("", "no image"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["original", "preview"])
def test_no_name_leads_out_of_the_folder(client: httpx2.Client, space: str, kind: str, name: str, said: str) -> None:
    answer = client.get(f"/api/db/{kind}", params={"space": space, "image": name})
    assert answer.status_code in {400, 404}
    assert said in message(answer)
    assert b"root:x" not in answer.content


@pytest.mark.parametrize(
    "path",
    ["/../outside.png", "/..%2foutside.png", "/%2e%2e/%2e%2e/etc/passwd", "/modules/../../requests.py",
     "/modules/..%5c..%5crequests.py", "/look/..%2f..%2ferrors.py", "//etc/passwd", "/modules/%2e%2e/%2e%2e/routes.py",
     "/api/..%2fdb",
     "/api/db/uploads/..%2f..%2fa"],
)  # fmt: skip
def test_nothing_beside_the_pages_own_files_is_served(client: httpx2.Client, path: str) -> None:
    with socket.create_connection(
        (client.base_url.host, client.base_url.port or 80), 10
    ) as raw:  # no client tidies the path
        raw.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: raw.recv(65536), b""))
    assert answer.split(b" ", 2)[1] in {b"404", b"400"}
    assert b"root:x" not in answer
    assert b"import" not in answer


def test_a_file_is_not_read_by_comparing_with_its_path(client: httpx2.Client, space: str, places: Path) -> None:
    answer = client.post("/api/db/compare", json={"space": space, "a": "a.png", "b": str(places / BESIDE)})
    assert answer.status_code in {404, 409}
    assert BESIDE in message(answer)


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "[::ffff:1.2.3.4]", "", "localhost@evil",
     "localhost:x", "evil@localhost", "localhost/", "localhost?", "[::1", "127.0.0.2", "192.168.0.1"],
)  # fmt: skip
def test_a_page_whose_name_was_made_to_point_here_gets_nothing(client: httpx2.Client, host: str) -> None:
    for path in ("/", "/api/collections", "/modules/main.js"):
        answer = client.get(path, headers={"Host": host})
        assert answer.status_code == 400
        assert "--allow-host" in message(answer)


def test_the_machines_own_names_are_taken(client: httpx2.Client) -> None:
    for host in ("127.0.0.1", "localhost:1234", "[::1]:80", "LOCALHOST"):
        assert client.get("/api/collections", headers={"Host": host}).status_code == 200


def test_another_sites_page_gets_nothing_and_may_link_here(client: httpx2.Client) -> None:
    for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"},
                    {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"}):  # fmt: skip
        answer = client.post("/api/db/uploads", content=b"x", headers=headers)
        assert answer.status_code == 403
        assert "access-control-allow-origin" not in answer.headers
        assert client.get("/api/db", headers=headers).status_code == 403
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert client.get("/", headers=link).status_code == 200
    own = str(client.base_url).rstrip("/")
    assert client.get("/api/collections", headers={"Origin": own}).status_code == 200


def test_a_name_that_was_allowed_is_taken_whatever_its_case_and_a_proxy_may_speak_tls(places: Path) -> None:
    with exploring(places / "db", hosts=["Box.example", "::2"]) as address, httpx2.Client(base_url=address) as asking:
        for host in ("box.example", "BOX.example:443", "[::2]:1"):
            headers = {"Host": host, "Origin": f"https://{host}".lower()}
            assert asking.get("/api/collections", headers=headers).status_code == 200
        assert asking.get("/", headers={"Host": "www.box.example"}).status_code == 400
    for name in ("*", "*.example", "box:80", "http://box", "box/", "", "a b", "a@b"):
        with pytest.raises(OptionError, match="no name of a host"):
            application([places / "db"], hosts=[name])


def test_methods_that_no_answer_has_are_refused(client: httpx2.Client) -> None:
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
        for path in ("/", "/api/db", "/api/db/images"):
            answer = client.request(method, path)
            assert answer.status_code == 405, (method, path)
            assert "access-control-allow-methods" not in answer.headers
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Key": "x", "Sec-WebSocket-Version": "13"}
    assert client.get("/", headers=upgrade).status_code == 200


def test_a_fault_of_this_program_is_one_line(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: object) -> None:
        raise RuntimeError("secret/path")

    monkeypatch.setattr(OpenedCollection, "state_of", breaks)
    with exploring(places / "db") as address:
        answer = httpx2.get(f"{address}api/db")
    assert answer.status_code == 500
    assert message(answer).startswith("internal error: RuntimeError")
    assert "secret" not in answer.text
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")


def test_every_answer_forbids_what_the_page_does_not_need(client: httpx2.Client) -> None:
    for path in (
        "/",
        "/explorer.css",
        "/look/tokens.css",
        "/modules/main.js",
        "/api/collections",
        "/api/none",
        "/nowhere",
    ):
        headers = client.get(path).headers
        policy = dict(each.strip().split(" ", 1) for each in headers["content-security-policy"].split(";"))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"


def test_the_page_names_no_foreign_host(client: httpx2.Client) -> None:
    page = client.get("/").text
    assert "http://" not in page
    assert "https://" not in page
    assert "<script>" not in page
    assert " style=" not in page


@pytest.mark.parametrize("path", ["uploads", "images"])
def test_a_body_without_end_is_refused(client: httpx2.Client, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safety, "MAX_BODY", 100_000)

    def endless() -> Iterator[bytes]:
        for _ in range(100):
            yield b"[" * 10_000

    headers = {"Content-Type": "application/json"}
    answer = client.post(f"/api/db/{path}", content=endless(), headers=headers)
    assert answer.status_code == 413
    assert "100,000 bytes" in message(answer)


def test_a_picture_that_is_none_or_a_bomb_is_refused(client: httpx2.Client) -> None:
    bomb = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(bomb, "PNG")
    for content, said in ((b"", "empty"), (b"<svg onload=alert(1)>", "no image"), (bomb.getvalue(), "pixels")):
        answer = client.post("/api/db/uploads", content=content)
        assert answer.status_code == 400
        assert said in message(answer)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'{"space": 1}', json.dumps({"space": "x", "conditions": []}).encode(),
     json.dumps({"space": "x", "conditions": [{"condition": "color", "weight": 1e400}]}).encode(), b"[" * 100_000,
     json.dumps({"space": "x", "conditions": [{"condition": "color"}], "surprise": 1}).encode(),
     json.dumps({"space": "x", "conditions": [{"condition": "color"}], "k": 10**9}).encode()],
)  # fmt: skip
def test_what_is_no_request_says_why(client: httpx2.Client, body: bytes) -> None:
    answer = client.post("/api/db/images", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in {400, 422}
    assert message(answer)


def test_filters_cannot_write(client: httpx2.Client, space: str) -> None:
    view = {"space": space, "conditions": [{"condition": "color"}]}
    for where in ("1=1; DROP TABLE images", "width > (", "1=1) OR (1=1", "nonsense", "x" * 20_000):
        answer = client.post("/api/db/images", json={**view, "filters": {"where": where}})
        assert answer.status_code in {400, 422}, where
    assert client.post("/api/db/images", json=view).json()["total"] == 11


def test_listening_for_others_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with listen("0.0.0.0", None, 0) as everywhere:  # noqa: S104 - that is what is tested
        warn_if_open(everywhere)
        assert "every machine" in caplog.text
        assert address_of(everywhere).startswith("http://127.0.0.1:")
    caplog.clear()
    with listen("127.0.0.1", None, 0) as here:
        warn_if_open(here)
    assert not caplog.text
