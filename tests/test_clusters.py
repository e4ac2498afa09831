"""Groups under a condition: the right ones, whatever order the rows are in, with names that tell them apart."""

import csv
import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from collections_at_hand import Cars, add, names, random_store, setting
from commands import cie as run
from commands import error_of
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import adjusted_mutual_info_score

import conditional_image_embeddings as cie
from conditional_image_embeddings.collection.filters import Filter
from conditional_image_embeddings.collection.grouping import centres, cluster_names
from conditional_image_embeddings.collection.grouping.cluster_names import telling_words
from conditional_image_embeddings.collection.grouping.clusters import Cluster, clusters
from conditional_image_embeddings.collection.storage.store import Store
from conditional_image_embeddings.errors import OptionError, StoreError

pytestmark = pytest.mark.usefixtures("checked_once")

ASPECTS = ["car color", "background color", "car model", "viewpoint", "paint pattern"]


@pytest.fixture(scope="module")
def cars(tmp_path_factory: pytest.TempPathFactory) -> Cars:
    return Cars(tmp_path_factory.mktemp("cars"), 120, *ASPECTS)


def agreement(groups: list[Cluster], labels: dict[str, str]) -> float:
    pairs = [(labels[image_id], group.cluster) for group in groups for image_id in group.images]
    return float(adjusted_mutual_info_score(*zip(*pairs, strict=True)))


def test_groups_of_cars_are_their_colors_and_are_called_so(cars: Cars) -> None:
    labels = cars.labels["car color"]
    groups = cars.collection.cluster("Car  Color", 11)
    assert sorted(image_id for group in groups for image_id in group.images) == sorted(labels)
    assert agreement(groups, labels) >= 0.95
    commonest = [Counter(labels[image_id] for image_id in group.images).most_common(1)[0][0] for group in groups]
    assert sum(group.name == color for group, color in zip(groups, commonest, strict=True)) >= 10
    assert [group.size for group in groups] == sorted((len(group.images) for group in groups), reverse=True)
    assert [group.cluster for group in groups] == list(range(1, 12))


@pytest.mark.parametrize("condition", ASPECTS)
def test_the_number_of_groups_is_found(cars: Cars, condition: str) -> None:
    labels = cars.labels[condition]
    groups = cars.collection.cluster(condition)
    assert abs(len(groups) - len(set(labels.values()))) <= 1
    assert agreement(groups, labels) >= 0.85


def bundles(store: Store, number: int = 60, kinds: int = 4, *, seed: int = 0, order: int = 0) -> list[int]:
    """Images in so many bundles, stored in some order, of various lengths; the kind of each."""
    generator = np.random.default_rng(seed)
    kind = generator.integers(kinds, size=number)
    vectors = np.eye(8)[kind] + 0.05 * generator.normal(size=(number, 8))
    vectors *= generator.uniform(0.1, 10, (number, 1))
    words = [[(f"kind {each}", 0.9), ("thing", 0.1)] for each in kind]
    rows = np.random.default_rng(order).permutation(number)
    add(
        store,
        setting(),
        [names(number)[row] for row in rows],
        vectors[rows].astype(np.float32),
        [words[row] for row in rows],
    )
    return kind.tolist()


