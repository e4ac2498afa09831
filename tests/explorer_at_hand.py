"""The page of `cie explore` over databases, served on loopback by a real server in a thread of this process."""

import io
import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from browser import open_page
from collections_at_hand import setting
from commands import cie
from PIL import Image
from playwright.sync_api import expect

from conditional_image_embeddings.collection import projection
from conditional_image_embeddings.collection.storage.store import Store
from conditional_image_embeddings.collection.storage.tables import ImageRecord
from conditional_image_embeddings.inputs.encoded import FileStat
from conditional_image_embeddings.server.explorer.application import application
from conditional_image_embeddings.server.running import address_of, listen, server_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

expect.set_options(timeout=20_000)  # milliseconds; as long as `open_page` gives everything else

# A request that the page gave up for a newer one; what drivers say of a machine without a graphics card.
OF_BROWSER = ("net::ERR_ABORTED", "GPU stall", "GL Driver", "Automatic fallback to software WebGL")
COLORS, KINDS = ("red", "green", "blue"), ("cat", "dog")


def photographs(store: Store, image_ids: Sequence[str], *conditions: str | None, folder: Path | None = None) -> Store:
    """Images that no model saw: a square of a color each, words and vectors by color under "color", else by kind.

    Args:
        store: Where to.
        image_ids: The images, of the colors and kinds by turns; each is added to those that are there.
        conditions: Of the space.
        folder: Where their files are written; None: there are none.
    """
    source = str(folder or "/photos")
    records = []
    for number, image_id in enumerate(image_ids):
        picture = io.BytesIO()
        Image.new("RGB", (32, 32), COLORS[number % 3]).save(picture, "WEBP")
        if folder:
            (folder / image_id).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (320, 240), COLORS[number % 3]).save(folder / image_id, "PNG")
        records.append(
            ImageRecord(image_id=image_id, width=10 + number, height=10, content_hash=f"{number:064d}",
                        place=FileStat(f"{source}/{image_id}", 1, 1), thumbnail=picture.getvalue())
        )  # fmt: skip
    store.add_images("photos", source, records)
    for condition in conditions:
        words = COLORS if condition == "color" else KINDS
        at = np.arange(len(image_ids)) % len(words)
        noise = np.random.default_rng(len(condition or "")).normal(scale=0.2, size=(len(image_ids), 8))
        told = [[(words[each], 0.9), ("other", 0.05)] for each in at]
        vectors = (np.eye(8)[at] + noise).astype(np.float32)
        store.add_vectors(setting(condition, source=source), image_ids, vectors, words=told)
    return store


@contextmanager
def exploring(*databases: str | Path, umap: bool = False, **how: Any) -> Iterator[str]:
    """The address of the page; without `umap` its maps are principal components, which take no time."""
    app = application(databases, **how)
    with pytest.MonkeyPatch.context() as patched, listen("127.0.0.1", None, 0) as listening:
        if not umap:
            patched.setattr(projection, "find_spec", lambda _: None)
        server = server_of(app)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        try:
            yield address_of(listening)
        finally:
            server.should_exit = True
            thread.join(30)


@contextmanager
def open_explorer(
    browser: "Browser", address: str, view: str = "", *, expected: Sequence[str] = (), **how: Any
) -> "Iterator[Page]":
    """The page, drawn; at the end nothing has failed, no policy was broken and nobody but its own server was asked.

    Args:
        browser: The fixture.
        address: As `exploring` gives it.
        view: The part of the address that begins with "#".
        expected: What may be in the errors that the browser reports.
        how: As for `open_page`.
    """
    how = {"width": 1360, **how}
    with open_page(browser, address + view, **how) as (page, log):
        page.on("dialog", lambda dialog: log.errors.append(f"a dialog opened: {dialog.message}"))
        yield page
        errors = [each for each in log.errors if not any(part in each for part in (*OF_BROWSER, *expected))]
        assert errors == [], errors
        foreign = [each for each in log.requests if not each.startswith((address, f"blob:{address}"))]
        assert foreign == [], foreign


def shown(page: "Page", number: int | None = None) -> list[str]:
    """The ids of the first images of the grid, once it is drawn: so many of them, or all on the screen."""
    page.locator("#scroller:not([aria-busy]) .tile[data-id]").first.wait_for()
    expect(page.locator(".tile:not([data-id])")).to_have_count(0)
    ids: list[str] = page.locator(".tile").evaluate_all(
        "all => all.sort((a, b) => a.dataset.index - b.dataset.index).map(each => each.dataset.id)"
    )
    return ids[:number]


def printed(command: str, *arguments: object) -> list[dict[str, Any]]:
    """What a command prints with --json."""
    finished = cie(command, "--json", *arguments)
    assert finished.returncode == 0, finished.stderr
    rows: list[dict[str, Any]] = json.loads(finished.stdout)
    return rows


def part_of_address(page: "Page") -> dict[str, list[str]]:
    """What the address says after "#", by key."""
    return parse_qs(urlsplit(page.url).fragment, keep_blank_values=True)


def failed(status: int) -> str:
    """What Chromium's console says of an answer of this status."""
    return f"Failed to load resource: the server responded with a status of {status}"


def named(count: int, one: str) -> str:
    """As the page counts: "1 image", "2 images"."""
    return f"{count:,} {one}{'' if count == 1 else 's'}"
