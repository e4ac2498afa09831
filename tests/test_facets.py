"""How many images have which first words, under one condition and under several: counted as by hand, shown as text."""

import json
import sys
from collections import Counter
from pathlib import Path

import click
import numpy as np
import pytest
from collections_at_hand import add, names, setting
from commands import cie, error_of
from hypothesis import given, settings
from hypothesis import strategies as st

import conditional_image_embeddings as cie_package
from conditional_image_embeddings.cli.terminal import print_table
from conditional_image_embeddings.collection.facets import SHOWN_IMAGES, facets
from conditional_image_embeddings.collection.storage.store import Store
from conditional_image_embeddings.collection.storage.tables import ImageRecord
from conditional_image_embeddings.collection.words import settings_with_words, words_of
from conditional_image_embeddings.errors import OptionError, StoreError
from conditional_image_embeddings.inputs.encoded import FileStat

TOLD = st.one_of(
    st.none(),  # no vector
    st.just(()),  # no words
    st.tuples(st.sampled_from(["red", "blue", "", "[bold]", "it's", "é"]), st.sampled_from([0.25, 0.5])),
)


def fill(store: Store, condition: str | None, told: "list[tuple[str, float] | tuple[()] | None]") -> None:
    """One image each: its first word, none, or no vector at all."""
    there = [index for index, each in enumerate(told) if each is not None]
    words = [[told[index], ("second", 0.1)] if told[index] else None for index in there]
    vectors = np.ones((len(there), 2), np.float32)
    add(store, setting(condition), [names(len(told))[index] for index in there], vectors, words=words)


@settings(max_examples=20)
@given(st.lists(st.tuples(TOLD, TOLD), min_size=1, max_size=20))
def test_facets_are_what_counting_by_hand_gives(
    tmp_path_factory: pytest.TempPathFactory, images: "list[tuple[object, object]]"
) -> None:
    store = Store(tmp_path_factory.mktemp("db"))
    both = [*images, (("red", 0.5), ("pickup", 0.5))]  # so that each condition has words
    for index, condition in enumerate(("color", None)):
        fill(store, condition, [each[index] for each in both])
    found = facets(store, settings_with_words(store, ["Color", None]))
    expected = Counter(tuple(told[0] if told else None for told in each) for each in both if each != (None, None))
    assert found.images == sum(expected.values())
    assert {tuple(facet.words.values()): facet.count for facet in found.crossed} == expected
    assert [list(facet.words) for facet in found.crossed] == [["color", None]] * len(expected)
    for index, condition in enumerate(("color", None)):
        alone: Counter[str | None] = Counter()
        for words, count in expected.items():
            alone[words[index]] += count
        assert {facet.words[condition]: facet.count for facet in found.by_condition[condition]} == alone
    for facet in found.crossed:
        assert len(facet.images) == min(facet.count, SHOWN_IMAGES)
        for image_id in facet.images:
            assert tuple(told[0] if told else None for told in both[names(99).index(image_id)]) == tuple(
                facet.words.values()
            )
    counts = [facet.count for facet in found.crossed]
    assert counts == sorted(counts, reverse=True)


@pytest.fixture
def cars(store: Store) -> Store:
    colors = ["red", "red", "blue", "[red]x[/red]", "<b>red</b>", "\x1b[31mred", "", "red"]
    models = ["pickup", "pickup", "pickup", "bus", "bus", "bus", "bus", "bus"]
    fill(store, "color", [(word, 0.5 + index / 100) for index, word in enumerate(colors)])
    fill(store, "model", [*((word, 0.5) for word in models[:-1]), ()])
    return store


def test_a_filter_counts_fewer(cars: Store) -> None:
    with cie_package.open(cars.uri) as collection:
        found = collection.facets(["color", "model"], where="width < 12")  # two images
        assert [(dict(facet.words), facet.count) for facet in found.crossed] == [
            ({"color": "red", "model": "pickup"}, 2)
        ]
        assert collection.facets("color", where="image_id = 'it''s'").crossed == []
        with pytest.raises(OptionError, match="is no filter"):
            collection.facets("color", where="none = 1")
    assert [each["image_id"] for each in words_of(cars, setting("color"), {"00002.png", "unknown"})] == ["00002.png"]


