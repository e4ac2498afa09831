"""Search under weighted conditions: equal to brute force, honest in its scores, one line for what cannot be asked."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from collections_at_hand import Cars, add, names, random_store, setting
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import conditional_image_embeddings as cie
from conditional_image_embeddings.cli import main
from conditional_image_embeddings.collection.percentiles import Percentiles, percentiles
from conditional_image_embeddings.collection.searching import scoring
from conditional_image_embeddings.collection.searching.cutoff import cutoff
from conditional_image_embeddings.collection.searching.hits import MOST_HITS
from conditional_image_embeddings.collection.searching.neighbours import build_indexes
from conditional_image_embeddings.collection.storage.store import Store

pytestmark = pytest.mark.usefixtures("checked_once")

IMAGES = 60


@pytest.fixture(scope="module")
def random_collection(tmp_path_factory: pytest.TempPathFactory) -> cie.Collection:
    path = tmp_path_factory.mktemp("random") / "db"
    return cie.open(random_store(path, IMAGES, "color", "shape", None).uri)


@pytest.fixture(scope="module")
def cars(tmp_path_factory: pytest.TempPathFactory) -> Cars:
    return Cars(tmp_path_factory.mktemp("cars"), 250, "car color", "car model")


def run(*arguments: object) -> Any:
    return CliRunner().invoke(main, ["search", *map(str, arguments)])


def brute_force(store: Store, query: str, weights: dict[str | None, float]) -> list[tuple[str, float]]:
    """Image ids and scores, the best first, ties by id."""
    total = np.zeros(IMAGES)
    for condition, weight in weights.items():
        image_ids, vectors = store.read(setting(condition))
        total += weight * cie.similarity(vectors[image_ids.index(query)], vectors).astype(np.float64)
    ranked = sorted(zip(image_ids, total.round(6), strict=True), key=lambda each: (-each[1], each[0]))
    return [each for each in ranked if each[0] != query]


weights = st.dictionaries(
    st.sampled_from(["color", "shape", None]), st.floats(-2, 2).filter(lambda x: abs(x) > 1e-3), min_size=1
).filter(lambda each: max(each.values()) > 0)


@given(weights, st.sampled_from(names(IMAGES)), st.integers(1, 70))
@settings(max_examples=40)
def test_the_hits_are_those_of_brute_force(
    random_collection: cie.Collection, weights: dict[str | None, float], query: str, k: int
) -> None:
    hits = random_collection.search(image_id=query, conditions=weights, k=k)
    wanted = brute_force(random_collection.store, query, weights)[:k]
    assert [hit.image_id for hit in hits] == [image_id for image_id, _ in wanted]
    np.testing.assert_allclose([hit.score for hit in hits], [score for _, score in wanted], atol=2e-6)
    for hit in hits:
        assert hit.score == pytest.approx(sum(weights[name] * hit.scores[name] for name in weights), abs=2e-6)
        assert hit.path == f"/photos/{hit.image_id}"
    assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))


def test_ties_are_in_the_order_of_their_ids(tmp_path: Path) -> None:
    store = Store(tmp_path)
    image_ids = [f"{letter}.png" for letter in "qwertyuiopasdfghjklzxcvbnm"]
    add(store, setting(), image_ids, np.ones((26, 5), np.float32) * np.arange(1, 27, dtype=np.float32)[:, None])
    found = [hit.image_id for hit in cie.open(tmp_path).search(image_id="m.png", conditions="color", k=7)]
    assert found == sorted(set(image_ids) - {"m.png"})[:7]


def test_several_things_at_once_are_the_mean_of_their_unit_vectors(random_collection: cie.Collection) -> None:
    image_ids, vectors = random_collection.store.read(setting("color"))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    query = 2 * unit[0] - 0.5 * unit[3]
    hits = random_collection.search(image_id={image_ids[0]: 2, image_ids[3]: -0.5}, conditions="color", k=5)
    wanted = cie.similarity(query, vectors)
    wanted[[0, 3]] = -2
    assert [hit.image_id for hit in hits] == [image_ids[row] for row in np.argsort(-wanted)[:5]]


def test_an_image_that_lacks_a_condition_is_no_hit(tmp_path: Path) -> None:
    store = random_store(tmp_path, 12, "color", "shape")
    store.remove(setting("shape"), names(12)[:4])
    hits = cie.open(tmp_path).search(image_id=names(12)[8], conditions=["color", "shape"])
    assert {hit.image_id for hit in hits} == set(names(12)[4:]) - {names(12)[8]}
    assert hits.images == 7


def test_what_a_job_adds_is_found_by_a_collection_that_is_open(tmp_path: Path) -> None:
    store = random_store(tmp_path, 12, "color")
    collection = cie.open(tmp_path)
    assert len(collection.search(image_id=names(1)[0], conditions="color")) == 11
    add(store, setting(), ["new.png"], np.ones((1, 8), np.float32))
    assert len(collection.search(image_id=names(1)[0], conditions="color")) == 12


def test_filters(tmp_path: Path) -> None:
    store = Store(tmp_path)
    words = [[("red", 0.9), ("blue", 0.1)], [("Blue", 0.8)], None, [("it's <b>", 1.0)], []]
    add(store, setting(), names(5), np.eye(5, 8, dtype=np.float32) + 1, words=words)
    collection = cie.open(tmp_path)

    def found(**filters: Any) -> set[str]:
        return {hit.image_id for hit in collection.search(image_id=names(5)[4], conditions="color", **filters)}

    assert found(word="blue") == set(names(2))
    assert found(word="it's <b>") == {names(4)[3]}
    assert found(word="' OR 1=1") == set()
    assert found(where="width > 11") == set(names(4)[2:])
    assert found(where="image_id = '00000.png' OR width = 11", word="blue") == set(names(2))
    assert found(where="path LIKE '%2.png'") == {names(3)[2]}
    assert found(min_score=1.1) == set()
    assert found(min_score=-1.0) == set(names(4))


@pytest.mark.parametrize(
    "where",
    [
        "width >", "nope = 1", "DELETE FROM images", "width > 1; DROP TABLE images", "1=1) OR (1=1", "width > 1 --",
        "width > 1 /* x", "image_id = 'a", "(width > 1", "width", "", "  ", "(SELECT 1) = 1", "w" * 20_000,
    ],
)  # fmt: skip
def test_a_filter_that_is_none_is_one_line(random_collection: cie.Collection, where: str) -> None:
    with pytest.raises(cie.OptionError) as error:
        random_collection.search(image_id=names(1)[0], conditions="color", where=where)
    assert len(str(error.value)) < 600
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"conditions": {"color": -1.0}}, "positive weight"),
        ({"conditions": {"color": 0, "shape": 0.0}}, "positive weight"),
        ({"conditions": {"color": math.nan}}, "not a finite number"),
        ({"conditions": {"color": "2"}}, "not a finite number"),
        ({"conditions": ["color", "weight"]}, "no vectors under 'weight'"),
        ({"conditions": ["color", "weight"]}, "cie embed /photos -c weight -m tiny"),
        ({"k": 0}, "k is 0"),
        ({"k": 10_000_000}, "at most 100000"),
        ({"k": 2.5}, "k"),
        ({"image_id": None}, "nothing to search for"),
        ({"image_id": []}, "nothing to search for"),
        ({"image_id": "o'hara.png"}, '"o\'hara.png" has no vector'),
        ({"image_id": "0000.png"}, "similar: '000"),
        ({"image_id": {"00000.png": 0}}, "a weight is a number"),
        ({"image_id": [("00000.png", 1), ("00000.png", -1)]}, "cancel each other"),
        ({"image_id": ["00000.png"] * 1001}, "at most 1000"),
        ({"image": "nowhere.png"}, "is not there"),
        ({"text": ""}, "no text"),
        ({"text": 5}, "text is a text"),
        ({"cut": "sharp"}, "'auto' or None"),
        ({"min_score": math.inf}, "finite"),
        ({"setting": "nothing-*"}, "no setting of"),
    ],
)
def test_what_cannot_be_asked_is_one_line(random_collection: cie.Collection, asked: dict[str, Any], says: str) -> None:
    with pytest.raises(cie.CieError) as error:
        random_collection.search(**{"image_id": names(1)[0], "conditions": "color", **asked})
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_vectors_that_were_made_differently_are_not_searched_together(tmp_path: Path) -> None:
    store = random_store(tmp_path, 5, "color")
    add(store, setting("shape", model="other"), names(5), np.ones((5, 4), np.float32))
    with pytest.raises(cie.StoreError, match=r"with tiny on tiny .* with tiny on other .* made differently"):
        cie.open(tmp_path).search(image_id=names(1)[0], conditions=["color", "shape"])


def test_two_ways_of_embedding_one_condition_have_to_be_told_apart(tmp_path: Path) -> None:
    store = random_store(tmp_path, 5, "color")
    add(store, setting("color", layer=3), names(5), np.ones((5, 4), np.float32))
    collection = cie.open(tmp_path)
    with pytest.raises(cie.StoreError, match="2 settings fit, which differ in layer: choose with --setting"):
        collection.search(image_id=names(1)[0], conditions="color")
    assert len(collection.search(image_id=names(1)[0], conditions="color", setting="*layer_3*")) == 4


def test_no_database_and_an_empty_one_are_one_line(tmp_path: Path) -> None:
    missing = run(tmp_path / "nowhere", "--id", "a.png", "-c", "color")
    assert missing.exit_code == 1
    assert "there is no database at" in missing.stderr
    (tmp_path / "photos").mkdir()
    empty = run(tmp_path / "photos", "--id", "a.png", "-c", "color")
    assert empty.exit_code == 1
    assert "has no embeddings: make some with `cie embed" in empty.stderr
    assert len(empty.stderr.splitlines()) == 1


# What a score means.


@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=300), st.lists(st.floats(-1, 1, width=32), min_size=2))
def test_a_percentile_is_the_share_of_pairs_below(pairs: list[float], asked: list[float]) -> None:
    fitted = Percentiles.fit(np.array(pairs))
    shares = fitted.of(sorted(asked))
    assert ((shares >= 0) & (shares <= 1)).all()
    assert (np.diff(shares) >= -1e-12).all()
    # Quantiles are interpolated: within the step between two neighbours.
    ordered = np.sort(pairs)
    low = np.searchsorted(ordered, sorted(asked), side="left") / len(pairs)
    high = np.searchsorted(ordered, sorted(asked), side="right") / len(pairs)
    step = 1 / max(1, len(pairs) - 1) + 0.011
    assert (shares >= low - step).all()
    assert (shares <= high + step).all()
    assert fitted.of(max(pairs)) == pytest.approx(1, abs=1e-9)


def test_percentiles_are_stored_and_follow_the_collection(tmp_path: Path) -> None:
    store = random_store(tmp_path, 50, "color")
    first = percentiles(store, setting())
    assert store.quantiles(setting()).images == 50
    similar = cie.similarity(*[store.read(setting())[1]] * 2)[np.triu_indices(50, 1)]
    assert first.of(float(np.median(similar))) == pytest.approx(0.5, abs=0.02)
    add(store, setting(), ["a.png"], np.ones((1, 8), np.float32))
    assert (percentiles(store, setting()).values == first.values).all()
    more = [f"b{index}.png" for index in range(9)]
    add(store, setting(), more, np.ones((9, 8), np.float32))
    assert (percentiles(store, setting()).values != first.values).any()
    assert store.quantiles(setting()).images == 60
    store.replace_vectors(setting(), iter([store.read(setting())]))
    assert store.quantiles(setting()) is None


def test_percentiles_do_not_depend_on_the_order_of_rows(tmp_path: Path) -> None:
    generator, image_ids = np.random.default_rng(0), names(2100)
    vectors, fitted = generator.normal(size=(2100, 4)).astype(np.float32), []
    for order in (np.arange(2100), generator.permutation(2100)):
        store = Store(tmp_path / str(len(fitted)))
        store.add_vectors(setting(), [image_ids[row] for row in order], vectors[order])
        fitted.append(percentiles(store, setting()))
    np.testing.assert_allclose(fitted[0].values, fitted[1].values, atol=1e-6)


def test_a_single_image_has_no_percentile(tmp_path: Path) -> None:
    store = random_store(tmp_path, 2, "color")
    store.remove(setting(), names(2)[1:])
    assert math.isnan(percentiles(store, setting()).of(0.5))


def test_a_database_that_another_job_writes_to_is_searched_all_the_same(tmp_path: Path) -> None:
    store = random_store(tmp_path, 30, "color")
    with store.writing():
        hits = cie.open(tmp_path).search(image_id=names(1)[0], conditions="color", k=3)
    assert len(hits) == 3
    assert hits[0].percentiles["color"] is not None
    assert store.quantiles(setting()) is None  # it is not waited for


# Where the list ends.


@given(st.integers(20, 300), st.integers(20, 300), st.integers(0, 1000))
@settings(max_examples=25)
def test_two_groups_are_told_apart(matching: int, others: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    high, low = generator.normal(0.8, 0.02, matching), generator.normal(0.2, 0.05, others)
    found = cutoff(np.concatenate([high, low]))
    assert found is not None
    assert np.mean(high >= found) >= 0.95
    assert not (low >= found).any()


@pytest.mark.parametrize(
    "similarities", [[], [0.5] * 3, [0.5] * 100, np.random.default_rng(0).normal(0.3, 0.1, 500)], ids=str
)
def test_where_no_group_stands_out_nothing_is_cut(similarities: Any) -> None:
    assert cutoff(np.array(similarities, float)) is None


# With a model.


def test_red_pickups_but_not_pickups(cars: Cars) -> None:
    color, model = cars.labels["car color"], cars.labels["car model"]
    queries = [image_id for image_id in color if (color[image_id], model[image_id]) == ("red", "pickup")]
    assert queries
    for query in queries:
        hits = cars.collection.search(image_id=query, conditions={"car color": 1, "car model": -1}, k=10)
        right = [color[hit.image_id] == "red" and model[hit.image_id] != "pickup" for hit in hits]
        assert np.mean(right) >= 0.9


def test_the_list_of_red_cars_ends_with_the_last_red_car(cars: Cars) -> None:
    hits = cars.collection.search(text="red", conditions="car color", cut="auto")
    red = {image_id for image_id, label in cars.labels["car color"].items() if label == "red"}
    found = {hit.image_id for hit in hits}
    assert len(found & red) >= 0.95 * len(red)
    assert len(found & red) >= 0.95 * len(found)
    assert hits.cut is not None
    assert all(hit.words["car color"][0][0] == "red" for hit in hits[:5])


def test_a_text_lies_where_the_embedder_puts_it(cars: Cars) -> None:
    image_ids, vectors = cars.collection.store.read(cars.collection.embedder("car model").setting)
    with cie.load("builtin", device="cpu") as embedder:
        text = embedder.encode_text("bus", conditions="car model")
    wanted = [image_ids[row] for row in np.argsort(-cie.similarity(text, vectors))[:5]]
    assert [hit.image_id for hit in cars.collection.search(text="bus", conditions="CAR MODEL", k=5)] == wanted


def test_an_image_from_elsewhere_is_its_own_neighbour(cars: Cars, tmp_path: Path) -> None:
    image_id = next(iter(cars.labels["car color"]))
    shutil.copy(cars.folder / image_id, tmp_path / "copy.png")
    for image in (tmp_path / "copy.png", Image.open(tmp_path / "copy.png"), (tmp_path / "copy.png").read_bytes()):
        hit = cars.collection.search(image=image, conditions=["car color", "car model"], k=1)[0]
        assert hit.image_id == image_id
        assert hit.score == pytest.approx(2, abs=1e-4)
        assert hit.percentiles["car model"] > 0.999


def test_images_of_the_collection_need_no_model(cars: Cars, monkeypatch: pytest.MonkeyPatch) -> None:
    from conditional_image_embeddings.collection import query_embedders

    monkeypatch.setattr(query_embedders, "load_for", lambda *_, **__: pytest.fail("a model was loaded"))
    collection = cie.open(cars.db)
    image_id = next(iter(cars.labels["car color"]))
    by_id = collection.search(image_id=image_id, conditions="car color", k=4)
    assert collection.search(image=cars.folder / image_id, conditions="car color", k=4).hits == by_id.hits


def test_the_command_prints_what_the_function_gives(cars: Cars, tmp_path: Path) -> None:
    query = next(iter(cars.labels["car color"]))
    asked = ("--id", query, "-c", "car color", "-c", "car model:-0.5", "-k", 3)
    done = run(cars.db, *asked, "--json", "--html", tmp_path / "hits.html")
    assert done.exit_code == 0
    hits = cars.collection.search(image_id=query, conditions={"car color": 1, "car model": -0.5}, k=3)
    printed = json.loads(done.stdout)
    assert printed == json.loads(json.dumps([hit.to_json() for hit in hits]))
    assert list(printed[0]) == ["rank", "image_id", "path", "score", "scores", "percentiles", "words"]
    assert list(printed[0]["words"]["car color"][0]) == ["word", "probability"]
    page = (tmp_path / "hits.html").read_text()
    assert page.count("data:image/") == 4  # with the query
    assert all(hit.image_id in page for hit in hits)
    table = run(cars.db, *asked)
    assert table.stdout.splitlines()[1].split()[:2] == ["1", hits[0].image_id]
    assert "3 of 249 images" in table.stderr


def test_markup_is_shown_as_text(tmp_path: Path) -> None:
    store = Store(tmp_path / "db")
    image_ids = ["<b>a</b>.png", "[red]b[/red].png", 'it\'s "c".png']
    words = [[("<script>alert(1)</script>", 0.5)], [("[bold]x[/bold]", 0.5)], None]
    add(store, setting("<i>color</i>"), image_ids, np.eye(3, 4, dtype=np.float32) + 1, words=words)
    for image_id in image_ids:
        done = run(tmp_path / "db", "--id", image_id, "-c", "<i>color</i>", "--html", tmp_path / "hits.html")
        assert done.exit_code == 0, done.stderr
        assert all(other in done.stdout for other in image_ids if other != image_id)
        page = (tmp_path / "hits.html").read_text()
        assert "<script>" not in page
        assert "<b>a" not in page
        assert "<i>color" not in page
    assert "[bold]x[/bold]" in run(tmp_path / "db", "--id", image_ids[0], "-c", "<i>color</i>").stdout


def test_weights_are_read_from_the_command_line(tmp_path: Path) -> None:
    random_store(tmp_path, 20, "color", "ratio 4:3")
    both = run(tmp_path, "--id", f"2:{names(1)[0]}", "-c", "color:.5", "-c", "ratio 4:3", "--json")
    assert both.exit_code == 0, both.stderr
    first = json.loads(both.stdout)[0]
    assert first["score"] == pytest.approx(0.5 * first["scores"]["color"] + first["scores"]["ratio 4:3"], abs=1e-5)
    for wrong, status in (("color:-1", 1), ("color:0", 1), ("weight", 1)):
        done = run(tmp_path, "--id", names(1)[0], "-c", wrong)
        assert done.exit_code == status
        assert len(done.stderr.splitlines()) == 1
    assert run(tmp_path, "-c", "color").exit_code == 2
    assert run(tmp_path, "--id", names(1)[0], "-c", "color", "-k", "0").exit_code == 2


@pytest.mark.parametrize("command", ["search", "words", "cluster", "duplicates"])
def test_a_page_in_no_directory_is_refused_before_the_work(tmp_path: Path, command: str) -> None:
    done = CliRunner().invoke(main, [command, str(tmp_path / "db"), "--html", str(tmp_path / "nowhere" / "a.html")])
    assert done.exit_code == 2
    assert "there is no directory" in done.stderr


# Candidates from an index.


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> cie.Collection:
    """12,000 images in clusters that differ from condition to condition, under two conditions with an index each."""
    store, generator, number = Store(tmp_path_factory.mktemp("indexed")), np.random.default_rng(0), 12_000
    image_ids = names(number)
    for condition in ("color", "shape"):
        centres, order = generator.normal(size=(40, 32)), generator.permutation(number)
        vectors = centres[generator.integers(0, 40, number)] + 0.7 * generator.normal(size=(number, 32))
        store.add_vectors(setting(condition), [image_ids[row] for row in order], vectors.astype(np.float32))
    assert [report.action for report in build_indexes(store, store.settings())] == ["built", "built"]
    return cie.open(store.uri)


@pytest.mark.parametrize("asked", [{"color": 1}, {"color": 1, "shape": 1}, {"color": 1, "shape": -0.5}], ids=str)
def test_candidates_find_what_brute_force_finds(
    indexed: cie.Collection, asked: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "LOOKED_UP", 0)  # of so few images all would be scored
    found = total = 0
    for query in names(12_000)[::600]:
        hits = indexed.search(image_id=query, conditions=asked, k=10)
        exact = indexed.search(image_id=query, conditions=asked, k=10, exact=True)
        assert not hits.exact
        assert exact.exact
        assert hits.images == exact.images + 1 == 12_000
        scores = {hit.image_id: hit.score for hit in exact}
        found += sum(hit.image_id in scores for hit in hits)
        total += len(exact)
        for hit in hits:  # whatever the candidates, a score is exact
            assert hit.score == pytest.approx(scores.get(hit.image_id, hit.score), abs=2e-6)
    assert found >= 0.95 * total


def test_the_command_builds_an_index_that_is_due(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store, image_ids = Store(tmp_path), names(10_000)
    store.add_vectors(setting("color"), image_ids, np.random.default_rng(0).normal(size=(10_000, 16)).astype("f4"))
    asked = (tmp_path, "--id", image_ids[0], "-c", "color", "-k", 3, "--json")
    assert store.index_is_due(setting("color"))
    without = run(*asked, "--no-index")
    assert store.index_is_due(setting("color"))
    with store.writing():
        meanwhile = run(*asked)
    assert "searched with the index as it is: another job is writing" in caplog.text
    done = run(*asked)
    assert not store.index_is_due(setting("color"))
    assert [report.action for report in cie.open(tmp_path).build_index("color")] == ["current"]
    assert "(candidates from the index)" in done.stderr
    hits = [[hit["image_id"] for hit in json.loads(each.stdout)] for each in (without, meanwhile, done)]
    assert hits[0] == hits[1]
    assert len(set(hits[0]) & set(hits[2])) >= 2


def test_what_an_index_cannot_answer_is_answered_exactly(indexed: cie.Collection) -> None:
    query = names(1)[0]
    for asked in ({"k": 5000}, {"k": 10, "min_score": -2.0, "cut": "auto"}, {"k": 10, "exact": True}):
        assert indexed.search(image_id=query, conditions="color", **asked).exact


def test_what_is_opened_once_sees_what_is_written_meanwhile(tmp_path: Path) -> None:
    """Tables that stay open in a block of reading are those of the moment, not of when they were opened."""
    store = random_store(tmp_path, 12, "color")
    with store.reading():
        assert store.count(setting()) == 12
        add(Store(tmp_path), setting(), ["new.png"], np.ones((1, 8), np.float32))
        assert store.count(setting()) == 13
        Store(tmp_path).replace_vectors(setting(), iter([(["other.png"], np.ones((1, 8), np.float32))]))
        assert store.image_ids(setting()) == ["other.png"]


@pytest.mark.parametrize("conditions", ["color", {"color": 1.0, None: -0.5}])
def test_a_ranking_is_paged_through_as_searched(tmp_path: Path, conditions: Any) -> None:
    store = random_store(tmp_path / "db", 50, "color", None)
    asked: dict[str, Any] = {"image_id": "00003.png", "conditions": conditions, "where": "width > 20"}
    with cie.open(store.uri) as collection:
        hits = collection.search(k=MOST_HITS, **asked)
        ranking = collection.rank(**asked)
        assert len(ranking) == len(hits) == ranking.images == 39
        assert ranking.image_ids == [hit.image_id for hit in hits]
        assert ranking.scores.tolist() == [hit.score for hit in hits]
        assert ranking.scores.dtype == np.float64
        assert (ranking.conditions, ranking.settings) == (hits.conditions, hits.settings)
        assert (ranking.cut, ranking.exact) == (None, True)
        assert [hit for start in range(0, 60, 7) for hit in ranking.hits(start, start + 7)] == list(hits)
        assert ranking.hits(-2) == hits[-2:]
        assert ranking.hits(5, 2) == ranking.hits(39) == []
        assert len(collection.rank(**asked, k=3)) == 3
        assert len(collection.rank(**asked, min_score=2)) == 0
        assert collection.rank(**asked, min_score=2).hits() == []


def test_conditions_of_several_methods_are_compared_by_percentiles(tmp_path: Path) -> None:
    store, generator = random_store(tmp_path / "db", IMAGES, "color"), np.random.default_rng(1)
    other = setting("style", method="other", model="large")
    add(store, other, names(IMAGES), generator.normal(0.7, 1, (IMAGES, 5)).astype(np.float32))
    add(store, setting("color", method="other", model="large"), names(IMAGES), generator.normal(size=(IMAGES, 5)))
    collection, query = cie.open(store.uri), names(IMAGES)[7]
    of_each = {"color": setting("color").name, "style": "*large*"}
    hits = collection.search(image_id=query, conditions={"color": 1.0, "style": -0.5}, setting=of_each, k=100)
    shares: dict[str, dict[str, float]] = {}
    for name, where in (("color", setting("color")), ("style", other)):
        image_ids, vectors = store.read(where)
        similar = cie.similarity(vectors[image_ids.index(query)], vectors)
        found = percentiles(store, where).of(similar)
        shares[name] = dict(zip(image_ids, found.tolist(), strict=True))
    assert len(hits) == IMAGES - 1
    for hit in hits:
        expected = shares["color"][hit.image_id] - 0.5 * shares["style"][hit.image_id]
        assert hit.score == pytest.approx(expected, abs=1e-5)
        assert hit.percentiles["style"] == pytest.approx(shares["style"][hit.image_id])
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert {name: each.name for name, each in collection.rank(
        image_id=query, conditions=["color", "style"], setting=of_each).settings.items()
    } == {"color": setting("color").name, "style": other.name}  # fmt: skip

    def refused(**more: Any) -> str:
        asked: dict[str, Any] = {"conditions": ["color", "style"], "setting": of_each}
        with pytest.raises(cie.CieError) as error:
            collection.search(image_id=query, **{**asked, **more})
        return str(error.value)

    assert "cut tells cosines apart" in refused(cut="auto")
    assert "setting names 'shape', which is not searched under" in refused(setting={"shape": "*"})
    assert "2 settings fit" in refused(setting={"style": "*large*"})  # color was embedded in two ways
    elsewhere = setting("style", method="other", model="moved", source="/others")
    add(store, elsewhere, names(IMAGES), generator.normal(size=(IMAGES, 5)).astype(np.float32))
    assert "of different images" in refused(setting={**of_each, "style": elsewhere.name})
