"""The page where things are missing, many, hostile or changing: collections that no model stands behind."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from browser import open_page
from collections_at_hand import random_store, setting
from explorer_at_hand import exploring, failed, open_explorer, part_of_address, photographs, shown
from playwright.sync_api import expect

from conditional_image_embeddings.collection.storage.store import Store

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAMES = [f"{number:02}.png" for number in range(30)]
MANY = 20_000
MARKUP = '<img src=x onerror="alert(1)">'


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bounds") / "db"
    photographs(Store(path), NAMES, "color", "kind")
    return path


@pytest.fixture(scope="module")
def address(db: Path) -> Iterator[str]:
    with exploring(db) as found:
        yield found


# Several, none, one.


def test_several_collections_and_spaces_are_switched_between(browser: "Browser", db: Path, tmp_path: Path) -> None:
    other = photographs(Store(tmp_path / "other"), ["only.png"], "shape")
    photographs(Store(tmp_path / "two"), NAMES, "color")
    vectors = np.eye(8, dtype=np.float32)[:5]
    other.add_vectors(setting("shape", method="another", source="/photos"), ["only.png"], vectors[:1])
    with exploring(db, tmp_path / "other", tmp_path / "two") as address, open_explorer(browser, address) as page:
        collections = page.get_by_label("Collection")
        expect(collections.locator("option")).to_have_text(["db", "other", "two"])
        assert len(shown(page)) == 30
        collections.select_option("other")
        expect(page.locator("#status")).to_have_text("1 image")
        assert shown(page) == ["only.png"]
        assert part_of_address(page)["in"] == ["other"]
        assert page.title() == "other: explore"
        spaces = page.get_by_label("Embedded with")
        expect(spaces.locator("option")).to_have_count(2)
        first = part_of_address(page)["space"]
        expect(page.locator("#facets")).to_contain_text("No words are stored")  # by name "another" comes first
        spaces.select_option(index=1)
        expect(page.locator("#facets")).to_contain_text("cat")
        assert part_of_address(page)["space"] != first
        page.go_back()
        expect(page.locator("#facets")).to_contain_text("No words are stored")
        assert part_of_address(page)["space"] == first
        page.go_back()
        expect(page.locator("#status")).to_have_text("30 images")
        expect(collections).to_have_value("db")
        page.reload()
        assert len(shown(page)) == 30


def test_an_empty_collection_says_how_to_fill_it_and_shows_what_comes(
    browser: "Browser", tmp_path: Path, db: Path
) -> None:
    store = Store(tmp_path / "empty")
    with exploring(tmp_path / "empty", db) as address, open_explorer(browser, address) as page:
        expect(page.locator("#nothing")).to_contain_text("This collection is empty")
        expect(page.locator("#nothing code")).to_contain_text(f"-e {tmp_path / 'empty'}")
        page.get_by_label("Collection").select_option("db")
        assert len(shown(page)) == 30
        page.get_by_label("Collection").select_option("empty")
        expect(page.locator("#nothing")).to_be_visible()
        expect(page.locator("#images")).to_be_hidden()
        page.clock.install()
        page.reload()
        expect(page.locator("#nothing")).to_be_visible()
        photographs(store, ["first.png"], "color")
        page.clock.run_for(6_000)
        expect(page.locator("#changed")).to_contain_text("There are images now")
        page.get_by_role("button", name="Show").click()
        assert shown(page) == ["first.png"]


def test_a_collection_grows_while_it_is_looked_at(browser: "Browser", tmp_path: Path) -> None:
    store = photographs(Store(tmp_path / "db"), NAMES, "color")
    with exploring(tmp_path / "db") as address, open_explorer(browser, address) as page:
        page.clock.install()
        page.reload()
        shown(page)
        page.clock.run_for(6_000)
        expect(page.locator("#changed")).to_be_hidden()
        photographs(store, ["99.png", "98.png"], "color")
        page.clock.run_for(6_000)
        expect(page.locator("#changed")).to_contain_text("The collection has changed: 2 images more.")
        expect(page.locator("#status")).to_have_text("30 images")
        page.get_by_role("button", name="Show").click()
        expect(page.locator("#status")).to_have_text("32 images")
        expect(page.locator("#changed")).to_be_hidden()
        assert shown(page)[-2:] == ["98.png", "99.png"]


# What is gone.


def test_what_is_gone_is_said_where_it_would_be(browser: "Browser", tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    store = photographs(Store(tmp_path / "db"), ["a.png", "b.png", "../c.png"], "color", folder=folder)
    (folder / "b.png").unlink()
    with exploring(tmp_path / "db") as address:
        for image_id, said in (("b.png", "is gone"), ("../c.png", "does not lie in the folder")):
            with open_explorer(browser, address, f"#open={image_id}") as page:
                expect(page.locator("#panel figcaption")).to_contain_text(said)
                expect(page.locator("#panel").get_by_role("link", name="Original")).to_have_count(0)
                page.locator("#panel .large img").evaluate("image => image.decode()")
        with open_explorer(browser, address, "#open=a.png") as page:
            with page.expect_popup() as popup:
                page.get_by_role("link", name="Original").click()
            popup.value.wait_for_load_state()
            assert popup.value.locator("img").evaluate("image => image.decode().then(() => image.naturalWidth)") == 320
        with open_explorer(
            browser, address, "#open=never.png", expected=[failed(409), failed(404), failed(400)]
        ) as page:
            expect(page.locator("#panel").get_by_role("alert")).to_contain_text("never.png")
    assert store


def test_a_picture_that_is_not_stored_is_a_blank(browser: "Browser", tmp_path: Path) -> None:
    random_store(tmp_path / "db", 4, "color", None)
    with exploring(tmp_path / "db") as address, open_explorer(browser, address, expected=[failed(404)]) as page:
        expect(page.get_by_role("img", name="00000.png: no picture")).to_be_visible()
        page.get_by_role("button", name="Add no condition").click()
        page.locator(".tile").first.click()
        expect(page.locator("#panel .neighbour")).to_have_count(6)
        assert part_of_address(page)["c"] == ["color~1", "~1"]


def test_a_server_that_is_gone_is_told_of(browser: "Browser", db: Path) -> None:
    with exploring(db) as address:
        opened = open_page(browser, address)
        page, _ = opened.__enter__()
        shown(page)
    try:
        page.get_by_role("button", name="Add kind").click()
        expect(page.locator("#images").get_by_role("alert")).to_contain_text("is `cie explore` still running?")
        page.locator("#file").set_input_files(Path(__file__))
        expect(page.locator("#problem")).to_contain_text("The server does not answer")
    finally:
        opened.__exit__(None, None, None)


# What is hostile.


def test_markup_in_names_words_and_conditions_is_text(browser: "Browser", tmp_path: Path) -> None:
    store, of = Store(tmp_path / "db"), MARKUP
    names = [f"{MARKUP}{number}.png" for number in range(4)]
    photographs(store, names, of)
    store.add_vectors(
        setting("other", source="/photos"), names, np.eye(8, dtype=np.float32)[:4], words=[[(MARKUP, 0.9)]] * 4
    )
    with exploring(tmp_path / "db") as address:
        for view in ("", "groups", "duplicates", "map"):
            with open_explorer(browser, address, f"#view={view}") as page:
                expect(page.locator("#aspects .called")).to_have_text(MARKUP)
                page.get_by_role("button", name="Add other").click()
                expect(page.locator("#facets")).to_contain_text(MARKUP)
                page.wait_for_load_state("networkidle")
                if not view:
                    page.locator(".tile").first.click()
                    expect(page.locator("#panel h2")).to_have_text(names[0])
                    page.get_by_role("button", name="Search with this").click()
                    expect(page.locator("#query .called")).to_have_text(names[0])
                    shown(page)
                page.get_by_role("link", name="Images", exact=True).click()
                shown(page)
                page.get_by_role("button", name="As command").click()
                expect(page.locator("#command code")).to_contain_text("onerror")
                assert page.locator("[onerror], img[src=x]").count() == 0


LINKS = [
    "#", "#=", "#&&&", "#%", "#%E0%A4%A", "#in=nowhere", "#in=../../etc", "#space=none", "#view=none",
    "#view=__proto__", "#c=none~1", "#c=color~NaN", "#c=color~1e999", "#c=color~0", "#c=color~1~2~3&c=color~-1",
    "#c=%25~%25", "#c=~1", "#text=red~none", "#text=~", "#image_id=never.png", "#upload=never", "#is=color",
    "#is=none~red", "#not=color~red~red", "#is=color~red&not=color~red", "#where=1;drop table images", "#where=%00",
    "#group=color~2~99", "#group=none~2~1", "#group=color~x~1", "#group=color~1e9~1", "#lasso=color~1~2",
    "#lasso=color~0~0~0~0~0~0", "#lasso=none~0~0~1~0~1~1", "#lasso=color~Infinity~0~1~0~1~1",
    "#lasso=color~1e9~0~1~0~1~1", "#open=", "#open=never.png", "#pick=never.png", "#pick=&pick=&pick=<b>", "#pair=a",
    "#pair=never.png~00.png", "#pair=00.png~00.png", "#by=none&view=map", "#by=&view=groups", "#n=0&view=groups",
    "#n=-1&view=groups", "#n=1e99&view=groups", "#n=1000&view=groups", "#threshold=2&view=duplicates",
    "#threshold=x&view=duplicates", "#threshold=0&view=duplicates", "#view=duplicates&c=color~-1", "#cut=yes",
    "#cut=auto", "#__proto__=1", "#constructor=1", "#" + "a" * 100_000, "#text=" + "x" * 20_000,
    "#" + "c=color~1&" * 500, "#" + "&".join(f"pick={number}" for number in range(1000)), "#javascript:alert(1)",
    "#open=<script>alert(1)</script>",
]  # fmt: skip


def test_any_link_leads_to_a_page(browser: "Browser", address: str) -> None:
    expected = [failed(status) for status in (400, 404, 409, 422)]
    with open_explorer(browser, address, expected=expected) as page:
        for number, link in enumerate(LINKS):
            page.goto(address + link)  # on the page that is there
            if number % 2:
                page.reload()
            expect(page.locator("#aspects .active").first, link[:80]).to_be_visible()
            expect(page.locator("#scroller[aria-busy], .spinner:visible"), link[:80]).to_have_count(0)
            expect(page.locator("#main"), link[:80]).to_contain_text(re.compile(r"[a-z]"))
        page.goto("about:blank")
        page.goto(address)
        assert len(shown(page)) == 30


# What is many.


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    path = tmp_path_factory.mktemp("many") / "db"
    random_store(path, MANY, "color")
    with exploring(path) as found:
        yield found


def test_twenty_thousand_images_are_scrolled_through(browser: "Browser", many: str) -> None:
    with open_explorer(browser, many, expected=[failed(404)]) as page:
        shown(page)
        scroller = page.locator("#scroller")
        for part, least in ((0.5, MANY // 2 - 200), (1, MANY - 60), (0.25, MANY // 4 - 200), (0, 0)):
            scroller.evaluate(
                "(each, part) => { each.scrollTop = part * (each.scrollHeight - each.clientHeight) }", part
            )
            there = min(MANY - 1, int(part * MANY))  # what is there once the grid has followed
            expect(page.locator(f".tile[data-id='{there:05}.png']")).to_be_attached()
            some = in_view(page)
            assert some == [f"{number:05}.png" for number in range(int(some[0][:5]), int(some[0][:5]) + len(some))]
            assert least <= int(some[0][:5]) <= least + 400
            assert page.locator(".tile").count() < 150
        page.locator(".tile").first.focus()
        page.keyboard.press("End")
        expect(page.locator(f".tile[data-id='{MANY - 1:05}.png']")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator("#panel h2")).to_have_text(f"{MANY - 1:05}.png")
        page.keyboard.press("Escape")
        page.keyboard.press("Home")
        expect(page.locator(".tile[data-id='00000.png']")).to_be_focused()


def in_view(page: "Page") -> list[str]:
    """The ids of the tiles that are there, once all are known."""
    expect(page.locator(".tile:not([data-id])")).to_have_count(0)
    return shown(page)


def test_who_scrolls_past_the_nearest_thousand_gets_more(browser: "Browser", many: str) -> None:
    with open_explorer(browser, many, "#image_id=00007.png", expected=[failed(404)]) as page:
        shown(page)
        expect(page.locator("#status")).to_have_text(re.compile(r"The nearest 1,000 of (19,999|20,000)"))
        page.locator(".tile").first.focus()
        page.keyboard.press("End")
        expect(page.locator("#status")).to_have_text(re.compile(r"The nearest 10,000 of (19,999|20,000)"))
        expect(page.locator(".tile[data-index='999']")).to_be_focused()  # drawn anew
        page.keyboard.press("ArrowRight")
        expect(page.locator(".tile[data-index='1000'][data-id]")).to_be_focused()
