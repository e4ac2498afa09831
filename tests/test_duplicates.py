"""Images alike in an aspect: what comparing all pairs one by one finds, in any order, however many are alike."""

import json
import re
import tracemalloc
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from collections_at_hand import add, names, random_store, setting
from commands import cie as run
from commands import error_of
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import conditional_image_embeddings as cie
from conditional_image_embeddings.collection.filters import Filter
from conditional_image_embeddings.collection.grouping import leaders as blocks
from conditional_image_embeddings.collection.grouping.duplicates import Duplicate, duplicates
from conditional_image_embeddings.collection.grouping.leaders import ROUNDING, leaders
from conditional_image_embeddings.collection.percentiles import percentiles
from conditional_image_embeddings.collection.storage.store import Store
from conditional_image_embeddings.collection.storage.tables import ImageRecord
from conditional_image_embeddings.errors import OptionError, StoreError
from conditional_image_embeddings.inputs.encoded import FileStat
from conditional_image_embeddings.methods.settings import Setting
from conditional_image_embeddings.vectors import unit

COLOR = {"color": setting()}


def one_by_one(vectors: list[NDArray[np.float32]], thresholds: list[float]) -> list[int]:
    """The leader of each image, by what the words say."""
    count = len(vectors[0])
    margin = np.min([each @ each.T - bound + ROUNDING for each, bound in zip(vectors, thresholds, strict=True)], axis=0)
    leading: list[int] = []
    for image in range(count):
        if all(margin[image, leader] < 0 for leader in leading):
            leading.append(image)
    led = [image if image in leading else max(leading, key=lambda one: margin[image, one]) for image in range(count)]
    for leader in leading:
        members = [image for image in range(count) if led[image] == leader]
        if all(margin[members[0], image] >= 0 for image in members):
            led = [members[0] if led[image] == leader else led[image] for image in range(count)]
    return led


@given(st.integers(1, 60), st.integers(1, 3), st.floats(-1, 1), st.integers(0, 2**32 - 1))
def test_blocks_find_what_comparing_one_by_one_finds(number: int, conditions: int, bound: float, seed: int) -> None:
    generator = np.random.default_rng(seed)
    kinds = generator.normal(size=(10, 5))
    vectors = [
        unit(kinds[generator.integers(10, size=number)] + 0.3 * generator.normal(size=(number, 5)))
        for _ in range(conditions)
    ]
    thresholds = [bound] * conditions
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "ROWS", 7)
        patch.setattr(blocks, "COLUMNS", 4)
        found = leaders(vectors, thresholds)
    assert found.tolist() == one_by_one(vectors, thresholds)


def groups_of(rows: list[Duplicate]) -> list[list[str]]:
    return [[row.image_id for row in members] for _, members in groupby(rows, key=lambda row: row.group)]


def shuffled(store: Store, order: int, number: int = 80) -> None:
    generator = np.random.default_rng(5)
    vectors = np.eye(6)[generator.integers(6, size=number)] + 0.15 * generator.normal(size=(number, 6))
    vectors *= generator.uniform(0.1, 10, (number, 1))
    records = [record(name, *generator.integers(1, 4, 2).tolist()) for name in names(number)]
    rows = np.random.default_rng(order).permutation(number)
    store.add_images("photos", "/photos", [records[row] for row in rows])
    store.add_vectors(setting(), [names(number)[row] for row in rows], vectors[rows].astype(np.float32))


def record(image_id: str, width: int, height: int, content: str | None = None) -> ImageRecord:
    place = FileStat(f"/photos/{image_id}", 1, 1)
    return ImageRecord(
        image_id=image_id, width=width, height=height, content_hash=content or image_id, place=place, thumbnail=b""
    )


@pytest.mark.parametrize("bound", [{"similarity": 0.9}, {"threshold": 0.95}, {}])
def test_the_order_of_rows_changes_nothing(tmp_path: Path, bound: dict[str, float]) -> None:
    found = []
    for order in range(3):
        store = Store(tmp_path / str(order))
        shuffled(store, order)
        found.append(duplicates(store, COLOR, **bound))
    for other in found[1:]:
        assert groups_of(found[0]) == groups_of(other)
        np.testing.assert_allclose([row.similarity for row in other], [row.similarity for row in found[0]], atol=1e-6)


