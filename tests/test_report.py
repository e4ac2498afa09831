"""Every page opened in a browser: pictures loaded, nothing fetched, no errors, accessible, fit for phone and night."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import pytest
from browser import open_page, serious_violations
from click.testing import CliRunner
from collections_at_hand import Cars

from conditional_image_embeddings import datasets
from conditional_image_embeddings.cli import main
from conditional_image_embeddings.reports import tables_page
from conditional_image_embeddings.reports.demo_page import NEIGHBOURS, QUERIES

if TYPE_CHECKING:
    from conftest import Demo
    from playwright.sync_api import Browser, Locator, Page

PAGES = ("clusters", "duplicates", "demo", "reproduction", "search", "words")


@pytest.fixture(scope="module")
def pages(demo: "Demo", tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Name to address of each page that a command writes."""
    folder, conditions = tmp_path_factory.mktemp("pages"), ("car color", "car model")
    cars, paths = Cars(folder, 40, *conditions), {name: folder / f"{name}.html" for name in PAGES}
    both = [part for condition in conditions for part in ("-c", condition)]
    image = next(iter(cars.labels["car color"]))
    for name, arguments in {
        "clusters": ("cluster", cars.db, "-c", "car color"),
        "duplicates": ("duplicates", cars.db, *both, "--threshold", 0.9),
        "search": ("search", cars.db, "--text", "red", "--id", image, "-c", "car color", "-c", "car model:-0.5"),
        "words": ("words", cars.db, *both),
    }.items():
        done = CliRunner().invoke(main, [*map(str, arguments), "--html", str(paths[name])])
        assert done.exit_code == 0, done.output
    tables_page.write(paths["reproduction"], rows=demo.rows, failures={"synthetic_cars": 2}, missing=["cub200"])
    paths["demo"] = demo.output / "report.html"
    return {name: path.resolve().as_uri() for name, path in paths.items()}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_needs_nothing_but_itself_and_is_accessible(
    browser: "Browser", pages: dict[str, str], name: str, scheme: Literal["light", "dark"]
) -> None:
    with open_page(browser, pages[name], scheme=scheme) as (page, log):
        assert log.requests == [pages[name]]
        assert log.errors == []
        assert page.locator("script, link[rel=stylesheet]").count() == 0
        assert serious_violations(page) == []
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        lightness = sum(map(int, background.removeprefix("rgb(").removesuffix(")").split(",")))
        assert lightness < 200 if scheme == "dark" else lightness > 600


@pytest.mark.parametrize("width", [360, 768, 1600])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_the_screen(browser: "Browser", pages: dict[str, str], name: str, width: int) -> None:
    with open_page(browser, pages[name], width=width) as (page, _):
        assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.fixture(scope="module")
def page(browser: "Browser", demo: "Demo") -> "Iterator[Page]":
    with open_page(browser, (demo.output / "report.html").resolve().as_uri()) as (opened, _):
        yield opened


def test_every_picture_is_loaded_and_described(page: "Page") -> None:
    pictures = page.evaluate("[...document.images].map(i => [i.complete && i.naturalWidth > 0, i.alt])")
    conditions = len(datasets.describe()[0]["aspects"]) + 1
    assert len(pictures) == QUERIES * (1 + conditions * NEIGHBOURS)
    assert all(loaded and alt for loaded, alt in pictures)


def test_ticks_and_captions_are_the_labels(page: "Page", demo: "Demo") -> None:
    for query in page.locator(".query").all():
        aspects = query.locator("dt").all_inner_texts()
        own = dict(zip(aspects, query.locator("dd").all_inner_texts(), strict=True))
        for found in query.locator(".found").all():
            condition = found.locator("h4").inner_text()
            captions = found.locator("figcaption").all_inner_texts()
            if condition == "no condition":
                assert captions == []
            else:
                assert len(captions) == NEIGHBOURS
                ticked = [caption.removeprefix("✓ ") for caption in captions if caption.startswith("✓")]
                assert ticked == [caption for caption in ticked if caption == own[condition]]
                assert own[condition] not in [caption for caption in captions if not caption.startswith("✓")]


def test_the_table_has_the_scores_and_marks_the_diagonal(page: "Page", demo: "Demo") -> None:
    _, crossed = page.locator("table").all()
    dior = [row for row in demo.rows if (row["method"], row["model"]) == ("dior", "builtin")]
    assert cells(crossed) == [written(row) for row in dior]
    assert cells(crossed, "td.framed") == [written(row) for row in dior if row["condition"] == row["aspect"]]


def test_the_methods_stand_side_by_side_each_asked_about_the_column(page: "Page", demo: "Demo") -> None:
    methods, _ = page.locator("table").all()
    own = [row for row in demo.rows if row["condition"] == row["aspect"]]
    free = [
        row for row in demo.rows if row["condition"] is None and (row["method"], row["model"]) != ("dior", "builtin")
    ]
    assert cells(methods) == [written(row) for row in (*own, *free)]
    best = [max(cells(methods)[column::5], key=lambda cell: float(cell.split(" ")[0])) for column in range(5)]
    assert set(best) <= set(cells(methods, "td.framed"))


def cells(table: "Locator", selector: str = "td.score") -> list[str]:
    return table.locator(selector).all_inner_texts()


def written(row: dict[str, Any]) -> str:
    return f"{100 * row['map_at_r']:.1f} / {100 * row['precision_at_1']:.1f}"
