"""Pages opened in headless Chromium, by day or by night, on a desk or a phone: what they ask for and what fails.

Test files use the fixture `browser`, which conftest.py makes known, and `open_page`.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-sync")
PHONE = 390
DESK = 1280


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """Of a module, not of the session: while it is open, its thread has an event loop that others' tests would meet."""
    chromium = shutil.which("chromium")
    if not chromium:
        if os.environ.get("CI"):
            pytest.fail("chromium is not installed; .ci/run installs it")
        pytest.skip("needs chromium: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        yield opened
        opened.close()


@dataclass
class Log:
    """What happened on a page: addresses asked for, without those that hold their data, and everything that failed."""

    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


@contextmanager
def open_page(
    browser: "Browser",
    url: str,
    *,
    scheme: Literal["light", "dark"] = "light",
    width: int = DESK,
    height: int = 900,
    reduced_motion: bool = False,
    **context: Any,
) -> "Iterator[tuple[Page, Log]]":
    """A page in a context of its own, loaded.

    Args:
        browser: The fixture.
        url: What to open.
        scheme: By day or by night.
        width: CSS pixels; below 500 it is a phone, with touch.
        height: CSS pixels.
        reduced_motion: As the visitor wishes it.
        context: More for Playwright's `new_context`.
    """
    phone = width < 500
    opened = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, is_mobile=phone, has_touch=phone,
        reduced_motion="reduce" if reduced_motion else "no-preference", **context,
    )  # fmt: skip
    try:
        page, log = opened.new_page(), Log()
        page.set_default_timeout(20_000)
        page.on(
            "request", lambda request: None if request.url.startswith("data:") else log.requests.append(request.url)
        )
        page.on("requestfailed", lambda request: log.errors.append(f"{request.url[:200]}: {request.failure}"))
        page.on("pageerror", lambda error: log.errors.append(str(error)))
        page.on("console", lambda said: log.errors.append(said.text) if said.type in ("error", "warning") else None)
        page.goto(url)
        yield page, log
    finally:
        opened.close()


def serious_violations(page: "Page") -> list[str]:
    """What axe finds on the page as it is now, of impact serious or critical: the rule, and the first places."""
    from axe_playwright_python.sync_playwright import Axe

    # What was just set (a size, day or night) reaches all that is drawn with the next frame, not at once.
    page.evaluate("() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))")
    return [
        f"{each['id']}: {each['help']}: " + "; ".join(node["html"][:160] for node in each["nodes"][:3])
        for each in Axe().run(page).response["violations"]
        if each["impact"] in ("serious", "critical")
    ]
