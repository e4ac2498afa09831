"""The map of a setting: computed once, stored, and true whatever becomes of the images."""

import logging
import shutil
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pytest
import torch
from collections_at_hand import add, names, random_store, setting
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import conditional_image_embeddings as cie
from conditional_image_embeddings.collection.image_map import ImageMap, scaled
from conditional_image_embeddings.collection.storage.store import Store
from conditional_image_embeddings.errors import ExtraError, OptionError, StoreError

CENTRES = np.random.default_rng(7).normal(size=(4, 16))


def clustered(number: int, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Vectors of four clusters, far apart, and which each is of."""
    generator = np.random.default_rng(seed)
    of = generator.integers(4, size=number)
    return (CENTRES[of] + generator.normal(scale=0.1, size=(number, 16))).astype(np.float32), of


def clustered_store(path: Path, number: int = 200) -> tuple[Store, NDArray[np.intp]]:
    store = Store(path)
    vectors, of = clustered(number)
    add(store, setting(), names(number), vectors)
    return store, of


def stored(path: Path) -> dict[tuple[str, str], tuple[float, float]]:
    rows = lancedb.connect(path).open_table("projections").to_arrow().to_pylist()
    return {(row["made_by"], row["image_id"]): (row["x"], row["y"]) for row in rows}


def pca(path: Path) -> ImageMap:
    return cie.open(path).map("color", method="pca")


def test_a_map_is_computed_once(tmp_path: Path) -> None:
    clustered_store(tmp_path)
    first, again = pca(tmp_path), pca(tmp_path)
    assert (first.computed_now, again.computed_now) == (True, False)
    assert first.made_by == again.made_by == "PCA"
    assert first.image_ids == again.image_ids == names(200)
    assert first.places.dtype == np.float32
    assert first.places.shape == (200, 2)
    assert np.abs(first.places).max() == 1
    np.testing.assert_array_equal(first.places, again.places)
    assert again.setting == setting()


def test_a_setting_has_its_own_map(tmp_path: Path) -> None:
    random_store(tmp_path, 40, "color", None)
    collection = cie.open(tmp_path)
    first = collection.map("color", method="pca")
    assert (first.places != collection.map(None, method="pca").places).any()
    np.testing.assert_array_equal(collection.map("Color", method="pca").places, first.places)
    assert collection.map(None, method="pca").computed_now is False


def test_places_do_not_depend_on_the_order_of_rows(tmp_path: Path) -> None:
    vectors, _ = clustered(300)
    image_ids, places = names(300), []
    for order in (np.arange(300), np.random.default_rng(1).permutation(300)):
        store = Store(tmp_path / str(len(places)))
        for part in np.array_split(order, 1 + len(places)):
            store.add_vectors(setting(), [image_ids[row] for row in part], vectors[part])
        places.append(pca(tmp_path / str(len(places))).places)
    np.testing.assert_array_equal(*places)


def test_umap_keeps_likes_together_whatever_the_order_of_rows(tmp_path: Path) -> None:
    pytest.importorskip("umap")
    vectors, of = clustered(60)
    places, threads = [], torch.get_num_threads()
    for order in (np.arange(60), np.arange(60)[::-1]):
        path = tmp_path / str(len(places))
        Store(path).add_vectors(setting(), [names(60)[row] for row in order], vectors[order])
        found = cie.open(path).map("color", show_progress_bar=False)
        assert (found.made_by, found.computed_now) == ("UMAP", True)
        places.append(found.places)
    assert torch.get_num_threads() == threads  # or models would give other last digits from then on
    np.testing.assert_array_equal(*places)
    assert nearest_cluster(places[0], places[0], of, without_itself=True) == of.tolist()
    assert not cie.open(path).map("color").computed_now
    assert cie.open(path).map("color", method="pca").made_by == "PCA"  # each is stored
    assert not cie.open(path).map("color", method="umap").computed_now
    assert {made_by for made_by, _ in stored(path)} == {"UMAP", "PCA"}


def nearest_cluster(places: Any, among: Any, of: NDArray[np.intp], *, without_itself: bool = False) -> list[int]:
    apart = np.linalg.norm(places[:, None] - among[None], axis=2)
    if without_itself:
        np.fill_diagonal(apart, np.inf)
    return list(of[apart.argmin(axis=1)])


def test_newcomers_lie_among_their_like_until_they_are_many(tmp_path: Path) -> None:
    store, of = clustered_store(tmp_path)
    first = pca(tmp_path)
    vectors, new_of = clustered(130, seed=1)
    new = [f"new{index:03}.png" for index in range(130)]
    store.add_vectors(setting(), new[:10], vectors[:10])
    grown = pca(tmp_path)
    assert not grown.computed_now
    assert grown.image_ids == names(200) + new[:10]
    np.testing.assert_array_equal(grown.places[:200], first.places)
    assert nearest_cluster(grown.places[200:], first.places, of) == new_of[:10].tolist()
    np.testing.assert_array_equal(pca(tmp_path).places, grown.places)
    # Their number counts, not in how many steps they came; nor do those that came decide where others lie.
    store.add_vectors(setting(), new[10:20], vectors[10:20])
    later = pca(tmp_path)
    assert not later.computed_now
    np.testing.assert_array_equal(later.places[:210], grown.places)
    store.add_vectors(setting(), new[20:], vectors[20:])
    assert pca(tmp_path).computed_now
    assert len(stored(tmp_path)) == 330


def test_what_came_lies_the_same_whenever_the_map_was_looked_at(tmp_path: Path) -> None:
    store, _ = clustered_store(tmp_path / "a")
    pca(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    vectors, new = clustered(20, seed=1)[0], [f"new{index:03}.png" for index in range(20)]
    for start in range(0, 20, 5):
        store.add_vectors(setting(), new[start : start + 5], vectors[start : start + 5])
        pca(tmp_path / "a")
    Store(tmp_path / "b").add_vectors(setting(), new, vectors)
    np.testing.assert_allclose(pca(tmp_path / "a").places, pca(tmp_path / "b").places, atol=1e-6)


def test_images_that_went_are_left_out(tmp_path: Path) -> None:
    store, _ = clustered_store(tmp_path)
    first = pca(tmp_path)
    store.forget("photos", "/photos", names(200)[:150])
    store.compact(store.settings())
    left = pca(tmp_path)
    assert not left.computed_now
    assert left.image_ids == names(200)[150:]
    np.testing.assert_array_equal(left.places, first.places[150:])
    assert len(stored(tmp_path)) == 50


def test_rows_that_another_program_removed_are_left_out(tmp_path: Path) -> None:
    clustered_store(tmp_path)
    pca(tmp_path)
    lancedb.connect(tmp_path).open_table(setting().name).delete("image_id < '00150.png'")
    assert pca(tmp_path).image_ids == names(200)[150:]


@pytest.mark.parametrize("forget", [True, False])
def test_an_image_that_was_embedded_anew_moves(forget: bool, tmp_path: Path) -> None:
    store, of = clustered_store(tmp_path)
    first = pca(tmp_path)
    other = next(row for row in range(200) if of[row] != of[0])
    vector = clustered(200)[0][[other]]
    if forget:
        store.forget("photos", "/photos", names(1))
    else:
        store.remove(setting(), names(1))
    store.add_vectors(setting(), names(1), vector)
    moved = pca(tmp_path)
    assert not moved.computed_now
    assert nearest_cluster(moved.places[:1], first.places[1:], of[1:]) == [of[other]]
    np.testing.assert_array_equal(moved.places[1:], first.places[1:])


def test_a_setting_that_was_written_anew_loses_its_maps_and_no_others(tmp_path: Path) -> None:
    store = random_store(tmp_path, 40, "color", None)
    pca(tmp_path)
    cie.open(tmp_path).map(None, method="pca")
    image_ids, vectors = store.read(setting())
    store.replace_vectors(setting(), iter([(image_ids, vectors[::-1])]))
    assert pca(tmp_path).computed_now
    assert not cie.open(tmp_path).map(None, method="pca").computed_now


def test_what_changed_while_a_map_was_made_is_not_stored_under_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _ = clustered_store(tmp_path)

    def slow(values: Any, made_by: str, **options: Any) -> Any:
        store.remove(setting(), names(1))
        return np.zeros((len(values), 2), np.float32)

    with monkeypatch.context() as patched:
        patched.setattr("conditional_image_embeddings.collection.image_map.plane", slow)
        assert pca(tmp_path).computed_now
    assert pca(tmp_path).computed_now
    assert pca(tmp_path).image_ids == names(200)[1:]


def test_a_database_that_another_job_writes_to_has_a_map_all_the_same(tmp_path: Path) -> None:
    store, _ = clustered_store(tmp_path)
    with store.writing():
        first = pca(tmp_path)
        assert first.computed_now
        assert pca(tmp_path).computed_now  # it is not waited for
    np.testing.assert_array_equal(pca(tmp_path).places, first.places)
    store.add_vectors(setting(), ["new.png"], np.ones((1, 16), np.float32))
    with store.writing():
        assert pca(tmp_path).image_ids == [*names(200), "new.png"]
    assert len(stored(tmp_path)) == 200


def test_a_database_that_cannot_be_written_has_a_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clustered_store(tmp_path)

    def refused(*_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("conditional_image_embeddings.collection.storage.database.FileLock.acquire", refused)
    monkeypatch.setattr("os.access", lambda *_: False)
    assert pca(tmp_path).computed_now
    assert pca(tmp_path).computed_now
    assert not (tmp_path / "projections.lance").exists()


def damage_files(path: Path) -> None:
    for file in (path / "projections.lance" / "data").iterdir():
        file.write_bytes(b"nothing")


def damage_manifest(path: Path) -> None:
    for file in (path / "projections.lance" / "_versions").iterdir():
        file.write_bytes(b"nothing")


def another_programs(path: Path) -> None:
    lancedb.connect(path).create_table("projections", [{"name": "theirs"}], mode="overwrite")


@pytest.mark.parametrize(
    ("damage", "mended"), [(damage_files, True), (damage_manifest, False), (another_programs, False)]
)
def test_a_damaged_table_costs_time_only(
    damage: Any, mended: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store, _ = clustered_store(tmp_path)
    first = pca(tmp_path)
    damage(tmp_path)
    with caplog.at_level(logging.WARNING):
        again = pca(tmp_path)
    assert again.computed_now
    np.testing.assert_array_equal(again.places, first.places)
    assert "projections" in caplog.text
    assert f"remove {tmp_path}/projections.lance: the next map writes it anew" in caplog.text
    assert pca(tmp_path).computed_now is not mended
    damage(tmp_path)
    store.forget("photos", "/photos", names(1))  # jobs go on
    store.compact(store.settings())
    assert pca(tmp_path).image_ids == names(200)[1:]
    if damage is another_programs:
        assert lancedb.connect(tmp_path).open_table("projections").to_arrow().to_pylist() == [{"name": "theirs"}]


# Few, equal and impossible vectors.


@pytest.mark.parametrize("number", [1, 2, 3, 15])
def test_few_images_are_placed_by_principal_components(number: int, tmp_path: Path) -> None:
    random_store(tmp_path, number, "color")
    found = cie.open(tmp_path).map("color")
    assert (found.made_by, found.places.shape) == ("PCA", (number, 2))
    assert np.isfinite(found.places).all()
    assert len(np.unique(found.places, axis=0)) == number
    assert found.inside([(-1.1, -1.1), (1.1, -1.1), (1.1, 1.1), (-1.1, 1.1)]) == names(number)


@pytest.mark.parametrize("vector", [np.ones(8), np.zeros(8)], ids=["equal", "zero"])
@pytest.mark.parametrize("method", ["pca", None])
def test_equal_vectors_have_one_place(vector: Any, method: Any, tmp_path: Path) -> None:
    store = Store(tmp_path)
    add(store, setting(), names(40), np.tile(vector, (40, 1)).astype(np.float32))
    found = cie.open(tmp_path).map("color", method=method)
    assert np.ptp(found.places, axis=0).max() < 1e-6
    add(store, setting(), ["new.png"], vector[None].astype(np.float32))
    assert np.isfinite(cie.open(tmp_path).map("color", method=method).places).all()


def test_zero_vectors_among_others_have_places(tmp_path: Path) -> None:
    vectors, _ = clustered(50)
    vectors[::10] = 0
    store = Store(tmp_path)
    add(store, setting(), names(50), vectors)
    found = pca(tmp_path)
    assert np.isfinite(found.places).all()
    add(store, setting(), ["new.png"], np.zeros((1, 16), np.float32))
    assert np.isfinite(pca(tmp_path).places).all()


def test_vectors_that_are_not_finite_are_named(tmp_path: Path) -> None:
    vectors, _ = clustered(50)
    vectors[3, 2] = np.inf  # LanceDB takes no NaN
    add(Store(tmp_path), setting(), names(50), vectors)
    with pytest.raises(StoreError, match=r"1 vectors of .* hold NaN or infinity \(00003.png\)"):
        pca(tmp_path)


def test_what_cannot_be_asked_for_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clustered_store(tmp_path)
    collection = cie.open(tmp_path)
    with pytest.raises(OptionError, match="method is 'tsne'; it is 'umap', 'pca' or None"):
        collection.map("color", method="tsne")
    with pytest.raises(StoreError, match="no vectors under 'shape'"):
        collection.map("shape")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ExtraError, match=r"conditional-image-embeddings\[umap\]"):
        collection.map("color", method="umap")


# The scale.


@given(st.lists(st.tuples(*[st.floats(-1e3, 1e3, width=32)] * 2), min_size=1, max_size=50))
def test_places_fill_a_square_and_keep_their_shape(points: list[tuple[float, float]]) -> None:
    places = np.array(points, np.float32)
    found = scaled(places)
    assert np.abs(found).max() <= 1
    free = np.abs(found).max(axis=1) < 1
    if np.ptp(places) < 1e-3 or free.sum() < 2:
        return
    before, after = (np.ptp(each[free], axis=0).astype(np.float64) for each in (places, found))
    assert before[0] * after[1] == pytest.approx(before[1] * after[0], abs=1e-4 * before.max())


def test_one_outlier_does_not_shrink_the_others() -> None:
    places = np.random.default_rng(0).uniform(-1, 1, (500, 2)).astype(np.float32)
    alone = scaled(places)
    assert np.abs(alone).max() == 1
    places[7] = 1e4, 0
    found = scaled(places)
    assert found[7, 0] == 1
    assert np.abs(np.delete(found, 7, axis=0)).max() > 0.4


# Polygons.

coordinate = st.one_of(st.floats(-1.2, 1.2), st.sampled_from([-1.0, -0.5, 0.0, 0.5, 1.0]))


def slowly_inside(places: NDArray[np.float32], polygon: list[tuple[float, float]]) -> list[int]:
    """The even-odd rule, point by point: W. Randolph Franklin's pnpoly."""
    found = []
    for row, (x, y) in enumerate(places.astype(float).tolist()):
        odd = False
        for (x0, y0), (x1, y1) in zip(polygon[-1:] + polygon[:-1], polygon, strict=True):
            if (y0 > y) != (y1 > y) and x < (y - y0) / (y1 - y0) * (x1 - x0) + x0:
                odd = not odd
        if odd:
            found.append(row)
    return found


@given(
    polygon=st.lists(st.tuples(coordinate, coordinate), min_size=3, max_size=12),
    points=st.lists(st.tuples(coordinate, coordinate), min_size=1, max_size=30),
)
def test_inside_is_the_even_odd_rule(polygon: list[tuple[float, float]], points: list[tuple[float, float]]) -> None:
    places = np.array(points, np.float32)
    found = ImageMap(setting(), names(len(points)), places, "PCA", computed_now=True)
    assert found.inside(polygon) == [names(len(points))[row] for row in slowly_inside(places, polygon)]


@pytest.mark.parametrize(
    "polygon",
    [
        [], [(0, 0), (1, 1)], [(0, 0, 0)] * 3, "abc", None, [(0, 0), (1, 1), ("x", 2)], [(0, 0), (1,), (2, 2)],
        [(0, 0), (1, 1), (np.nan, 0)], [(0, 0), (1, 1), (np.inf, 0)], [(0, 0)] * 10_001, {"x": 1},
    ],
    ids=lambda polygon: str(polygon)[:20],
)  # fmt: skip
def test_what_is_no_polygon_is_refused_in_one_line(polygon: Any) -> None:
    found = ImageMap(setting(), names(1), np.zeros((1, 2), np.float32), "PCA", computed_now=True)
    with pytest.raises(OptionError, match="polygon") as caught:
        found.inside(polygon)
    assert "\n" not in str(caught.value)
