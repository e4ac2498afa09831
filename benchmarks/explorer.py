"""How fast `cie explore` is: what a user waits for in the browser, and what each of the server's answers takes.

    uv run --group benchmarks python benchmarks/explorer.py [--images 1000 20000 100000] [--dimensions 256]

Needs Chromium. Databases of clustered vectors under three conditions, with words, pictures of 160 pixels, maps and
indexes, are served by `cie explore` in a process of its own; headless Chromium, which draws without a graphics card
here, looks at them. Frames are those of the page beside rivals in the same run: nothing that moves (what the machine
can do at best), a plain page of as many boxes, and one of as many `<img loading="lazy">`.
"""

import argparse
import http.client
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import clustered_collections
import explorer_in_browser
import measuring
import numpy as np
from clustered_collections import CONDITIONS
from playwright.sync_api import sync_playwright

Rows = dict[str, str]  # what was measured, by what it is called


class Server:
    """`cie explore` over a database, asked through one connection."""

    def __init__(self, db: Path) -> None:
        command = [sys.executable, "-m", "conditional_image_embeddings", "explore", str(db), "--no-browser"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # noqa: S603
        said = ""
        while (found := re.search(r"http://127\.0\.0\.1:(\d+)/", said)) is None:
            line = self.process.stdout.readline()
            if not line:
                raise SystemExit(f"cie explore ended: {said}")
            said += line
        self.address, self.name = found[0], db.name
        self.connection = http.client.HTTPConnection("127.0.0.1", int(found[1]))
        for _ in range(300):
            try:
                self.space = json.loads(self.ask(""))["spaces"][0]["space"]
                return
            except ConnectionRefusedError:
                self.connection.close()
                time.sleep(0.1)
        raise SystemExit("cie explore does not answer")

    def ask(self, path: str, body: dict[str, Any] | None = None, **query: str) -> bytes:
        """The answer to a GET, or with a body to a POST."""
        given = f"?{urlencode({'space': self.space, **query})}" if query or path == "/state" else ""
        text = None if body is None else json.dumps({"space": self.space, **body})
        self.connection.request(
            "GET" if body is None else "POST",
            f"/api/{self.name}{path}{given}",
            text,
            {"Content-Type": "application/json"},
        )
        response = self.connection.getresponse()
        answer = response.read()
        if response.status != 200:
            raise SystemExit(f"{path}: {answer[:300]!r}")
        return answer

    def peak(self) -> float:
        """MiB, of its life so far."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024


@contextmanager
def serving(db: Path) -> Iterator[Server]:
    server = Server(db)
    try:
        yield server
    finally:
        server.process.terminate()
        server.process.wait()


def answers(server: Server, images: int, rounds: int) -> Rows:
    """Milliseconds of each answer, first, p50 and p95; each is asked of other images every time."""
    server.connection.close()  # after a while without a request the server has
    shuffled = np.random.default_rng(0).permutation(images).tolist()
    taken = iter(shuffled * 10)

    def image_id() -> str:
        row = next(taken)
        return f"album-{row // 500:03}/IMG_{row:08}.jpg"

    def view(*names: str, near: bool = False, offset: int = 0, **more: Any) -> Callable[[], bytes]:
        def asked() -> bytes:
            query = {"query": {"image_id": [{"value": image_id()}]}} if near else {}
            conditions = [{"condition": name} for name in names or CONDITIONS]
            return server.ask("/images", {"conditions": conditions, "offset": offset, "limit": 100, **query, **more})

        return asked

    def weighted() -> bytes:
        """The same query again, its aspects weighted anew."""
        conditions = [{"condition": name, "weight": next(weights)} for name in CONDITIONS]
        return server.ask("/images", {"conditions": conditions, "limit": 100, "query": same})

    def neighbours() -> bytes:
        chosen = image_id()
        server.ask("/image", {"image_id": chosen})
        near = {"image_id": [{"value": chosen}]}
        for name in (*CONDITIONS, *CONDITIONS[:2]):
            server.ask("/images", {"conditions": [{"condition": name}], "query": near, "k": 12, "limit": 12})
        return b""

    same = {"image_id": [{"value": image_id()}]}
    weights = iter(np.random.default_rng(1).uniform(0.1, 1, 3000).tolist())
    words = clustered_collections.WORDS["car color"]
    red = {"facets": [{"condition": "car color", "words": ["red"]}]}
    one = CONDITIONS[0]

    def filtered() -> bytes:
        filters = {"where": f"width > {1200 + next(taken) % 400}"}
        return server.ask("/images", {"conditions": [{"condition": one}], "limit": 100, "filters": filters})

    asked: dict[str, Callable[[], bytes]] = {
        "what there is (`/api/NAME`)": lambda: server.ask(""),
        "`/state`": lambda: server.ask("/state"),
        "browse, first page": view(one),
        "browse, middle page, three conditions": view(offset=images // 2),
        "browse, last page": view(one, offset=max(0, images - 100)),
        "browse, files filtered": filtered,
        "near an image, one condition": view(one, near=True),
        "near an image, three conditions": view(near=True),
        "the same, weights moved": weighted,
        "three conditions, red ones": view(near=True, filters=red),
        "one condition, k = 10,000": view(one, near=True, k=10_000),
        "three conditions, k = 100,000": view(near=True, k=100_000),
        "`/facets` of three": lambda: server.ask("/facets", {"conditions": CONDITIONS}),
        "`/facets` of three, one word chosen": lambda: server.ask(
            "/facets",
            {
                "conditions": CONDITIONS,
                "filters": {"facets": [{"condition": one, "words": [words[next(taken) % len(words)]]}]},
            },
        ),
        "`/thumbnail`": lambda: server.ask("/thumbnail", image=image_id()),
        "`/image` and five rows of neighbours": neighbours,
        "`/map`, stored": lambda: server.ask("/map", {"condition": one}),
    }
    return {name: milliseconds(run, rounds) for name, run in asked.items()}


def milliseconds(run: Callable[[], object], rounds: int) -> str:
    taken = []
    for _ in range(rounds + 1):
        started = time.perf_counter()
        run()
        taken.append(1e3 * (time.perf_counter() - started))
    first, *others = taken
    p50, p95 = np.percentile(others, [50, 95])
    return f"{first:.0f}, {p50:.0f}, {p95:.0f}"


def show(title: str, columns: dict[str, Rows], unit: str) -> None:
    names = dict.fromkeys(name for column in columns.values() for name in column)
    rows = [[name, *(column.get(name, "") for column in columns.values())] for name in names]
    print(f"\n{title} ({unit}):\n\n{measuring.table(['', *columns], rows)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[1000, 20_000, 100_000])
    parser.add_argument("--dimensions", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=8, help="answers of each kind after the first")
    parser.add_argument("--chromium", default=shutil.which("chromium") or "chromium")
    parser.add_argument("--directory", type=Path, help="where databases are kept for the next run; default: nowhere")
    parser.add_argument("--only", choices=["browser", "server"], help="half of it")
    options = parser.parse_args()
    waits: dict[str, Rows] = {}
    frames: dict[str, Rows] = {}
    memory: dict[str, Rows] = {}
    latencies: dict[str, Rows] = {}
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        for images in options.images:
            size = f"{images:,} images"
            db = (options.directory or Path(folder)) / f"random{images}x{options.dimensions}"
            if not db.exists():
                clustered_collections.make(db, images, options.dimensions)
            with serving(db) as server:
                held = server.peak()
                if options.only != "server":
                    chromium = playwright.chromium.launch(
                        executable_path=options.chromium, args=list(explorer_in_browser.FLAGS)
                    )
                    found = explorer_in_browser.measure(chromium, server.address, server.name, images)
                    waits[size], frames[size], memory[size] = found
                    chromium.close()
                if options.only != "browser":
                    latencies[size] = answers(server, images, options.rounds)
                    memory.setdefault(size, {})["the server's process, just started"] = f"{held:.0f}"
                    memory[size]["the same, peak at the end"] = f"{server.peak():.0f}"
            print(size, "measured", waits.get(size), frames.get(size), latencies.get(size), file=sys.stderr, flush=True)
    print(f"{measuring.machine()}; vectors of {options.dimensions} dimensions under {len(CONDITIONS)} conditions")
    show("What a user waits for", waits, "ms")
    show("Frames while something moves", frames, "ms, p50 / p95; share of 60 a second that were missed")
    show("Memory", memory, "MiB, but for the number of nodes")
    show("Answers of the server", latencies, "ms: the first, p50, p95 of the others")


if __name__ == "__main__":
    main()
