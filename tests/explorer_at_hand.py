"""The page of `cie explore` over databases, served on loopback by a real server in a thread of this process."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from browser import open_page
from playwright.sync_api import expect

from conditional_image_embeddings.server.explorer.application import application
from conditional_image_embeddings.server.running import address_of, listen, server_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

# A request that the page gave up for a newer one; what drivers say of a machine without a graphics card.
OF_BROWSER = ("net::ERR_ABORTED", "GPU stall", "GL Driver", "Automatic fallback to software WebGL")


@contextmanager
def exploring(*databases: str | Path, **how: Any) -> Iterator[str]:
    """The address of the page."""
    app = application(databases, **how)
    with listen("127.0.0.1", None, 0) as listening:
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
        assert errors == []
        foreign = [each for each in log.requests if not each.startswith((address, f"blob:{address}"))]
        assert foreign == []


def shown(page: "Page", number: int | None = None) -> list[str]:
    """The ids of the first images of the grid, once it is drawn: so many of them, or all on the screen."""
    page.locator("#scroller:not([aria-busy]) .tile[data-id]").first.wait_for()
    expect(page.locator(".tile:not([data-id])")).to_have_count(0)
    ids: list[str] = page.locator(".tile").evaluate_all(
        "all => all.sort((a, b) => a.dataset.index - b.dataset.index).map(each => each.dataset.id)"
    )
    return ids[:number]


def part_of_address(page: "Page") -> dict[str, list[str]]:
    """What the address says after "#", by key."""
    return parse_qs(urlsplit(page.url).fragment, keep_blank_values=True)


def failed(status: int) -> str:
    """What Chromium's console says of an answer of this status."""
    return f"Failed to load resource: the server responded with a status of {status}"


def named(count: int, one: str) -> str:
    """As the page counts: "1 image", "2 images"."""
    return f"{count:,} {one}{'' if count == 1 else 's'}"
