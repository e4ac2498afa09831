"""Groups, duplicates, the map and the comparison of two: what they show in a browser, and where a click leads."""

import io
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from explorer_at_hand import COLORS, exploring, named, open_explorer, part_of_address, photographs, printed, shown
from PIL import Image, ImageColor
from playwright.sync_api import expect

import conditional_image_embeddings
from conditional_image_embeddings.collection.storage.store import Store

pytestmark = pytest.mark.usefixtures("checked_once")

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

NAMES = [f"{number:03}.png" for number in range(120)]
MAP = "#view=map&c=color~1"


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("views") / "db"
    photographs(Store(path), NAMES, "color", "kind")
    return path


@pytest.fixture(scope="module")
def address(db: Path) -> Iterator[str]:
    with exploring(db) as found:
        yield found


@pytest.fixture
def view() -> str:
    return ""


@pytest.fixture
def page(browser: "Browser", address: str, view: str) -> "Iterator[Page]":
    with open_explorer(browser, address, view) as opened:
        yield opened


@pytest.mark.parametrize("view", ["#view=groups&c=kind~1"])
def test_groups_are_those_of_the_command(page: "Page", db: Path) -> None:
    for options in ([], ["-n", 3]):
        if options:
            page.get_by_label("How many groups").fill("3")
            page.keyboard.press("Enter")
            expect(page.get_by_label("How many groups")).to_be_focused()
        groups = printed("cluster", db, "-c", "kind", *options)
        covers = page.locator("#groups .cover")
        expect(covers).to_have_count(len(groups))
        assert covers.locator("b").all_inner_texts() == [group["name"] for group in groups]
        sizes = covers.locator(".label > small:first-of-type > span:first-child").all_inner_texts()
        assert sizes == [str(group["size"]) for group in groups]
    _, *arguments = shlex.split(command_of(page, "#groups"))
    assert printed(*arguments) == groups
    page.keyboard.press("Escape")
    covers.nth(1).click()
    expect(page.locator("#images")).to_be_visible()
    assert shown(page) == groups[1]["images"][: len(shown(page))]
    expect(page.locator("#status")).to_have_text(named(groups[1]["size"], "image"))
    page.go_back()
    expect(covers).to_have_count(3)


def command_of(page: "Page", place: str) -> str:
    """What the page says a view is on the command line."""
    page.locator(f"{place} .as-command").click()
    page.locator("#command code").wait_for()
    return page.locator("#command code").inner_text()


@pytest.mark.parametrize("view", ["#view=groups&c=kind~1"])
def test_groups_of_another_aspect(page: "Page") -> None:
    aspect = page.locator("#groups select")
    aspect.select_option("color")
    expect(page.locator("#groups .cover b")).to_have_text(list(COLORS), ignore_case=True)
    expect(aspect).to_have_value("color")
    assert part_of_address(page)["by"] == ["color"]


@pytest.mark.parametrize("view", ["#view=duplicates&c=color~1&threshold=0.99"])
def test_duplicates_are_those_of_the_command(page: "Page", db: Path) -> None:
    rows = printed("duplicates", db, "-c", "color", "--threshold", 0.99)
    groups = page.locator("#duplicates .alike")
    expect(groups).to_have_count(rows[-1]["group"])
    listed = page.locator("#duplicates .neighbour").evaluate_all("all => all.map(each => each.title)")
    assert listed == [row["image_id"] for row in rows]
    _, *arguments = shlex.split(command_of(page, "#duplicates"))
    assert printed(*arguments) == rows
    page.keyboard.press("Escape")
    page.locator("#duplicates select").select_option(index=2)
    expect(groups).not_to_have_count(rows[-1]["group"])
    first = page.locator("#duplicates .neighbour").first
    first.click()
    expect(page.locator("#panel h2")).to_have_text(str(first.get_attribute("title")))
    page.keyboard.press("Escape")
    expect(first).to_be_focused()


# The map.


def plane(page: "Page") -> "Locator":
    expect(page.locator("#map > .note")).to_contain_text("120 images by PCA")
    return page.locator("#map .plane")


def colors(page: "Page") -> set[str]:
    """Which of the words' colors a part of the map is painted in."""
    image = np.asarray(Image.open(io.BytesIO(plane(page).screenshot())).convert("RGB"), int)
    return {name for name in COLORS if (np.abs(image - ImageColor.getrgb(name)).max(-1) < 24).sum() > 50}


def place_of(page: "Page", db: Path, image_id: str, condition: str = "color") -> tuple[float, float]:
    """Where a point is on the plane, in pixels, while all of the map is shown."""
    with conditional_image_embeddings.open(db) as collection:
        found = collection.map(condition)
    x, y = found.places[found.image_ids.index(image_id)]
    box = plane(page).bounding_box()
    assert box
    unit = min(box["width"] - 2, box["height"] - 2) / 2 * 0.94
    return float(box["width"] / 2 + x * unit), float(box["height"] / 2 - y * unit)