def test_conditions_that_do_not_belong_together(cars: Store) -> None:
    other = setting("mood", model="another")
    add(cars, other, ["00000.png"], np.ones((1, 2), np.float32), words=[[("happy", 1.0)]])
    with cie_package.open(cars.uri) as collection:
        with pytest.raises(StoreError, match="'color', 'mood' tell words in settings of different images or models"):
            collection.facets(["color", "mood"])
        with pytest.raises(StoreError, match="has nothing under the condition 'size'"):
            collection.facets(["color", "size"])
    add(cars, setting("mood"), ["00000.png"], np.ones((1, 2), np.float32), words=[[("sad", 1.0)]])
    assert [dict(each.words) for each in facets(cars, settings_with_words(cars, ["mood", "color"])).crossed[:1]]
    with pytest.raises(StoreError, match="choose with --setting"):
        settings_with_words(cars, ["mood"])


def test_the_command_crosses_words(cars: Store) -> None:
    done = cie("words", cars.uri, "-c", "color", "-c", "model")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["color", "model", "images"]
    assert lines[1].split()[:4] == ["red", "pickup", "2", "25.0%"]
    assert any(line.startswith("red") and "(no words)" in line for line in lines)
    assert any(line.startswith("(nothing)") for line in lines)
    counted = json.loads(cie("words", cars.uri, "-c", "color", "-c", "model", "--json").stdout)
    assert counted[0] == {
        "words": {"color": "red", "model": "pickup"}, "count": 2, "images": ["00001.png", "00000.png"],
    }  # fmt: skip
    assert sum(each["count"] for each in counted) == 8
    fewer = cie("words", cars.uri, "-c", "color", "-c", "model", "--lines", "2").stdout.splitlines()
    assert len(fewer) == 4
    assert fewer[-1].split()[:4] == ["(5", "more)", "5", "62.5%"]
    filtered = cie("words", cars.uri, "-c", "color", "-c", "model", "--where", "width < 12").stdout
    assert len(filtered.splitlines()) == 2


def test_what_a_model_says_is_text(cars: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No markup of the terminal's library, no HTML, and nothing that a terminal obeys."""
    done = cie("words", cars.uri, "-c", "color", "-n", "3", "--html", tmp_path / "words.html")
    assert done.returncode == 0, done.stderr
    assert "[red]x[/red]" in done.stdout
    assert "<b>red</b>" in done.stdout
    assert "\x1b" not in done.stdout
    page = (tmp_path / "words.html").read_text()
    assert "&lt;b&gt;red&lt;/b&gt;" in page
    assert "<b>red" not in page
    assert "<script" not in page
    assert "https:" not in page
    assert "http:" not in page
    print_table(["a\x1b[2J"], [["b\x1b]0;title\x07\nc"]])
    assert capsys.readouterr().out.splitlines() == ["a\N{REPLACEMENT CHARACTER}[2J", "b�]0;title��c"]


def test_one_condition_lists_images_too(cars: Store) -> None:
    done = cie("words", cars.uri, "-c", "color", "-n", "2")
    assert done.stdout.splitlines()[-3:] == [
        "image      words",
        "00000.png  red 0.50, second 0.10",
        "00001.png  red 0.51, second 0.10",
    ]
    assert "and 6 images more" in done.stderr
    assert done.stdout == cie("words", cars.uri, "-c", "color", "-n", "2").stdout
    assert len(json.loads(cie("words", cars.uri, "-c", "color", "--json").stdout)) == 8
    assert "say under which condition" in error_of(cie("words", cars.uri), 2)


@pytest.mark.parametrize("columns", [60, 80, 120, 200])
def test_bars_fit_the_terminal(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(columns))
    rows = [("red", "pickup", "11", "1.8%", 1.0), ("blue " * 30, "van", "3", "0.5%", 0.27)]
    print_table(("car color", "car model", "images", "", ""), rows, right=(2, 3))
    lines = click.unstyle(capsys.readouterr().out).splitlines()
    assert max(map(len, lines)) <= columns
    assert "█" in lines[1]
    assert "pickup" in lines[1]


def test_the_page_has_pictures_and_every_table(store: Store, tmp_path: Path) -> None:
    picture = b"RIFF\x00\x00\x00\x00WEBPVP8 "
    for condition in ("color", "model"):
        fill(store, condition, [("red", 0.5)])
    record = ImageRecord(
        image_id="pictured.png", width=1, height=1, content_hash="", place=FileStat(), thumbnail=picture
    )
    store.add_images("photos", "/photos", [record])
    for condition in ("color", "model"):
        vectors = np.ones((1, 2), np.float32)
        store.add_vectors(setting(condition), ["pictured.png"], vectors, words=[[("red", 0.9)]])
    done = cie("words", store.uri, "-c", "color", "-c", "model", "--html", tmp_path / "words.html")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "words.html").read_text()
    assert page.count("<table>") == 3
    assert page.count('<img class="picture" src="data:image/webp;base64,') == 3
    assert page.count('aria-label="00000.png: no picture is stored"') == 3
