"""The page of `cie explore` in a browser: what it shows is what the commands print, and the address says all of it."""

import csv
import io
import json
import re
import shlex
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from collections_at_hand import Cars
from explorer_at_hand import exploring, failed, named, open_explorer, part_of_address, printed, shown
from PIL import Image
from playwright.sync_api import expect

from conditional_image_embeddings.collection.collection import Collection

pytestmark = pytest.mark.usefixtures("checked_once")

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

COLOR, MODEL = "car color", "car model"
SEARCH = "#c=car color~1&c=car model~-0.5&image_id=cars/0003.png"


@pytest.fixture(scope="module")
def cars(tmp_path_factory: pytest.TempPathFactory) -> Cars:
    return Cars(tmp_path_factory.mktemp("cars"), 120, COLOR, MODEL)


@pytest.fixture(scope="module")
def address(cars: Cars) -> Iterator[str]:
    with exploring(cars.db, device="cpu") as found:
        yield found


@pytest.fixture
def own(cars: Cars, tmp_path: Path) -> Path:
    """A picture that is not in the collection."""
    path = tmp_path / "own.png"
    Image.open(cars.folder / "cars" / "0005.png").transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(path)
    return path


@pytest.fixture
def view() -> str:
    return ""


@pytest.fixture
def page(browser: "Browser", address: str, view: str) -> "Iterator[Page]":
    with open_explorer(browser, address, view) as opened:
        shown(opened)
        yield opened


def ids(rows: list[dict[str, Any]]) -> list[str]:
    return [row["image_id"] for row in rows]


def percent(share: float) -> str:
    return ">99.9%" if 0.9995 < share < 1 else f"{100 * share:.{1 if 0.99 < share < 1 else 0}f}%"


def weight_of(page: "Page", condition: str) -> "Locator":
    return page.get_by_label(f"Weight of {condition}")


def chips(page: "Page") -> list[str]:
    return page.locator("#aspects .active .called").all_inner_texts()


# What one sees first, and the aspects.


def test_every_image_is_there_with_its_picture(page: "Page", cars: Cars) -> None:
    expect(page.get_by_role("status").filter(has_text="120 images")).to_be_visible()
    assert page.title() == "db: explore"
    assert chips(page) == [COLOR]
    some = shown(page)
    assert some == sorted(some)
    assert set(some) <= cars.labels[COLOR].keys()
    page.locator(".tile img").evaluate_all("all => Promise.all(all.map(each => each.decode()))")  # none is broken


def test_aspects_are_added_weighted_and_removed(page: "Page") -> None:
    page.get_by_role("button", name=f"Add {MODEL}").click()
    assert chips(page) == [COLOR, MODEL]
    expect(weight_of(page, MODEL)).to_be_focused()
    weight_of(page, MODEL).fill("-0.5")
    assert part_of_address(page)["c"] == ["car color~1", "car model~-0.5"]
    page.keyboard.press("ArrowLeft")
    expect(weight_of(page, MODEL)).to_be_focused()  # drawn anew under the fingers
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#aspects .weight").last).to_have_text("-0.7")
    page.get_by_role("button", name=f"Remove {COLOR}").click()
    assert chips(page) == [MODEL]
    assert page.get_by_role("button", name=f"Remove {MODEL}").count() == 0  # one is left


def test_aspects_are_ordered_by_keyboard_and_by_dragging(page: "Page") -> None:
    page.get_by_role("button", name=f"Add {MODEL}").click()
    handle = page.get_by_role("button", name=f"Move {COLOR}: arrow keys", exact=True)
    handle.focus()
    page.keyboard.press("ArrowRight")
    assert chips(page) == [MODEL, COLOR]
    expect(handle).to_be_focused()
    page.keyboard.press("ArrowRight")  # it is the last
    assert chips(page) == [MODEL, COLOR]
    lines = page.locator(".tile").first.locator(".line")
    expect(lines.first).to_have_attribute("title", MODEL)
    handle.drag_to(page.locator("#aspects .active").first)
    assert chips(page) == [COLOR, MODEL]
    expect(lines.first).to_have_attribute("title", COLOR)


# One image, and what is near.