@pytest.mark.parametrize("view", [MAP])
def test_points_are_drawn_in_the_colors_of_their_words(page: "Page") -> None:
    """Without a graphics card, as here, and on what stands for one."""
    plane(page)
    assert colors(page) == set(COLORS)
    by_pixels = plane(page).screenshot()
    page.add_init_script("WebGL2RenderingContext.prototype.getExtension = () => null")  # it does not say what it is
    page.reload()
    assert colors(page) == set(COLORS)
    assert plane(page).screenshot() != by_pixels
    legend = page.locator("#map .legend")
    assert [re.sub(r"\s+", " ", text) for text in legend.get_by_role("button").all_inner_texts()] == [
        f"{word} 40" for word in sorted(COLORS)
    ]
    legend.get_by_role("button", name="red").click()
    expect(legend.get_by_role("button", name="red")).to_have_attribute("aria-pressed", "true")
    expect(legend.get_by_role("button", name="red")).to_be_focused()
    assert colors(page) == {"red"}


@pytest.mark.parametrize("view", [MAP])
def test_a_point_tells_of_its_image_and_opens_it(page: "Page", db: Path) -> None:
    x, y = place_of(page, db, "007.png")
    plane(page).hover(position={"x": x, "y": y})
    tip = page.locator("#map .tip")
    expect(tip).to_be_visible()
    image_id = tip.locator("small").inner_text()
    expect(tip.locator("b")).to_have_text(COLORS[NAMES.index(image_id) % 3])
    plane(page).click(position={"x": x, "y": y})
    expect(page.locator("#panel h2")).to_have_text(image_id)
    page.get_by_label("Near to words").hover()
    expect(tip).to_be_hidden()


@pytest.mark.parametrize("view", [MAP])
def test_keys_alone_find_a_point_and_open_it(page: "Page", db: Path) -> None:
    """The nearest to the middle of what is shown."""
    plane(page)
    page.locator("#map .tools button").last.focus()
    page.keyboard.press("Tab")
    expect(page.locator("#map .plane")).to_be_focused()
    box = plane(page).bounding_box()
    assert box
    unit = min(box["width"] - 2, box["height"] - 2) / 2 * 0.94
    with conditional_image_embeddings.open(db) as collection:
        found = collection.map("color")
    middle = np.zeros(2)
    for key, move in (("0", (0, 0)), ("ArrowRight", (60, 0)), ("ArrowUp", (0, 60)), ("ArrowUp", (0, 60))):
        page.keyboard.press(key)
        middle += np.array(move) / unit
    (nearest,) = np.linalg.norm(found.places - middle, axis=1).argsort()[:1]
    expect(page.locator("#map .tip")).to_contain_text(found.image_ids[nearest])
    page.keyboard.press("Enter")
    expect(page.locator("#panel h2")).to_have_text(found.image_ids[nearest])


@pytest.mark.parametrize("view", [MAP])
def test_the_wheel_brings_pictures_near(page: "Page", db: Path) -> None:
    x, y = place_of(page, db, "007.png")
    plane(page).hover(position={"x": x, "y": y})
    expect(page.locator("#map .face")).to_have_count(0)
    for _ in range(6):
        page.mouse.wheel(0, -500)
    expect(page.locator("#map .face").first).to_be_visible()
    assert page.locator("#map .face").count() <= 48
    page.get_by_role("button", name="Show all of it").click()
    expect(page.locator("#map .face")).to_have_count(0)
    plane(page).focus()
    for _ in range(12):
        page.keyboard.press("+")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("0")
    expect(page.locator("#map .face")).to_have_count(0)


@pytest.mark.parametrize("view", [MAP])
@pytest.mark.parametrize("how", ["button", "shift"])
def test_a_lasso_takes_to_the_grid(page: "Page", db: Path, how: str) -> None:
    x, y = place_of(page, db, "007.png")
    box = plane(page).bounding_box()
    assert box
    if how == "button":
        page.get_by_role("button", name="Lasso").click()
    else:
        page.keyboard.down("Shift")
    corners = [(x - 60, y - 60), (x + 60, y - 60), (x + 60, y + 60), (x - 60, y + 60)]
    page.mouse.move(box["x"] + corners[0][0], box["y"] + corners[0][1])
    page.mouse.down()
    for left, top in corners[1:]:
        page.mouse.move(box["x"] + left, box["y"] + top, steps=4)
    page.mouse.up()
    page.keyboard.up("Shift")
    expect(page.locator("#images")).to_be_visible()
    condition, *flat = part_of_address(page)["lasso"][0].split("~")
    polygon = [(float(flat[at]), float(flat[at + 1])) for at in range(0, len(flat), 2)]
    with conditional_image_embeddings.open(db) as collection:
        inside = collection.map(condition).inside(polygon)
    assert "007.png" in inside
    expect(page.locator("#status")).to_have_text(named(len(inside), "image"))
    assert shown(page) == sorted(inside)[: len(shown(page))]
    page.get_by_role("button", name="Remove the filter lasso").click()
    expect(page.locator("#status")).to_have_text("120 images")


