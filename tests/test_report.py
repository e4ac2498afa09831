"""The demo's page, opened in a browser: pictures loaded, nothing fetched, no errors, fit for phone and night."""

import json
import os
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from conditional_image_embeddings import datasets
from conditional_image_embeddings.reports.demo_page import NEIGHBOURS, QUERIES

if TYPE_CHECKING:
    from conftest import Demo

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        if os.environ.get("CI"):
            pytest.fail("chromium or chromedriver is not installed; .ci/run installs both")
        pytest.skip("needs chromium and chromedriver: apt-get install chromium chromium-driver")
    options = ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('browser')}", "--window-size=1200,1600"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with Chrome(options, ChromeService(driver)) as chrome:
        yield chrome


@pytest.fixture(scope="module")
def page(browser: Chrome, demo: "Demo") -> Chrome:
    browser.get((demo.output / "report.html").resolve().as_uri())
    return browser


def test_the_page_needs_nothing_but_itself(page: Chrome) -> None:
    logs = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    sent = [each["params"] for each in logs if each["method"] == "Network.requestWillBeSent"]
    urls = [each["request"]["url"] for each in sent if each["documentURL"] == page.current_url]  # not the empty tab's
    assert [url for url in urls if not url.startswith("data:")] == [page.current_url]
    assert page.get_log("browser") == []
    assert page.find_elements(By.TAG_NAME, "script") == []


def test_every_picture_is_loaded_and_described(page: Chrome) -> None:
    pictures = page.execute_script("return [...document.images].map(i => [i.complete && i.naturalWidth > 0, i.alt])")
    conditions = len(datasets.describe()[0]["aspects"]) + 1
    assert len(pictures) == QUERIES * (1 + conditions * NEIGHBOURS)
    assert all(loaded and alt for loaded, alt in pictures)


def test_ticks_and_captions_are_the_labels(page: Chrome, demo: "Demo") -> None:
    for query in page.find_elements(By.CLASS_NAME, "query"):
        aspects = [each.text for each in query.find_elements(By.TAG_NAME, "dt")]
        own = dict(zip(aspects, [each.text for each in query.find_elements(By.TAG_NAME, "dd")], strict=True))
        for found in query.find_elements(By.CLASS_NAME, "found"):
            condition = found.find_element(By.TAG_NAME, "h4").text
            captions = [each.text for each in found.find_elements(By.TAG_NAME, "figcaption")]
            if condition == "no condition":
                assert captions == []
            else:
                assert len(captions) == NEIGHBOURS
                ticked = [caption.removeprefix("✓ ") for caption in captions if caption.startswith("✓")]
                assert ticked == [caption for caption in ticked if caption == own[condition]]
                assert own[condition] not in [caption for caption in captions if not caption.startswith("✓")]


def test_the_table_has_the_scores_and_marks_the_diagonal(page: Chrome, demo: "Demo") -> None:
    _, crossed = page.find_elements(By.TAG_NAME, "table")
    dior = [row for row in demo.rows if (row["method"], row["model"]) == ("dior", "builtin")]
    assert cells(crossed) == [written(row) for row in dior]
    assert cells(crossed, "td.framed") == [written(row) for row in dior if row["condition"] == row["aspect"]]


def test_the_methods_stand_side_by_side_each_asked_about_the_column(page: Chrome, demo: "Demo") -> None:
    methods, _ = page.find_elements(By.TAG_NAME, "table")
    own = [row for row in demo.rows if row["condition"] == row["aspect"]]
    free = [
        row for row in demo.rows if row["condition"] is None and (row["method"], row["model"]) != ("dior", "builtin")
    ]
    assert cells(methods) == [written(row) for row in (*own, *free)]
    best = [max(cells(methods)[column::5], key=lambda cell: float(cell.split(" ")[0])) for column in range(5)]
    assert set(best) <= set(cells(methods, "td.framed"))


def cells(table: WebElement, selector: str = "td.score") -> list[str]:
    return [cell.text for cell in table.find_elements(By.CSS_SELECTOR, selector)]


def written(row: dict[str, Any]) -> str:
    return f"{100 * row['map_at_r']:.1f} / {100 * row['precision_at_1']:.1f}"


@pytest.mark.parametrize("width", [360, 768, 1600])
def test_the_page_fits_the_screen(page: Chrome, width: int) -> None:
    screen = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    try:
        assert page.execute_script("return document.documentElement.scrollWidth") <= width
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_page_is_dark_where_that_is_wished(page: Chrome) -> None:
    lightness = {}
    for scheme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        color = page.execute_script("return getComputedStyle(document.body).backgroundColor")
        lightness[scheme] = sum(int(part) for part in color.removeprefix("rgb(").removesuffix(")").split(","))
    assert lightness["dark"] < 200 < 600 < lightness["light"]