def test_neighbours_of_an_image_are_those_of_search(page: "Page", cars: Cars) -> None:
    page.get_by_role("button", name=f"Add {MODEL}").click()
    image_id = shown(page)[4]
    page.locator(".tile").nth(4).click()
    panel = page.locator("#panel")
    expect(panel.get_by_role("heading", level=2)).to_have_text(image_id)
    expect(panel.get_by_role("heading", level=2)).to_be_focused()
    for condition in (COLOR, MODEL):
        row = panel.locator(f"[data-condition='{condition}']")
        expect(row.locator(".neighbour")).to_have_count(12)
        hits = printed("search", cars.db, "--id", image_id, "-c", condition, "-k", 12)
        found = row.locator(".neighbour").evaluate_all(
            "all => all.map(each => [each.dataset.id, each.innerText.trim()])"
        )
        said = [
            [hit["image_id"], f"{hit['words'][condition][0]['word']}\n{percent(hit['percentiles'][condition])}"]
            for hit in hits
        ]
        assert [[name, re.sub(r"\s+", "\n", text)] for name, text in found] == said
    words = panel.locator(f"[data-condition='{COLOR}'] .words li").all_inner_texts()
    (told,) = printed("words", cars.db, "-c", COLOR, "--where", f"image_id = '{image_id}'")
    assert words == [f"{each['word']} {each['probability']:.2f}" for each in told["words"]]
    with page.expect_popup() as opened:
        panel.get_by_role("link", name="Original").click()
    opened.value.locator("img").evaluate("image => image.decode()")
    page.keyboard.press("Escape")
    expect(panel).to_be_hidden()
    expect(page.locator(".tile").nth(4)).to_be_focused()


def test_searching_with_an_image_adding_another_and_turning_away(page: "Page", cars: Cars) -> None:
    first, other = shown(page)[0], shown(page)[7]
    page.locator(".tile").first.click()
    page.get_by_role("button", name="Search with this").click()
    expect(page.locator("#panel")).to_be_hidden()
    expect(page.locator("#status")).to_have_text("119 images, the nearest first")
    assert shown(page, 20) == ids(printed("search", cars.db, "--id", first, "-c", COLOR, "-k", 20))
    page.locator(f".tile[data-id='{other}']").click()
    page.get_by_role("button", name="Add to search").click()
    expect(page.locator("#query .token")).to_have_count(2)
    both = ["search", cars.db, "--id", first, "-c", COLOR, "-k", 20]
    assert shown(page, 20) == ids(printed(*both, "--id", other))
    away = page.get_by_role("button", name=f"Away from {other}")
    away.click()
    expect(away).to_have_attribute("aria-pressed", "true")
    expect(away).to_be_focused()
    assert shown(page, 20) == ids(printed(*both, f"--id=-1:{other}"))
    page.get_by_role("button", name=f"Remove {first}").click()
    page.get_by_role("button", name="Clear search").click()
    expect(page.locator("#status")).to_have_text("120 images")
    assert "image_id" not in part_of_address(page)


@pytest.mark.parametrize("view", [SEARCH])
def test_weights_order_the_grid_as_they_order_a_search(page: "Page", cars: Cars) -> None:
    hits = printed("search", cars.db, "--id", "cars/0003.png", "-c", COLOR, "-c", f"{MODEL}:-0.5", "-k", 20)
    assert shown(page, 20) == ids(hits)
    first = page.locator(".tile").first
    assert first.locator(".share").all_inner_texts() == [
        percent(hits[0]["percentiles"][name]) for name in (COLOR, MODEL)
    ]
    weight_of(page, MODEL).fill("1")
    assert shown(page, 20) == ids(
        printed("search", cars.db, "--id", "cars/0003.png", "-c", COLOR, "-c", MODEL, "-k", 20)
    )


# Words and pictures of one's own.