def test_each_is_alike_to_the_first_of_its_group(store: Store) -> None:
    shuffled(store, 0)
    rows = duplicates(store, COLOR, threshold=0.9)
    ids, vectors = store.read(setting())
    vector = dict(zip(ids, unit(vectors), strict=True))
    scale = percentiles(store, setting())
    least = scale.similarity_at(0.9)
    assert rows
    sizes = []
    for number, (group, members) in enumerate(groupby(rows, key=lambda row: row.group), start=1):
        first, *others = members
        assert others
        assert group == number
        sizes.append(1 + len(others))
        assert (first.similarity, first.path) == (pytest.approx(1), f"/photos/{first.image_id}")
        for row in others:
            assert row.similarity == pytest.approx(float(vector[row.image_id] @ vector[first.image_id]), abs=1e-6)
            assert row.similarity >= least - 2 * ROUNDING
            assert row.percentile == pytest.approx(float(scale.of(row.similarity)))
            assert row.similarities == {"color": row.similarity}
            assert row.percentiles == {"color": row.percentile}
        assert [row.similarity for row in others] == sorted((row.similarity for row in others), reverse=True)
    assert sizes == sorted(sizes, reverse=True)


def test_the_largest_comes_first(store: Store) -> None:
    """Near twins stay together where only one of them is alike to a larger image."""
    angles = np.radians([0, 9.9, 10.2, 40, 41])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    sizes = [(9, 9), (5, 5), (4, 4), (3, 4), (4, 4)]
    store.add_images("photos", "/photos", [record(name, *size) for name, size in zip(names(5), sizes, strict=True)])
    store.add_vectors(setting(), names(5), vectors)
    rows = duplicates(store, COLOR, similarity=float(np.cos(np.radians(10))))
    assert groups_of(rows) == [["00001.png", "00002.png"], ["00004.png", "00003.png"]]


def test_a_chain_of_likenesses_is_not_one_group(store: Store) -> None:
    angles = np.radians(np.arange(0, 90, 5))
    chain = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    add(store, setting(), names(len(chain)), chain)
    rows = duplicates(store, COLOR, similarity=float(np.cos(np.radians(5.1))))
    assert len(groups_of(rows)) > 5
    assert all(row.similarity >= np.cos(np.radians(5.2)) for row in rows)


def test_where_all_are_alike_memory_stays_that_of_the_vectors(store: Store) -> None:
    number = 20_000  # 200 million pairs
    vectors = np.ones((number, 4), np.float32)
    vectors[::2, 0] += 1e-4
    tracemalloc.start()
    led = leaders([vectors / 2], [0.999])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert set(led.tolist()) == {0}
    assert peak < 150e6


def test_several_conditions_mean_alike_in_all_of_them(store: Store) -> None:
    red, blue, car, bus = np.eye(4, dtype=np.float32)
    add(store, setting("color"), names(5), np.stack([red, red, blue, red, blue]))
    add(store, setting("shape"), names(5), np.stack([car, car, car, bus, bus]))
    with cie.open(store.uri) as collection:
        assert groups_of(collection.duplicates("color", similarity=0.9)) == [
            ["00003.png", "00000.png", "00001.png"],
            ["00004.png", "00002.png"],
        ]
        rows = collection.duplicates(["color", "shape"], similarity=0.9)
    assert groups_of(rows) == [["00001.png", "00000.png"]]
    assert set(rows[1].similarities) == {"color", "shape"}


