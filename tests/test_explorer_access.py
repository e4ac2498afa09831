"""The page for everybody: by keyboard alone, by day and by night, on a desk and on a phone, with what axe asks for."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from browser import serious_violations
from explorer_at_hand import exploring, open_explorer, part_of_address, photographs, shown
from playwright.sync_api import expect

from conditional_image_embeddings.collection.storage.store import Store

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

LONG = "the colour of the largest thing that can be seen in the photograph, whatever else there is"
NAMES = [f"{'a-very-long-name-without-any-place-to-break-it-' * 3}{number:02}.png" for number in range(30)]
VIEWS = {
    "images": "", "search": f"#c=color~1&c=kind~-0.5&image_id={NAMES[1]}&is=color~red~green&where=width > 5",
    "panel": f"#c=color~1&c=kind~1&open={NAMES[3]}&pick={NAMES[3]}", "groups": "#view=groups",
    "duplicates": "#view=duplicates&threshold=0.99", "map": "#view=map", "comparison": f"#pair={NAMES[0]}~{NAMES[4]}",
    "export": f"#pick={NAMES[0]}", "command": "#c=kind~1",
}  # fmt: skip
DONE = {
    "groups": "#groups .cover", "duplicates": "#duplicates .alike, #duplicates .result .note",
    "map": "#map .legend button",
        "comparison": "#comparison tbody tr", "panel": "#panel .neighbour"}  # fmt: skip


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    path = tmp_path_factory.mktemp("access") / "db"
    photographs(Store(path), NAMES, "color", "kind", None, LONG)
    with exploring(path) as found:
        yield found


def drawn(page: "Page", view: str) -> None:
    """Wait until a view is there; open the dialog that is meant."""
    page.locator(DONE.get(view, ".tile[data-id]")).first.wait_for()
    page.wait_for_load_state("networkidle")
    if view == "export":
        page.locator("#chosen").get_by_role("button", name="Export").click()
    if view == "command":
        page.locator("#images .as-command").evaluate("button => button.click()")  # a phone has none
        page.locator("#command code").wait_for()


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_is_for_everybody(browser: "Browser", address: str, view: str) -> None:
    """For axe, by day and by night; for thumbs; 320 pixels are 1,280 at 400 %, 680 are 1,360 at 200 %."""
    with open_explorer(browser, address, VIEWS[view], scheme="dark", width=320, reduced_motion=True) as page:
        drawn(page, view)
        fits(page, 320)
        if view == "search":
            page.locator("#side > summary").click()
        assert too_small(page) == []
        assert serious_violations(page) == []
        for width in (680, 1360):
            page.set_viewport_size({"width": width, "height": 800})
            fits(page, width)
        assert serious_violations(page) == []
        page.emulate_media(color_scheme="light", reduced_motion="reduce")
        assert serious_violations(page) == []


def fits(page: "Page", width: int) -> None:
    """Whether nothing is scrolled sideways but what is meant to be."""
    expect_width = "width => document.documentElement.scrollWidth <= width && innerWidth === width"
    assert page.evaluate(expect_width, width)
    for name in ("#top", "#main", "#groups", "#duplicates", "#panel", "#side", "dialog[open]"):
        place = page.locator(name)
        if place.count() and place.is_visible():
            box = place.bounding_box()
            assert box, name
            assert box["x"] >= 0, name
            assert box["x"] + box["width"] <= width + 1, name
            assert place.evaluate("each => each.scrollWidth <= each.clientWidth + 1"), name


def too_small(page: "Page") -> list[str]:
    """What is too small for a thumb."""
    found: list[str] = page.locator("a:not(.skip):visible, button:visible, select:visible, input:visible").evaluate_all(
        """all => all.filter(each => !["radio", "checkbox", "range"].includes(each.type))
            .map(each => [each.ariaLabel ?? each.textContent, each.getBoundingClientRect()])
            .filter(([_, box]) => box.width && (box.height < 32 || box.width < 32))
            .map(([name, box]) => `${name}: ${Math.round(box.width)} x ${Math.round(box.height)}`)"""
    )
    return found


def focused(page: "Page") -> str:
    """What has the focus, as a screen reader names it."""
    return str(
        page.evaluate(
            """() => {
                const each = document.activeElement;
                const said = each.ariaLabel ?? each.labels?.[0]?.textContent ?? each.textContent.slice(0, 60);
                return said.trim();
            }"""
        )
    )


def test_tab_goes_through_all_of_it_in_the_order_of_reading(browser: "Browser", address: str) -> None:
    with open_explorer(browser, address, f"#c=color~1&c=kind~1&pick={NAMES[3]}") as page:
        drawn(page, "images")
        names = []
        for _ in range(90):
            page.keyboard.press("Tab")
            if page.evaluate("() => document.activeElement === document.body"):
                break
            names.append(focused(page))
            assert names[-1]
            assert page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle !== 'none'"), names[-1]
        expected = [
            "Skip to the images", "Images", "Groups", "Duplicates", "Map", "Near to words", "Search", "Own picture",
            "Move color: arrow keys", "Weight of color", "Remove color", "Move kind: arrow keys",
            "Weight of kind", "Remove kind",
            f"Add {LONG}", "Add no condition", "Words of the images", "red10", "Without red", "Files that fit",
            "Size of the pictures", "Export", "As command",
        ]  # fmt: skip
        at = [names.index(name) for name in expected]
        assert at == sorted(at)
        assert names[at[-1] + 1].startswith(NAMES[0])  # the grid is one stop
        assert names[at[-1] + 2 :][-2:] == ["Export", "Clear"]


def test_everything_is_done_by_keyboard(browser: "Browser", address: str) -> None:
    with open_explorer(browser, address) as page:
        some, press = shown(page), page.keyboard.press
        page.keyboard.press("Tab")
        press("Enter")  # skips to the images
        press("Tab")
        while not focused(page).startswith(NAMES[0]):
            press("Tab")
        columns = page.locator(".tile").evaluate_all(
            "all => new Set(all.map(each => each.getBoundingClientRect().x)).size"
        )
        for key, index in (
            ("ArrowRight", 1), ("ArrowDown", 1 + columns), ("ArrowLeft", columns), ("ArrowUp", 0), ("ArrowUp", 0),
            ("End", 29), ("Home", 0), ("ArrowRight", 1),
        ):  # fmt: skip
            press(key)
            expect(page.locator(f".tile[data-index='{index}']")).to_be_focused()
        press("Enter")
        expect(page.locator("#panel h2")).to_be_focused()
        press("Tab")
        assert focused(page) == "Close"
        press("Enter")
        expect(page.locator("#panel")).to_be_hidden()
        expect(page.locator(".tile[data-index='1']")).to_be_focused()
        press("Enter")
        expect(page.locator("#panel h2")).to_be_focused()
        press("Tab")
        press("Tab")
        press("Tab")
        press("Tab")
        assert focused(page) == "Choose"
        press("Space")
        assert focused(page) == "Chosen"  # and the panel was not drawn anew
        press("Escape")
        expect(page.locator(".tile[data-index='1']")).to_be_focused()
        press("Shift+ArrowRight")
        assert part_of_address(page)["pick"] == [some[1], some[2]]
        page.get_by_role("link", name="Map").focus()
        press("Enter")
        expect(page.get_by_role("link", name="Map")).to_be_focused()
        plane = page.locator("#map .plane")
        expect(page.locator("#map .legend button").first).to_be_visible()
        plane.focus()
        before = plane.screenshot()
        press("+")
        press("ArrowLeft")
        expect(plane).to_be_focused()
        press("0")
        page.locator("#map select").focus()
        press("ArrowDown")
        expect(page.locator("#map > .note")).to_contain_text("under kind")
        expect(page.locator("#map select")).to_be_focused()
        assert before


def test_words_and_fields_keep_the_focus_where_they_are_used(browser: "Browser", address: str) -> None:
    with open_explorer(browser, address, f"#c=color~1&image_id={NAMES[1]}&image_id={NAMES[2]}") as page:
        shown(page)
        for _ in range(2):
            page.get_by_role("button", name=f"Away from {NAMES[1]}").focus()
            page.keyboard.press("Enter")
            expect(page.get_by_role("button", name=f"Away from {NAMES[1]}")).to_be_focused()
        page.get_by_role("button", name=f"Remove {NAMES[1]}").focus()
        page.keyboard.press("Enter")
        expect(page.locator("#query .token")).to_have_count(1)
        expect(page.locator("#query :focus")).to_have_count(1)  # the next one, not the start of the page
        page.get_by_label("Files that fit").fill("width > 12")
        page.keyboard.press("Enter")
        expect(page.locator("#filters .token")).to_have_count(1)
        expect(page.get_by_label("Files that fit")).to_be_focused()
        without = page.get_by_role("region", name="kind", exact=True).get_by_label("Without dog")
        without.focus()
        page.keyboard.press("Enter")
        expect(page.locator("#filters .token")).to_have_count(2)
        expect(without).to_be_focused()


def test_nothing_moves_for_who_wants_no_motion(browser: "Browser", address: str) -> None:
    with open_explorer(browser, address, reduced_motion=True) as page:
        shown(page)
        lasting = page.evaluate(
            """() => [...document.querySelectorAll("*")].filter(each => {
                const { animationDuration, transitionDuration } = getComputedStyle(each);
                const times = `${animationDuration},${transitionDuration}`.split(",");
                return times.some(time => parseFloat(time) > 0.001);
            }).length"""
        )
        assert lasting == 0