def test_words_load_the_model_visibly(browser: "Browser", cars: Cars, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on, load = threading.Event(), Collection.load_models

    def slow(self: Collection, *args: Any, **how: Any) -> None:
        go_on.wait(30)
        load(self, *args, **how)

    monkeypatch.setattr(Collection, "load_models", slow)
    with exploring(cars.db, device="cpu") as address, open_explorer(browser, address) as page:
        page.keyboard.press("/")
        expect(page.get_by_label("Near to words")).to_be_focused()
        page.keyboard.type("red")
        page.keyboard.press("Enter")
        expect(page.locator("#loading")).to_contain_text("Loading the model that made these vectors: 1 s")
        expect(page.locator("#scroller")).to_have_attribute("aria-busy", "true")
        go_on.set()
        expect(page.locator("#loading")).to_be_hidden()
        expect(page.locator("#status")).to_have_text("120 images, the nearest first")
        hits = printed("search", cars.db, "--text", "red", "-c", COLOR, "-k", 20)
        assert shown(page, 20) == ids(hits)
        page.get_by_label("only what matches").check()
        expect(page.locator("#status")).to_contain_text("match")
        cut = printed("search", cars.db, "--text", "red", "-c", COLOR, "--cut", "auto")
        expect(page.locator("#status")).to_have_text(f"{len(cut)} images of 120 match")
        assert shown(page, 12) == ids(cut)[:12]


@pytest.mark.parametrize("how", ["chosen", "dropped", "pasted"])
def test_a_picture_of_ones_own(page: "Page", cars: Cars, own: Path, how: str) -> None:
    assert page.get_by_role("button", name="Own picture").get_attribute("title") is not None
    if how == "chosen":
        page.locator("#file").set_input_files(own)
    else:
        give(page, how, own.read_bytes(), "own.png", "image/png")
    expect(page.locator("#query .token")).to_contain_text("your picture")
    expect(page.locator("#status")).to_have_text("120 images, the nearest first")
    assert shown(page, 20) == ids(printed("search", cars.db, "--image", own, "-c", COLOR, "-k", 20))
    expect(page.locator("#drop")).to_be_hidden()


def give(page: "Page", how: str, data: bytes, name: str, kind: str) -> None:
    """Drop or paste a file."""
    page.evaluate(
        """([how, data, name, kind]) => {
            const given = new DataTransfer();
            given.items.add(new File([new Uint8Array(data)], name, { type: kind }));
            const about = { bubbles: true, cancelable: true };
            if (how === "pasted")
                document.body.dispatchEvent(new ClipboardEvent("paste", { ...about, clipboardData: given }));
            else for (const kind of ["dragenter", "dragover", "drop"])
                document.body.dispatchEvent(new DragEvent(kind, { ...about, dataTransfer: given }));
        }""",
        [how, list(data), name, kind],
    )


def test_a_broken_file_is_told_of_at_the_top(browser: "Browser", address: str, own: Path) -> None:
    with open_explorer(browser, address, expected=[failed(400)]) as page:
        before = shown(page)
        give(page, "dropped", b"not an image", "broken.png", "image/png")
        expect(page.get_by_role("alert")).to_contain_text("the picture that was dropped")
        assert shown(page) == before
        give(page, "dropped", own.read_bytes(), "own.png", "image/png")
        expect(page.locator("#query .token")).to_be_visible()
        expect(page.locator("#problem")).to_be_hidden()


# Filters.


def first_words(cars: Cars) -> dict[str, dict[str, str]]:
    """Condition to image to its first word, as `cie words` prints them."""
    return {
        condition: {row["image_id"]: row["words"][0]["word"] for row in printed("words", cars.db, "-c", condition)}
        for condition in (COLOR, MODEL)
    }


def test_facets_count_cross_exclude_and_clear(page: "Page", cars: Cars) -> None:
    words = first_words(cars)
    more = page.locator("#facets .button")
    expect(page.locator("#facets .facet")).not_to_have_count(0)
    for _ in range(more.count()):
        more.and_(page.locator("[aria-expanded=false]")).first.click()
    assert counts(page, COLOR) == counted(words[COLOR].values())
    assert counts(page, MODEL) == counted(words[MODEL].values())
    (color, *_), (model, *_) = (list(counts(page, each)) for each in (COLOR, MODEL))
    facet(page, COLOR, color).click()
    those = {name for name, each in words[COLOR].items() if each == color}
    expect(page.locator("#status")).to_have_text(f"{len(those)} images")
    expect(facet(page, COLOR, color)).to_have_attribute("aria-pressed", "true")
    expect(facet(page, COLOR, color)).to_be_focused()
    assert shown(page) == sorted(those)[: len(shown(page))]
    assert counts(page, COLOR) == counted(words[COLOR].values())  # alternatives
    assert counts(page, MODEL) == counted(words[MODEL][name] for name in those)  # crossed
    without = page.get_by_role("region", name=MODEL).get_by_label(f"Without {model}", exact=True)
    without.click()
    kept = {name for name in those if words[MODEL][name] != model}
    expect(page.locator("#status")).to_have_text(f"{len(kept)} images" if kept else "No image passes these filters.")
    assert part_of_address(page)["not"] == [f"{MODEL}~{model}"]
    expect(page.locator("#filters .token")).to_have_count(2)
    page.get_by_role("button", name="Clear filters").click()
    expect(page.locator("#status")).to_have_text("120 images")
    expect(page.locator("#filters")).to_be_hidden()


def facet(page: "Page", condition: str, word: str) -> "Locator":
    return (
        page.get_by_role("region", name=condition, exact=True)
        .locator(".word")
        .filter(has_text=re.compile(rf"^{re.escape(word)}\d"))
    )


def counts(page: "Page", condition: str) -> dict[str, int]:
    expect(page.locator("#facets .facet").first).to_be_visible()
    page.wait_for_load_state("networkidle")
    rows = (
        page.get_by_role("region", name=condition, exact=True)
        .locator(".word")
        .evaluate_all("all => all.map(each => [each.children[0].textContent, Number(each.children[1].textContent)])")
    )
    return dict(rows)


def counted(words: Any) -> dict[str, int]:
    found: dict[str, int] = {}
    for word in words:
        found[word] = found.get(word, 0) + 1
    return found


def test_files_that_fit(browser: "Browser", address: str) -> None:
    with open_explorer(browser, address, expected=[failed(400)]) as page:
        shown(page)
        field = page.get_by_label("Files that fit")
        field.fill("image_id <= 'cars/0010.png'")
        field.press("Enter")
        expect(page.locator("#status")).to_have_text("10 images")
        expect(page.locator("#filters")).to_contain_text("image_id <= 'cars/0010.png'")
        field.fill("nothing > 5")
        field.press("Enter")
        expect(page.locator("#images").get_by_role("alert")).to_contain_text("nothing")
        page.get_by_role("button", name="Remove the filter nothing > 5").click()
        expect(page.locator("#status")).to_have_text("120 images")
        expect(page.get_by_role("alert")).to_have_count(0)


# Choosing, and taking away.


def test_images_are_chosen_by_click_and_by_keyboard(page: "Page") -> None:
    some, tiles = shown(page), page.locator(".tile")
    tiles.nth(1).locator(".tick").click()
    tiles.nth(3).click(modifiers=["Control"])
    assert part_of_address(page)["pick"] == [some[1], some[3]]
    tiles.nth(6).click(modifiers=["Shift"])
    assert part_of_address(page)["pick"] == [some[at] for at in (1, 3, 4, 5, 6)]
    expect(page.locator("#chosen")).to_contain_text("5 images chosen")
    page.keyboard.press("Space")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    assert part_of_address(page)["pick"] == [some[at] for at in (1, 3, 4, 5, 8)]
    expect(tiles.nth(8)).to_have_attribute("aria-selected", "true")
    assert page.locator("#panel").is_hidden()
    page.get_by_role("button", name="Clear", exact=True).click()
    expect(page.locator(".tile[aria-selected=true]")).to_have_count(0)
    expect(page.locator("#chosen")).to_be_hidden()


@pytest.mark.parametrize("view", [f"{SEARCH}&pick=cars/0007.png&pick=cars/0001.png"])
@pytest.mark.parametrize("which", ["chosen", "shown"])
def test_lists_are_exported(page: "Page", cars: Cars, which: str) -> None:
    hits = printed("search", cars.db, "--id", "cars/0003.png", "-c", COLOR, "-c", f"{MODEL}:-0.5", "-k", 119)
    wanted = ["cars/0007.png", "cars/0001.png"] if which == "chosen" else ids(hits)
    page.locator("#export").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label(f"the {len(wanted)} chosen" if which == "chosen" else "all 119 that are shown").check()

    def saved(button: str) -> tuple[str, str]:
        with page.expect_download() as started:
            dialog.get_by_role("button", name=button).click()
        return started.value.suggested_filename, Path(started.value.path()).read_text("utf-8")

    assert saved("Ids") == ("ids.txt", "".join(f"{each}\n" for each in wanted))
    name, text = saved("Paths")
    assert (name, text.splitlines()) == ("paths.txt", [str(cars.folder / each) for each in wanted])
    name, text = saved("CSV")
    table = list(csv.DictReader(io.StringIO(text)))
    assert (name, [row["image_id"] for row in table]) == ("images.csv", wanted)
    words = {hit["image_id"]: hit["words"] for hit in hits}
    for row in table:
        assert row[COLOR] == ", ".join(each["word"] for each in words[row["image_id"]][COLOR])
    name, text = saved("JSON")
    rows = json.loads(text)
    assert (name, ids(rows)) == ("images.json", wanted)
    scores = {hit["image_id"]: hit["score"] for hit in hits}
    assert [row["score"] for row in rows] == pytest.approx([scores[each] for each in wanted], abs=1e-6)
    page.keyboard.press("Escape")
    expect(page.locator("#export")).to_be_focused()


@pytest.mark.parametrize(
    "view",
    [
        SEARCH,
        "#c=car color~0.3&text=red&text=blue~-0.5",
        "#c=car color~1&image_id=cars/0003.png&cut=auto",
        "#c=car color~1&image_id=cars/0003.png~-1&where=image_id < 'cars/0050.png'",
        "#c=car model~1&image_id=cars/0003.png&is=car color~red~blue",
        "#c=car model~1&image_id=cars/0003.png&not=car color~red~blue",
    ],
)
def test_the_command_that_is_shown_prints_what_is_shown(page: "Page") -> None:
    some = shown(page, 20)
    program, *arguments = shlex.split(command_of(page))
    assert program == "cie"
    assert ids(printed(*arguments))[:20] == some


def command_of(page: "Page") -> str:
    page.get_by_role("button", name="As command").first.click()
    text = page.locator("#command code")
    text.wait_for()
    return text.inner_text()


def test_the_command_of_an_own_picture_says_what_to_put_in(page: "Page", own: Path) -> None:
    page.locator("#file").set_input_files(own)
    expect(page.locator("#query .token")).to_be_visible()
    some = shown(page, 20)
    _, *arguments = shlex.split(command_of(page))
    expect(page.get_by_role("dialog")).to_contain_text("put your picture's path in place of YOUR-IMAGE")
    assert ids(printed(*(each.replace("YOUR-IMAGE", str(own)) for each in arguments))) == some


# Links.


@pytest.mark.parametrize(
    "view",
    [
        SEARCH,
        "#c=car model~1&c=car color~-1&text=red&text=blue~-1&cut=auto",
        "#c=car color~1&is=car color~red&not=car model~van&where=width > 5",
        "#c=car color~1&open=cars/0004.png&pick=cars/0001.png&pick=cars/0002.png",
        "#c=car color~1&pair=cars/0001.png~cars/0002.png",
    ],
)
def test_a_link_shows_the_same_elsewhere(browser: "Browser", address: str, view: str) -> None:
    seen, link = [], view
    for _ in range(2):
        with open_explorer(browser, address, link) as page:
            page.wait_for_url("**space=**")
            page.wait_for_load_state("networkidle")
            expect(page.locator(".spinner, [aria-busy]")).to_have_count(0)
            seen.append((page.url, re.sub(r": \d+ s", "", page.locator("body").inner_text())))
            link = page.url.removeprefix(address)
    assert seen[0] == seen[1]
    assert all(f"{key}=" in link for key in re.findall(r"[#&](\w+)=", view))


def test_back_and_forward(page: "Page") -> None:
    first = shown(page)
    page.locator(".tile").nth(2).click()
    page.get_by_role("button", name="Search with this").click()
    expect(page.locator("#status")).to_have_text("119 images, the nearest first")
    near = shown(page)
    page.get_by_role("link", name="Groups").click()
    expect(page.locator("#groups")).to_be_visible()
    page.go_back()
    expect(page.locator("#images")).to_be_visible()
    assert shown(page) == near
    page.go_back()
    expect(page.locator("#panel")).to_be_visible()
    page.go_back()
    expect(page.locator("#panel")).to_be_hidden()
    assert shown(page) == first
    page.go_forward()
    page.go_forward()
    expect(page.locator("#status")).to_have_text("119 images, the nearest first")
    assert shown(page) == near


def test_two_tabs_do_not_disturb_each_other(page: "Page", browser: "Browser", address: str) -> None:
    with open_explorer(browser, address, SEARCH) as other:
        near = shown(other)
        before = shown(page)
        page.get_by_role("button", name=f"Add {MODEL}").click()
        assert shown(page) == before
        assert shown(other) == near


def test_red_cars_that_are_no_hatchbacks_are_found_by_clicking_only(page: "Page", cars: Cars) -> None:
    words = first_words(cars)
    facet(page, COLOR, "red").click()
    page.get_by_role("region", name=MODEL).get_by_label("Without hatchback", exact=True).click()
    wanted = [
        name for name, word in sorted(words[COLOR].items()) if word == "red" and words[MODEL][name] != "hatchback"
    ]
    expect(page.locator("#status")).to_have_text(f"{named(len(wanted), 'image')}")
    assert shown(page) == wanted
