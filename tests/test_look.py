"""The look that pages share: contrast by day and by night, and the parts that only the explorer uses."""

import itertools
import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest
from browser import open_page, serious_violations

from conditional_image_embeddings.reports.pages import LOOK

if TYPE_CHECKING:
    from playwright.sync_api import Browser

GROUNDS = ("page", "card", "wash")
TEXT = [
    *itertools.product(("ink", "soft", "accent", "danger"), GROUNDS),
    ("accent-ink", "accent"), ("ink", "accent-wash"), ("ink", "danger-wash"), ("same", "same-wash"),
]  # fmt: skip
SEEN = [
    *itertools.product(("control", "focus"), GROUNDS), ("heat", "card"), ("heat", "page"),
    *itertools.product((f"series-{kind}" for kind in range(1, 13)), ("page", "card")),
]  # fmt: skip
PARTS = """<!doctype html><html lang="en"><head><meta name="viewport" content="width=device-width">
<title>Parts</title><style>{style}</style></head><body><main>
<h1>Parts</h1><p>A <a href="#a">link</a> and <code>code</code>. <span class="note">A note.</span></p>
<p><button class="chip">car color</button> <button class="chip" aria-pressed="true">car model</button>
<button class="chip away">away from viewpoint</button></p>
<p><button class="button">Plain</button> <button class="button primary">Primary</button>
<button class="button" aria-pressed="true">Pressed</button> <button class="button quiet">Quiet</button></p>
<label for="a">Words</label><input class="field" id="a" placeholder="a red car">
<p class="error" role="alert">No image has this id.</p>
<div class="popover">A popover with <span class="note">a note</span>.</div>
<ul class="words"><li style="--share: .9">red <small>0.90</small></li></ul>
<button class="card cover"><span class="mosaic one"><span class="picture blank" role="img" aria-label="a.png"></span>
</span><span class="label"><b>red</b><small><span>12</span><span>10 %</span></small>
<span class="bar"><i style="--length: .4"></i></span></span></button>
</main></body></html>"""


def tokens() -> dict[str, dict[str, str]]:
    """Color by name, by day and by night."""
    day, night = (LOOK / "tokens.css").read_text().split("@media (prefers-color-scheme: dark)")
    of_day, of_night = (dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6});", each)) for each in (day, night))
    assert of_day.keys() == of_night.keys()
    return {"light": of_day, "dark": of_night}


def contrast(one: str, other: str) -> float:
    """WCAG 2's ratio, 1 to 21."""

    def luminance(color: str) -> float:
        parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_is_read_and_what_is_operated_stands_out(scheme: str) -> None:
    colors = tokens()[scheme]
    for pairs, least in ((TEXT, 4.5), (SEEN, 3.0)):
        ratios = {pair: contrast(colors[pair[0]], colors[pair[1]]) for pair in pairs}
        assert {pair: ratio for pair, ratio in ratios.items() if ratio < least} == {}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_parts_are_accessible(browser: "Browser", tmp_path: Path, scheme: Literal["light", "dark"]) -> None:
    style = "".join((LOOK / name).read_text() for name in ("tokens.css", "parts.css"))
    (tmp_path / "parts.html").write_text(PARTS.format(style=style))
    with open_page(browser, (tmp_path / "parts.html").as_uri(), scheme=scheme, width=390) as (page, log):
        assert serious_violations(page) == []
        assert log.errors == []
        heights = page.locator("button").evaluate_all("all => all.map(each => each.offsetHeight)")
        assert min(heights) >= 44  # a thumb, where there is touch
        page.locator("button").first.focus()
        page.keyboard.press("Tab")
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