def frames(page: "Page", condition: str) -> int:
    """How often the map is drawn anew when the aspect changes, until it rests at its new places."""
    plane(page)
    page.evaluate(
        """() => {
            window.draws = 0;
            const counted = (kind, name) => {
                const draw = kind.prototype[name];
                kind.prototype[name] = function (...given) {
                    window.draws += 1;
                    return draw.apply(this, given);
                };
            };
            counted(WebGL2RenderingContext, "drawArrays");
            counted(CanvasRenderingContext2D, "putImageData");
        }"""
    )
    before = plane(page).screenshot()
    page.locator("#map select").select_option(condition)
    expect(page.locator("#map > .note")).to_contain_text(f"under {condition}")
    rests = -1
    while rests != (rests := page.evaluate("() => new Promise(done => setTimeout(() => done(window.draws), 300))")):
        pass
    assert plane(page).screenshot() != before
    return rests


def test_points_walk_unless_the_visitor_wants_no_motion(browser: "Browser", address: str) -> None:
    with open_explorer(browser, address, MAP, reduced_motion=True) as page:
        assert 1 <= frames(page, "kind") <= 3
        assert part_of_address(page)["by"] == ["kind"]
    with open_explorer(browser, address, MAP) as page:
        assert frames(page, "kind") > 5
        assert part_of_address(page)["by"] == ["kind"]


@pytest.mark.parametrize("view", [f"{MAP}&is=color~red"])
def test_what_does_not_pass_the_filters_is_faint_on_the_map(page: "Page") -> None:
    plane(page)
    for _ in range(50):  # it is drawn with the next frame
        if colors(page) == {"red"}:
            break
        page.wait_for_timeout(100)
    assert colors(page) == {"red"}


# Two images.


def test_two_images_are_compared(page: "Page", db: Path) -> None:
    some, tiles = shown(page), page.locator(".tile")
    tiles.nth(0).locator(".tick").click()
    expect(page.locator("#chosen")).to_contain_text("choose one more to compare")
    tiles.nth(4).locator(".tick").click()
    page.get_by_role("button", name="Compare").click()
    dialog = page.locator("#comparison")
    rows = printed("compare", db, some[0], some[4])
    expect(dialog.locator("tbody tr")).to_have_count(len(rows))
    for row, line in zip(rows, dialog.locator("tbody tr").all(), strict=True):
        expect(line.get_by_role("rowheader")).to_have_text(row["condition"])
        cells = line.get_by_role("cell").all_inner_texts()
        assert cells[2:] == [
            ", ".join(f"{each['word']} {each['probability']:.2f}" for each in words) for words in row["words"]
        ]
        assert cells[1].rstrip("%") == f"{100 * row['percentile']:.{1 if 0.99 < row['percentile'] < 1 else 0}f}"
    _, *arguments = shlex.split(command_of(page, "#comparison"))
    assert printed(*arguments) == rows
    page.keyboard.press("Escape")
    expect(page.locator("#command")).to_be_hidden()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    page.wait_for_url(lambda url: "pair=" not in url)
    page.go_back()
    expect(dialog).to_be_visible()
    page.go_back()
    expect(dialog).to_be_hidden()


@pytest.mark.parametrize(
    "view",
    [MAP, f"{MAP}&by=kind", "#view=groups&c=color~1&n=4", "#c=color~1&lasso=color~-1~-1~0~-1~0~1~-1~1",
     "#c=color~1&group=kind~2~1", "#view=duplicates&c=color~1&c=kind~1&threshold=0.99"],
)  # fmt: skip
def test_a_link_shows_the_same_elsewhere(browser: "Browser", address: str, view: str) -> None:
    seen, link = [], view
    for _ in range(2):
        with open_explorer(browser, address, link) as page:
            page.wait_for_url("**space=**")
            page.wait_for_load_state("networkidle")
            expect(page.locator(".spinner, [aria-busy]")).to_have_count(0)
            seen.append((page.url, page.locator("body").inner_text()))
            link = page.url.removeprefix(address)
    assert seen[0] == seen[1]
    assert all(f"{key}=" in link for key in re.findall(r"[#&](\w+)=", view))