@pytest.mark.parametrize("n", [None, 1, 4, 7])
def test_the_order_of_rows_changes_nothing(tmp_path: Path, n: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does it where the centres are fitted on a part of the images."""
    monkeypatch.setattr(centres, "SAMPLE", 30)
    monkeypatch.setattr(centres, "SAMPLE_PER_GROUP", 1)
    found = []
    for order in range(3):
        store = Store(tmp_path / str(order))
        bundles(store, order=order)
        found.append(clusters(store, setting(), n))
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == (n or 4)
    assert sum(group.size for group in found[0]) == 60


def test_images_come_nearest_to_the_centre_first_and_belong_to_the_nearest(store: Store) -> None:
    kind = bundles(store, 200)
    groups = clusters(store, setting(), 4)
    ids, vectors = store.read(setting())
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    row_of = {image_id: row for row, image_id in enumerate(ids)}
    means = np.stack([unit[[row_of[image_id] for image_id in group.images]].mean(axis=0) for group in groups])
    for number, group in enumerate(groups):
        rows = [row_of[image_id] for image_id in group.images]
        assert len({kind[row] for row in rows}) == 1
        distances = np.linalg.norm(unit[rows, None] - means, axis=2)
        assert (distances.argmin(axis=1) == number).all()
        assert (np.diff(distances[:, number]) > -1e-6).all()
        assert group.name == f"kind {kind[rows[0]]}"
        assert [each.word for each in group.words] == [group.name, "thing"]
        np.testing.assert_allclose([each.fraction for each in group.words], [0.9, 0.1], atol=1e-6)


def test_a_filter_narrows_what_is_grouped(store: Store) -> None:
    random_store(Path(store.uri), 40, "color")
    groups = clusters(Store(store.uri), setting(), 2, only=Filter(where="width >= 20"))
    assert sum(group.size for group in groups) == 30
    with pytest.raises(OptionError, match=r"no image of .* fits width > 1000"):
        clusters(Store(store.uri), setting(), only=Filter(where="width > 1000"))


SPECIAL = {
    "identical": (np.ones((9, 4)), None, [9]),
    "identical but for rounding": (np.ones((9, 4)) + 1e-7 * np.arange(36).reshape(9, 4), 3, [9]),
    "two kinds only": (np.repeat(np.eye(4)[:2], [5, 3], axis=0), 6, [5, 3]),
    "two kinds, not said": (np.repeat(np.eye(4)[:2], [5, 3], axis=0), None, [5, 3]),
    "zeros": (np.zeros((6, 4)), None, [6]),
    "zeros and others": (np.repeat([np.zeros(4), np.eye(4)[0]], [2, 4], axis=0), 2, [4, 2]),
    "one image": (np.ones((1, 4)), None, [1]),
    "two images": (np.eye(4)[:2], None, [2]),
    "each its own": (np.eye(4), 4, [1, 1, 1, 1]),
    "one group": (np.eye(4), 1, [4]),
}


@pytest.mark.parametrize("case", SPECIAL)
def test_special_vectors_are_grouped_right(store: Store, case: str, caplog: pytest.LogCaptureFixture) -> None:
    vectors, n, sizes = SPECIAL[case]
    add(store, setting(), names(len(vectors)), vectors.astype(np.float32))
    groups = clusters(store, setting(), n)
    assert [group.size for group in groups] == sizes
    assert [group.name for group in groups] == [f"group {number}" for number in range(1, len(sizes) + 1)]
    assert all(not group.words for group in groups)
    warned = [record.getMessage() for record in caplog.records]
    expected = f"{len(sizes)} groups, not {n}: the images have no more different vectors"
    assert warned == ([expected] if n and n != len(sizes) else [])


def test_what_cannot_be_grouped_is_told(store: Store) -> None:
    add(store, setting(), names(3), np.eye(4)[:3].astype(np.float32))
    with pytest.raises(OptionError, match="n is 4, but there are 3 images"):
        clusters(store, setting(), 4)
    with pytest.raises(OptionError, match="n is 0"):
        clusters(store, setting(), 0)
    broken = np.eye(4)[:3].astype(np.float32)
    broken[1, 2] = np.inf
    add(store, setting("broken"), names(3), broken)
    with pytest.raises(StoreError, match=r"1 vectors of .* hold NaN or infinity \(00001.png\)"):
        clusters(store, setting("broken"))
    with pytest.raises(StoreError, match="no vectors under 'shape'"):
        cie.open(store.uri).cluster("shape")


def named(*groups: dict[str, float]) -> list[str]:
    return cluster_names.names(groups, telling_words(groups, [10] * len(groups)))


def test_a_name_is_what_the_others_do_not_say() -> None:
    assert named({"car": 6, "red": 4}, {"car": 6, "blue": 4}, {"car": 6, "green": 4})[0].startswith("red")
    assert named({"car": 10}) == ["car"]  # there are no others


def test_groups_of_one_name_get_a_further_word_or_a_number() -> None:
    assert named({"red": 9, "dark": 1}, {"red": 9, "bright": 1}, {"blue": 10}) == ["red, dark", "red, bright", "blue"]
    assert named({"red": 10}, {"red": 10}, {"red": 10}) == ["red", "red (2)", "red (3)"]
    assert named({}, {"red": 10}, {}) == ["group 1", "red", "group 3"]
    assert named({"": 10} | {"red": 0}, {"red": 10})[1] == "red"


@given(
    st.lists(
        st.dictionaries(st.sampled_from(["red", "blue", "a", "(nothing)"]), st.floats(0, 10)), min_size=1, max_size=6
    )
)
def test_no_two_names_are_the_same(groups: list[dict[str, float]]) -> None:
    found = named(*groups)
    assert len(found) == len(set(found)) == len(groups)
    assert all(found)


def test_a_word_of_one_image_names_no_group() -> None:
    assert named({"red": 9, "odd": 0.9}, {"blue": 9}, {"green": 9})[0] == "red"


def test_groups_without_a_condition_and_of_refined_vectors_have_their_words(store: Store) -> None:
    kind = bundles(store)
    ids, vectors = store.read(setting())
    words = [store.words(setting())[image_id] for image_id in ids]
    add(store, setting(None), ids, vectors, words)
    with cie.open(store.uri) as collection:
        assert sorted(group.name for group in collection.cluster(None, 4)) == sorted({f"kind {each}" for each in kind})
    assert run("refine", store.uri).returncode == 0
    (refined,) = cie.open(store.uri).store.settings("*color*refined*")
    groups = clusters(Store(store.uri), refined, 4)
    assert sorted(group.name for group in groups) == sorted({f"kind {each}" for each in kind})


def test_the_command_prints_a_table_json_a_page_and_labels(store: Store, tmp_path: Path) -> None:
    kind = bundles(store)
    table = run("cluster", store.uri, "-c", "color", "-n", 4)
    assert table.returncode == 0, table.stderr
    lines = table.stdout.splitlines()
    assert lines[0].split() == ["group", "images", "share", "words", "nearest", "to", "its", "centre"]
    assert len(lines) == 5
    page, labels = tmp_path / "groups.html", tmp_path / "labels.csv"
    done = run("cluster", store.uri, "-c", "color", "--json", "--html", page, "-o", labels)
    rows = json.loads(done.stdout)
    assert [set(row) for row in rows] == [{"cluster", "name", "size", "words", "images"}] * 4
    assert set(rows[0]["words"][0]) == {"word", "fraction"}
    assert [row["size"] for row in rows] == [len(row["images"]) for row in rows]
    with labels.open(newline="") as file:
        read = list(csv.DictReader(file))
    assert [row["image_id"] for row in read] == names(60)
    assert [row["name"] for row in read] == [f"kind {each}" for each in kind]
    text = page.read_text()
    assert not re.search(r"<script|https?://|src=\"(?!data:)", text)
    assert all(f'id="group-{number}"' in text for number in range(1, 5))


def test_what_is_typed_or_said_is_neither_markup_nor_html(store: Store, tmp_path: Path) -> None:
    word, image_id, condition = "[red]<b>", "<i>'\"[bold].png", "<u>[blue]"
    add(store, setting(condition), [image_id, "b.png"], np.eye(2, dtype=np.float32), [[(word, 1.0)]] * 2)
    page = tmp_path / "page.html"
    done = run("cluster", store.uri, "-c", condition, "-n", 1, "--html", page)
    assert done.returncode == 0, done.stderr
    assert word in done.stdout
    assert image_id in done.stdout
    text = page.read_text()
    assert "<i>" not in text
    assert "<u>" not in text
    assert "[red]&lt;b&gt;" in text


def test_wrong_use_is_one_line(store: Store, tmp_path: Path) -> None:
    bundles(store)
    assert "0 is not in the range" in error_of(run("cluster", store.uri, "-c", "color", "-n", 0), 2)
    assert "there is no directory" in error_of(run("cluster", store.uri, "--html", tmp_path / "no" / "a.html"), 2)
    assert "n is 61, but there are 60 images" in error_of(run("cluster", store.uri, "-c", "color", "-n", 61), 1)
    assert "no vectors under 'shape'" in error_of(run("cluster", store.uri, "-c", "shape"), 1)
