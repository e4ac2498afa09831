"""`cie explore` as a user meets it: what it prints, what it refuses, and how it ends."""

import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import webbrowser
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import commands
import httpx2
import pytest
from collections_at_hand import random_store

from conditional_image_embeddings.reports import demo
from conditional_image_embeddings.server import running

pytestmark = pytest.mark.usefixtures("checked_once")

SLOW = """
import sys, time
from conditional_image_embeddings.collection.collection import Collection
Collection.cluster = lambda *_, **__: time.sleep(60)
from conditional_image_embeddings.cli import main
main()
"""


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("explored") / "embeddings"
    random_store(path, 8, "color")
    return path


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str], bool]]:
    """Addresses, collections and whether a browser is to be opened, of pages that would be served."""
    found: list[tuple[str, list[str], bool]] = []

    def run(app: Any, listening: socket.socket, *, browser: bool) -> bool:
        with listening:
            found.append((running.address_of(listening), list(app.state.collections), browser))
        for each in app.state.collections.values():
            each.close()
        return True

    monkeypatch.setattr(running, "run", run)
    return found


def test_what_is_no_collection_is_one_line(db: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("no database")
    for given in ((), ("nowhere",), ("file",), (db, "nowhere")):
        said = commands.error_of(commands.cie("explore", *given, "--no-browser", cwd=tmp_path), 1)
        assert said.startswith("error: ")
        assert len(said.splitlines()) == 1, said
    assert "at embeddings" in commands.error_of(commands.cie("explore", cwd=tmp_path), 1)


def test_ports_and_hosts_that_cannot_be(db: Path, served: list[Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = commands.error_of(commands.cie("explore", db, "--port", port), 1)
        assert f"port {port}" in said
        assert "--port" in said
        assert running.listen("127.0.0.1", None, port).getsockname()[1] != port
    for bad in ("0", "65536", "x"):
        commands.error_of(commands.cie("explore", db, "--port", bad), 2)
    for host in ("192.0.2.1", "no such host", "x" * 300, ""):
        said = commands.error_of(commands.cie("explore", db, "--host", host), 1)
        assert len(said.splitlines()) == 1, said
    assert "no name of a host" in commands.error_of(commands.cie("explore", db, "--allow-host", "*"), 1)
    assert not served


def test_several_collections_of_one_name_and_who_may_look(db: Path, tmp_path: Path, served: list[Any]) -> None:
    for name in ("one", "two"):
        random_store(tmp_path / name / "embeddings", 3, "color")
    finished = commands.cie("explore", tmp_path / "one" / "embeddings", tmp_path / "two" / "embeddings", db, db)
    assert finished.returncode == 0
    assert served[0][1:] == (["embeddings", "embeddings-2", "embeddings-3"], True)
    assert finished.stderr == f"Look at {served[0][0]} (Ctrl-C ends it)\n"
    finished = commands.cie("explore", db, "--no-browser", "--host", "0.0.0.0")  # noqa: S104 - that is what is tested
    assert "every machine that reaches this one" in finished.stderr
    assert served[1][2] is False


def test_two_never_listen_on_one_port() -> None:
    with running.listen("127.0.0.1", None, 0) as one:
        port = one.getsockname()[1]
        with running.listen("127.0.0.1", None, port) as other:
            assert other.getsockname()[1] != port
        socket.create_connection(("127.0.0.1", port), 5).close()  # it waits until it is served


def test_the_browser_is_opened_once_the_page_answers(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from conditional_image_embeddings.server.explorer.application import application

    seen: list[int] = []
    server_of, servers = running.server_of, []

    def opens(address: str) -> bool:
        seen.append(httpx2.get(address).status_code)
        servers[0].should_exit = True
        return True

    def remembered(app: Any) -> Any:
        servers.append(server_of(app))
        return servers[0]

    monkeypatch.setattr(webbrowser, "open", opens)
    monkeypatch.setattr(running, "server_of", remembered)
    assert running.run(application([db]), running.listen("127.0.0.1", None, 0), browser=True)
    assert seen == [200]


def test_the_demo_can_end_in_the_page(
    db: Path, tmp_path: Path, served: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def story(output: Path) -> list[dict[str, Any]]:
        random_store(output / "embeddings", 3, "color")
        return []

    monkeypatch.setattr(demo, "run", story)
    finished = commands.cie("demo", "-o", tmp_path / "demo", "--explore", "--json")
    assert finished.returncode == 0, finished.stderr
    assert json.loads(finished.stdout) == []
    assert served[0][1:] == (["embeddings"], True)


@pytest.fixture
def process(db: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`cie explore` in a process of its own, where groups take a minute, and its address."""
    line = [sys.executable, "-c", SLOW, "explore", str(db), "--no-browser"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as started:
        try:
            assert started.stderr is not None
            first = started.stderr.readline()
            found = re.fullmatch(r"Look at (http://127\.0\.0\.1:\d+/) \(Ctrl-C ends it\)\n", first)
            assert found, first + started.stderr.read()
            yield started, found[1]
        finally:
            started.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("asked", [False, True])
def test_a_signal_ends_it_quietly(
    process: tuple[subprocess.Popen[str], str], number: signal.Signals, asked: bool
) -> None:
    started, address = process
    space = httpx2.get(f"{address}api/embeddings", timeout=30).json()["spaces"][0]["space"]
    assert httpx2.get(address).text.startswith("<!doctype html>")
    if asked:

        def ask() -> None:
            body = {"space": space, "condition": "color"}
            with suppress(httpx2.HTTPError):
                httpx2.post(f"{address}api/embeddings/clusters", json=body, timeout=60)

        threading.Thread(target=ask, daemon=True).start()
        time.sleep(1)
    started.send_signal(number)
    output, errors = started.communicate(timeout=30)  # a minute would be that of the groups
    assert (started.returncode, output, errors) == (0, "", "")


def test_help_needs_no_server() -> None:
    assert "--allow-host" in commands.cie("explore", "--help").stdout