def test_images_that_lack_a_condition_are_left_out_and_that_is_told(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    add(store, setting("color"), names(3), np.ones((3, 4), np.float32))
    add(store, setting("shape"), names(2), np.ones((2, 4), np.float32))
    settings: dict[str | None, Setting] = {name: setting(name) for name in ("color", "shape")}
    assert groups_of(duplicates(store, settings, similarity=0.9)) == [["00001.png", "00000.png"]]
    assert "1 images are left out: they were not embedded under every condition" in caplog.text
    add(store, setting("cut"), ["other.png"], np.ones((1, 4), np.float32))
    with pytest.raises(StoreError, match="no image was embedded under all of 'color', 'cut'"):
        duplicates(store, {"color": setting("color"), "cut": setting("cut")})


def test_copies_of_a_file_are_told(store: Store) -> None:
    records = [record("a", 2, 2, "x"), record("b", 2, 2, "y"), record("c", 2, 2, "x"), record("d", 1, 1, "y")]
    store.add_images("photos", "/photos", records)
    store.add_vectors(setting(), ["a", "b", "c", "d"], np.ones((4, 3), np.float32))
    rows = duplicates(store, COLOR)
    assert [(row.image_id, row.same_file_as) for row in rows] == [("a", None), ("b", None), ("c", "a"), ("d", "b")]


@pytest.mark.parametrize("bound", [{"threshold": 1.0}, {"similarity": 1.0}, {"threshold": 0.5}])
def test_the_same_vector_is_alike_at_any_threshold_and_zero_to_nothing(store: Store, bound: dict[str, float]) -> None:
    one = np.random.default_rng(0).normal(size=6)
    vectors = np.stack([one, np.zeros(6), 3 * one, np.zeros(6), -one]).astype(np.float32)
    add(store, setting(), names(5), vectors)
    assert groups_of(duplicates(store, COLOR, **bound)) == [["00002.png", "00000.png"]]


@pytest.mark.parametrize("number", [1, 2])
def test_few_images_have_no_duplicates(tmp_path: Path, number: int) -> None:
    store = random_store(tmp_path / "db", number, "color")
    assert duplicates(store, COLOR, similarity=0.999) == []
    assert number > 1 or duplicates(store, COLOR) == []


def test_zero_vectors_alone_have_no_duplicates(store: Store) -> None:
    add(store, setting(), names(4), np.zeros((4, 3), np.float32))
    assert duplicates(store, COLOR) == []


def test_bounds_that_are_none_are_refused(tmp_path: Path) -> None:
    store = random_store(tmp_path / "db", 5, "color")
    for wrong in ({"threshold": 99.9}, {"threshold": -0.1}, {"threshold": float("nan")}, {"similarity": 2.0}):
        with pytest.raises(OptionError, match="it is a"):
            duplicates(store, COLOR, **wrong)
    with pytest.raises(OptionError, match="give one"):
        duplicates(store, COLOR, threshold=0.9, similarity=0.9)


def test_a_filter_narrows_what_is_compared(tmp_path: Path) -> None:
    store = random_store(tmp_path / "db", 30, "color")
    rows = duplicates(store, COLOR, similarity=0.0, only=Filter(where="width < 15"))
    assert {row.image_id for row in rows} <= set(store.image_ids_where("photos", "/photos", "width < 15"))
    assert rows


def test_the_command_prints_a_table_json_and_a_page(store: Store, tmp_path: Path) -> None:
    add(store, setting("color"), names(30), np.repeat(np.eye(3), 10, axis=0).astype(np.float32))
    page = tmp_path / "duplicates.html"
    done = run("duplicates", store.uri, "-c", "color", "--similarity", 0.99, "--html", page)
    assert done.returncode == 0, done.stderr
    assert "30 images in 3 groups" in done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["group", "image", "cosine", "of", "pairs", "pixels"]
    assert lines[1].split() == ["1", "00009.png", "19", "x", "10"]
    assert lines[2].split()[:2] == ["00000.png", "1.0000"]
    assert lines[9].split() == ["...", "and", "2", "more"]
    rows: list[dict[str, Any]] = json.loads(
        run("duplicates", store.uri, "-c", "color", "--similarity", 0.99, "--json").stdout
    )
    assert len(rows) == 30
    assert {"group", "image_id", "path", "similarity", "percentile", "size"} <= set(rows[0])
    assert rows[0]["size"] == [19, 10]
    text = page.read_text()
    assert not re.search(r"<script|https?://|src=\"(?!data:)", text)
    assert text.count("<article") == 3
    nothing = run("duplicates", store.uri, "-c", "color", "--where", "width = 10", "--html", page)
    assert nothing.returncode == 0, nothing.stderr
    assert "no images are alike" in nothing.stderr


def test_wrong_use_is_one_line(store: Store) -> None:
    add(store, setting("color"), names(3), np.eye(3, dtype=np.float32))
    base = ("duplicates", store.uri, "-c", "color")
    assert "give one of them" in error_of(run(*base, "--threshold", 0.9, "--similarity", 0.9), 2)
    assert "99.9 is not in the range" in error_of(run(*base, "--threshold", 99.9), 2)
    assert "no vectors under 'shape'" in error_of(run(*base, "-c", "shape"), 1)
    assert "is no filter" in error_of(run(*base, "--where", "width >"), 1)
