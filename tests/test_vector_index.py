"""Neighbours by an index are those that comparing all finds, whatever happened to the vectors since it was built."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from conditional_image_embeddings.cli import main
from conditional_image_embeddings.collection.searching.neighbours import build_indexes, nearest
from conditional_image_embeddings.collection.storage import vector_index
from conditional_image_embeddings.collection.storage.store import Store
from conditional_image_embeddings.errors import OptionError, StoreError
from conditional_image_embeddings.methods.settings import Setting
from conditional_image_embeddings.vectors import unit

SETTING = Setting(dataset="birds", source="/birds", method="dior", model="m", condition="species")
ROWS, DIMENSIONS, K = 12_000, 32, 10
RECALL = 0.95


def clustered(rows: int, *, dimensions: int = DIMENSIONS, seed: int = 0) -> np.ndarray:
    """Of fifty groups that are the same for every seed, around a mean that is not zero, of many lengths."""
    centres = np.random.default_rng(99).standard_normal((50, dimensions))
    rng = np.random.default_rng(seed)
    values = 1 + centres[rng.integers(0, 50, rows)] + 0.5 * rng.standard_normal((rows, dimensions))
    return (values * rng.uniform(0.1, 50, (rows, 1))).astype(np.float32)


def named(rows: int, prefix: str = "") -> list[str]:
    return [f"{prefix}{row:05}'s.png" for row in range(rows)]


def filled(directory: Path, vectors: np.ndarray, image_ids: list[str] | None = None) -> Store:
    store = Store(directory)
    store.replace_vectors(SETTING, iter([(image_ids or named(len(vectors)), vectors)]))
    return store


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("built") / "db"
    assert filled(directory, clustered(ROWS)).build_index(SETTING).action == "built"
    return directory


@pytest.fixture
def indexed(built: Path, tmp_path: Path) -> Store:
    """A database whose setting has an index that knows all of its vectors."""
    return Store(shutil.copytree(built, tmp_path / "db"))


def brute_force(store: Store, queries: np.ndarray, k: int = K) -> list[tuple[list[str], np.ndarray]]:
    """For each query the nearest images, ties by id, and their cosines."""
    image_ids, vectors = store.read(SETTING)  # sorted by id
    with np.errstate(invalid="ignore"):
        cosines = np.nan_to_num(unit(queries, np.float64) @ unit(vectors.astype(np.float64), np.float64).T)
    orders = np.argsort(-np.round(cosines, 6), axis=1, kind="stable")[:, :k]
    return [([image_ids[row] for row in order], every[order]) for every, order in zip(cosines, orders, strict=True)]


def check_exact(store: Store, queries: np.ndarray, k: int = K) -> None:
    for query, (expected_ids, expected) in zip(queries, brute_force(store, queries, k), strict=True):
        found, cosines = nearest(store, SETTING, query, k)
        assert found == expected_ids
        assert cosines.dtype == np.float32
        np.testing.assert_allclose(cosines, expected, atol=1e-5)


def check_recall(store: Store, queries: np.ndarray | None = None) -> None:
    """Nearly all of the neighbours are found, best first, and no cosine is an approximation."""
    queries = clustered(40, seed=7) if queries is None else queries
    every = brute_force(store, queries, ROWS)
    shares = []
    for query, (image_ids, similar) in zip(queries, every, strict=True):
        found, cosines = nearest(store, SETTING, query, K)
        assert len(set(found)) == K
        known = dict(zip(image_ids, similar, strict=True))
        np.testing.assert_allclose(cosines, [known[each] for each in found], atol=1e-5)
        assert (np.diff(cosines) <= 0).all()
        shares.append(len(set(found) & set(image_ids[:K])) / K)
    assert np.mean(shares) >= RECALL


@pytest.mark.parametrize("rows", [1, 2, 255, 300])
def test_few_vectors_are_compared_one_by_one(rows: int, tmp_path: Path) -> None:
    store = filled(tmp_path, clustered(rows))
    report = store.build_index(SETTING)
    assert (report.action, report.kind, report.rows, report.size_bytes) == ("exact", None, rows, 0)
    for k in (1, K, 10_000_000):
        check_exact(store, clustered(5, seed=3), k)
    assert nearest(store, SETTING, clustered(1)[0], 0)[0] == []
    store.remove(SETTING, named(rows))
    assert nearest(store, SETTING, clustered(1)[0], K)[0] == []


@pytest.mark.parametrize("dimensions", [20, 256])  # each kind of index: 20 is no multiple of eight
def test_an_index_finds_nearly_all_neighbours(dimensions: int, tmp_path: Path) -> None:
    store = filled(tmp_path, clustered(vector_index.MIN_ROWS, dimensions=dimensions))
    report = store.build_index(SETTING)
    assert (report.action, report.rows) == ("built", vector_index.MIN_ROWS)
    assert report.kind == ("IVF_SQ" if dimensions == 20 else "IVF_RQ")
    assert report.size_bytes
    check_recall(store, clustered(20, dimensions=dimensions, seed=7))
    assert store.build_index(SETTING).action == "current"


def test_vectors_that_came_after_the_index_are_found(indexed: Store) -> None:
    queries = clustered(3000, seed=5)
    store = indexed
    store.add_vectors(SETTING, named(3000, "new"), queries * 3)
    for when in ("before", "after"):
        for row in range(0, 3000, 300):
            found, cosines = nearest(store, SETTING, queries[row], K)
            assert found[0] == named(3000, "new")[row], f"{when} the update"
            assert cosines[0] == pytest.approx(1, abs=1e-5)
        check_recall(store)
        if when == "before":
            assert store.build_index(SETTING).action == "updated"
            assert store.build_index(SETTING).action == "current"


def test_a_few_new_vectors_wait_for_more(indexed: Store) -> None:
    indexed.add_vectors(SETTING, ["new"], clustered(1, seed=5))
    assert indexed.build_index(SETTING).action == "current"
    assert nearest(indexed, SETTING, clustered(1, seed=5)[0], 1)[0] == ["new"]


def test_removed_vectors_are_gone_and_the_next_ones_take_their_place(indexed: Store) -> None:
    for query in clustered(5, seed=8):
        before = nearest(indexed, SETTING, query, K)[0]
        indexed.remove(SETTING, before)
        assert not set(before) & set(nearest(indexed, SETTING, query, K)[0])
    check_recall(indexed)
    indexed.remove(SETTING, named(ROWS)[100:])
    check_exact(indexed, clustered(5, seed=8))
    assert indexed.build_index(SETTING).action == "exact"


def test_replaced_vectors_are_those_that_are_searched(indexed: Store) -> None:
    indexed.replace_vectors(SETTING, iter([(named(ROWS), clustered(ROWS, seed=77))]))
    check_recall(indexed)
    assert indexed.build_index(SETTING).action == "built"
    check_recall(indexed)


def test_an_image_that_has_a_vector_is_not_stored_again(indexed: Store) -> None:
    for _ in range(2):
        indexed.add_vectors(SETTING, [*named(ROWS)[:50], "new"], clustered(51, seed=1))
    assert indexed.count(SETTING) == ROWS + 1
    ids, vectors = indexed.vectors_of(SETTING, [named(ROWS)[7], "new", "none"])
    assert ids == [named(ROWS)[7], "new"]
    np.testing.assert_array_equal(vectors, [clustered(ROWS)[7], clustered(51, seed=1)[50]])


def test_words_and_compaction_leave_an_index_true(indexed: Store) -> None:
    for start in range(0, 4400, 200):
        indexed.add_words(SETTING, named(ROWS)[start : start + 200], [[("wren", 0.9)]] * 200)
    check_recall(indexed)
    indexed.compact([SETTING])
    check_recall(indexed)
    assert sum(words is not None for words in indexed.words(SETTING).values()) == 4400


def test_an_index_is_built_anew_where_the_collection_outgrew_it(indexed: Store) -> None:
    indexed.add_vectors(SETTING, named(ROWS, "new"), clustered(ROWS, seed=6))
    assert indexed.build_index(SETTING).action == "built"
    assert indexed.build_index(SETTING).action == "current"
    check_recall(indexed)


def test_an_index_in_too_many_parts_is_built_anew(indexed: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_index, "MIN_UPDATE", 10)
    monkeypatch.setattr(vector_index, "MAX_PARTS", 3)
    actions = []
    for number in range(4):
        indexed.add_vectors(SETTING, named(20, f"{number}-"), clustered(20, seed=number))
        actions.append(indexed.build_index(SETTING).action)
    assert actions == ["updated", "updated", "updated", "built"]
    check_recall(indexed)


def test_an_index_that_a_killed_build_left_beside_another_is_cleared_away(indexed: Store) -> None:
    table = indexed._table_to_read(SETTING)
    table.create_index("vector", config=vector_index.IvfSq(distance_type="cosine"), name="vector_11000")
    check_recall(indexed)
    assert indexed.build_index(SETTING).action == "built"
    assert [index.name for index in table.list_indices() if index.columns == ["vector"]] == [f"vector_{ROWS}"]


@pytest.mark.parametrize("rows", [200, ROWS])
def test_vectors_without_a_direction_are_similar_to_nothing(rows: int, tmp_path: Path) -> None:
    vectors = -np.abs(clustered(rows)) - 1
    vectors[3:5] = 0
    store = filled(tmp_path, vectors)
    store.build_index(SETTING)
    up = np.ones(DIMENSIONS, np.float32)  # against which everything else points
    found, cosines = nearest(store, SETTING, up, 5)
    assert found[:2] == named(5)[3:]
    assert cosines[:2].tolist() == [0, 0]
    assert cosines[2] < 0
    found, cosines = nearest(store, SETTING, -up, 5)
    assert not set(found) & set(named(5)[3:])
    assert (cosines > 0).all()
    found, cosines = nearest(store, SETTING, 0 * up, 5)
    assert found == named(5)
    assert cosines.tolist() == [0] * 5


@pytest.mark.parametrize("rows", [200, ROWS])
def test_equals_stand_in_the_order_of_their_ids(rows: int, tmp_path: Path) -> None:
    vectors = clustered(rows)
    copies = np.random.default_rng(1).permutation(rows)[:70]
    vectors[copies] = vectors[copies[0]]
    store = filled(tmp_path, vectors)
    store.build_index(SETTING)
    found, _ = nearest(store, SETTING, vectors[copies[0]], K)
    assert found == [named(rows)[row] for row in sorted(copies)][:K]


@pytest.mark.parametrize("asked", [1, 500, 3000, ROWS])
def test_only_the_images_asked_for_are_searched(asked: int, indexed: Store) -> None:
    wanted = set(np.random.default_rng(asked).permutation(named(ROWS))[:asked].tolist())
    queries = clustered(5, seed=9)
    for query, (image_ids, _) in zip(queries, brute_force(indexed, queries, ROWS), strict=True):
        expected = [each for each in image_ids if each in wanted][:K]
        found, _ = nearest(indexed, SETTING, query, K, where_ids=[*sorted(wanted), "not there"])
        assert len(found) == len(expected)
        assert len(set(found) & set(expected)) >= RECALL * len(expected) - 1
        assert set(found) <= wanted
    assert nearest(indexed, SETTING, query, K, where_ids=[])[0] == []


def test_images_far_from_the_query_are_found_where_only_they_may_be(indexed: Store) -> None:
    query = clustered(1, seed=9)[0]
    far = brute_force(indexed, query[None], ROWS)[0][0][-2000:]
    assert nearest(indexed, SETTING, query, K, where_ids=far)[0] == far[:K]


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        (np.full(DIMENSIONS, np.nan), "NaN or infinity"),
        (np.full(DIMENSIONS, np.inf), "NaN or infinity"),
        (np.ones(DIMENSIONS + 1), "no vectors of 32 dimensions"),
        (np.ones((2, DIMENSIONS)), "no vectors of 32 dimensions"),
    ],
)
@pytest.mark.parametrize("where_ids", [None, named(3)])
def test_a_query_that_does_not_fit_is_refused(
    query: np.ndarray, reason: str, where_ids: list[str] | None, indexed: Store
) -> None:
    with pytest.raises(OptionError, match=reason):
        nearest(indexed, SETTING, query, K, where_ids=where_ids)


def test_settings_that_are_not_there_or_held_by_a_writer_are_named(indexed: Store, tmp_path: Path) -> None:
    missing = replace(SETTING, condition="size")
    with pytest.raises(StoreError, match="has no setting"):
        nearest(indexed, missing, np.ones(DIMENSIONS), K)
    reports = build_indexes(indexed, [missing, SETTING])
    assert next(reports).action == "current"
    with pytest.raises(StoreError, match="has no setting"):
        next(reports)
    indexed.add_vectors(SETTING, named(2000, "new"), clustered(2000, seed=2))
    with indexed.writing(), pytest.raises(StoreError, match="another job is writing"):
        Store(indexed.uri).build_index(SETTING)


WRITERS = {
    "builds its index": "store.build_index(SETTING)",
    "adds vectors": "[store.add_vectors(SETTING, named(50, f'{n}-'), clustered(50, seed=n)) for n in range(15)]",
    "replaces all": "[store.replace_vectors(SETTING, iter([(named(ROWS), clustered(ROWS))])) for n in range(3)]",
    "compacts": "[(store.add_vectors(SETTING, named(5, f'{n}-'), clustered(5, seed=n)), store.compact([SETTING])) "
    "for n in range(15)]",
}  # fmt: skip


@pytest.mark.parametrize("writer", WRITERS)
def test_a_search_is_right_while_another_process(writer: str, tmp_path: Path) -> None:
    store = filled(tmp_path, clustered(ROWS))
    if writer != "builds its index":
        store.build_index(SETTING)
    # It ends at once: while Python ends by itself, Lance's threads may still hold what they were given, and abort it.
    code = (
        f"import os; from test_vector_index import *; store = Store({str(tmp_path)!r}); {WRITERS[writer]}; os._exit(0)"
    )
    queries = clustered(ROWS)
    with subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parent, stderr=subprocess.PIPE) as process:
        searched = 0
        while process.poll() is None or searched < 10:
            row = searched * 37 % ROWS
            found, cosines = nearest(store, SETTING, queries[row], K)
            assert found[0] == named(ROWS)[row]
            assert cosines[0] == pytest.approx(1, abs=1e-5)
            assert len(found) == K
            searched += 1
        assert process.returncode == 0, process.stderr.read().decode()
    check_recall(store)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    def invoke(*arguments: str, status: int = 0) -> str:
        result = CliRunner().invoke(main, ["index", *arguments])
        assert result.exit_code == status, result.output
        return result.stdout if status == 0 else result.stderr

    return invoke


def test_the_command_says_what_it_did_to_each_setting(indexed: Store, run: Callable[..., str]) -> None:
    small = replace(SETTING, condition="size")
    indexed.add_vectors(small, named(3), clustered(3))
    indexed.add_vectors(SETTING, named(2000, "new"), clustered(2000, seed=2))
    lines = run(indexed.uri).splitlines()
    assert lines[0].startswith(f"{small.name}: 3 vectors: none is needed, fewer than 10,000 are all compared")
    assert lines[1].startswith(f"{SETTING.name}: 14,000 vectors: updated")
    assert run(indexed.uri, "-c", "SIZE") == f"{lines[0]}\n"
    rows = json.loads(run(indexed.uri, "--setting", "*species*", "--json"))
    assert [(row["setting"], row["action"], row["rows"], row["kind"]) for row in rows] == [
        (SETTING.name, "current", 14_000, "IVF_RQ")
    ]
    assert rows[0]["size_bytes"] > 100_000


def test_the_command_names_what_is_not_there(indexed: Store, run: Callable[..., str], tmp_path: Path) -> None:
    assert "no setting" in run(indexed.uri, "-c", "colour", status=1)
    assert "'species'" in run(indexed.uri, "-c", "species", "-c", "colour", status=1)
    assert "no setting" in run(indexed.uri, "--setting", "nothing*", status=1)
    assert "there is no database" in run(str(tmp_path / "none"), status=1)
