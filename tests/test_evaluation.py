"""Scores: the formulas on vectors of known answer, and the join of vectors with labels by image id."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from conditional_image_embeddings import datasets, load
from conditional_image_embeddings.collection.job.embedding_job import run_job
from conditional_image_embeddings.collection.storage.store import Store
from conditional_image_embeddings.datasets.synthetic_cars import make
from conditional_image_embeddings.errors import DatasetError, EvaluationError
from conditional_image_embeddings.evaluation import METRICS, evaluate, scores
from conditional_image_embeddings.evaluation.retrieval import intervals, per_query
from conditional_image_embeddings.inputs import sources
from conditional_image_embeddings.inputs.images import read_image
from conditional_image_embeddings.methods.embedder import Embedder
from conditional_image_embeddings.methods.request import Embedded, Request
from conditional_image_embeddings.methods.settings import Setting


def slow_scores(vectors: NDArray[np.float64], labels: list[str]) -> tuple[float, float]:
    """MAP@R and Precision@1 by their definitions (Musgrave et al., ECCV 2020), one query at a time."""
    precisions, firsts = [], []
    for query in range(len(vectors)):
        distance = np.linalg.norm(vectors - vectors[query], axis=1)
        ranked = [other for other in np.argsort(distance) if other != query]
        hits = [labels[other] == labels[query] for other in ranked]
        r = sum(hits)
        if r == 0:
            continue
        precisions.append(sum(sum(hits[: i + 1]) / (i + 1) for i in range(r) if hits[i]) / r)
        firsts.append(hits[0])
    return float(np.mean(precisions)), float(np.mean(firsts))


@st.composite
def labelled_vectors(draw: st.DrawFn) -> tuple[NDArray[np.float32], list[str]]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count, kinds, dimension = draw(st.integers(6, 40)), draw(st.integers(2, 5)), draw(st.integers(2, 16))
    labels = [f"label {each}" for each in rng.integers(0, kinds, count)]
    members = [labels.count(each) for each in set(labels)]
    assume(len(members) > 1 and max(members) > 1)
    vectors = rng.normal(size=(count, dimension)).astype(np.float32)
    # Two squared distances closer than float32 can tell apart may be ranked either way.
    squares = np.sort(((vectors[:, None].astype(float) - vectors[None]) ** 2).sum(axis=2), axis=1)
    assume(np.diff(squares, axis=1).min() > 2e-5)
    return vectors, labels


@settings(max_examples=60)
@given(labelled_vectors())
def test_retrieval_scores_follow_their_definition(data: tuple[NDArray[np.float32], list[str]]) -> None:
    vectors, labels = data
    found = scores(vectors, labels, metric="euclidean")
    map_at_r, precision_at_1 = slow_scores(vectors.astype(np.float64), labels)
    assert found.map_at_r == pytest.approx(map_at_r, abs=1e-6)
    assert found.precision_at_1 == pytest.approx(precision_at_1, abs=1e-6)
    assert 0 <= found.nmi <= 1 + 1e-6
    assert found.ami <= 1 + 1e-6


@settings(max_examples=30)
@given(labelled_vectors(), st.randoms(use_true_random=False))
def test_retrieval_scores_do_not_depend_on_the_order(data, random) -> None:
    vectors, labels = data
    order = list(range(len(labels)))
    random.shuffle(order)
    before = scores(vectors, labels, metric="euclidean")
    after = scores(vectors[order], [labels[row] for row in order], metric="euclidean")
    assert after.map_at_r == pytest.approx(before.map_at_r, abs=1e-6)
    assert after.precision_at_1 == pytest.approx(before.precision_at_1, abs=1e-6)


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(2, 8), st.sampled_from(METRICS))
def test_perfect_clusters_score_one(seed: int, kinds: int, metric: str) -> None:
    rng = np.random.default_rng(seed)
    labels = [str(each) for each in rng.permutation(np.repeat(np.arange(kinds), 5))]
    vectors = 10 * np.eye(8)[[int(label) for label in labels]] + rng.normal(size=(len(labels), 8)) * 0.1
    found = scores(vectors, labels, metric=metric)
    assert (found.map_at_r, found.precision_at_1) == (1, 1)
    if kinds == 2:  # with more, k-means may start with two centres in one cluster and stay there
        assert (found.ami, found.nmi) == (pytest.approx(1), pytest.approx(1))


def random_data(seed: int, count: int = 300, kinds: int = 7) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Vectors without ties, and labels of uneven frequency, some perhaps on one image only."""
    rng = np.random.default_rng(seed)
    labels = np.minimum(rng.geometric(2 / kinds, count), kinds)
    return (rng.normal(size=(count, 32)) + labels[:, None] * 0.1).astype(np.float32), labels


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("seed", "count", "kinds"), [(0, 300, 7), (1, 500, 3), (2, 450, 60), (3, 19, 4)])
def test_scores_are_those_of_pytorch_metric_learning_by_default(seed: int, count: int, kinds: int, metric: str) -> None:
    import torch
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

    vectors, labels = random_data(seed, count, kinds)
    names = [f"{label:03}" for label in labels]
    given = vectors if metric == "euclidean" else torch.nn.functional.normalize(torch.from_numpy(vectors), dim=1)
    theirs = AccuracyCalculator(device=torch.device("cpu")).get_accuracy(given, labels)
    ours = scores(vectors, names, metric=metric)
    assert ours.map_at_r == pytest.approx(theirs["mean_average_precision_at_r"], abs=1e-6)
    assert ours.precision_at_1 == pytest.approx(theirs["precision_at_1"], abs=1e-6)
    assert ours.r_precision == pytest.approx(theirs["r_precision"], abs=1e-6)
    assert ours.ami == pytest.approx(theirs["AMI"], abs=1e-6)
    assert ours.nmi == pytest.approx(theirs["NMI"], abs=1e-6)
    assert ours == scores(vectors, names, metric=metric), "another run, other scores"


@pytest.mark.parametrize("metric", METRICS)
def test_scores_are_those_of_scikit_learns_neighbours(metric: str) -> None:
    from sklearn.neighbors import NearestNeighbors

    vectors, labels = random_data(4)
    search = NearestNeighbors(algorithm="brute", metric=metric).fit(vectors.astype(np.float64))
    nearest = search.kneighbors(n_neighbors=len(vectors) - 1, return_distance=False)
    expected = []
    for query, neighbours in enumerate(nearest):
        r = int((labels == labels[query]).sum()) - 1
        hits = labels[neighbours[:r]] == labels[query]
        expected.append([(hits.cumsum() / np.arange(1, r + 1) * hits).sum() / r, hits[0], hits.mean()])
    found = scores(vectors, labels.astype(str).tolist(), metric=metric, clustering=False)
    ours = (found.map_at_r, found.precision_at_1, found.r_precision)
    assert ours == pytest.approx(np.mean(expected, axis=0).tolist(), abs=1e-6)


@settings(max_examples=30)
@given(labelled_vectors(), st.integers(1, 50))
def test_the_size_of_a_block_changes_nothing(data: tuple[NDArray[np.float32], list[str]], block: int) -> None:
    vectors, names = data
    numbers = np.unique(names, return_inverse=True)[1]
    assert per_query(vectors, numbers, block=block) == pytest.approx(per_query(vectors, numbers), abs=1e-12)


def test_a_block_of_frequent_labels_is_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, labels = random_data(5)
    whole = per_query(vectors, labels)
    monkeypatch.setattr("conditional_image_embeddings.evaluation.retrieval.MOST_NEIGHBOURS", 200)
    assert per_query(vectors, labels) == pytest.approx(whole, abs=1e-12)


def test_each_query_has_its_own_scores_in_its_own_row() -> None:
    vectors = np.array([[0.0], [1.0], [1.4], [10.0], [10.3], [30.0]], np.float32)
    labels = np.array([0, 0, 1, 1, 0, 2])  # 2 is alone
    # 0: 1, 2 found; R = 2: a hit, a miss. 1: 1.4 (miss), 0 (hit). 2: 1.0. 3: 10.3. 4: 10.0 (miss), 1.4 (miss).
    expected = [[0.5, 1, 0.5], [0.25, 0, 0.5], [0, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert per_query(vectors, labels).tolist() == expected
    assert per_query(vectors, labels, block=1).tolist() == expected


def test_copies_of_a_query_do_not_crowd_it_out() -> None:
    found = scores(np.tile([[1.0, 2.0]], (6, 1)), list("aaabbb"), clustering=False)
    assert 0 <= found.map_at_r <= found.r_precision <= 1
    assert scores(np.tile([[1.0, 2.0]], (6, 1)), ["a"] * 5 + ["b"], clustering=False).queries == 5


def test_clustering_may_be_left_out() -> None:
    vectors, labels = random_data(6)
    names = labels.astype(str).tolist()
    whole, part = scores(vectors, names), scores(vectors, names, clustering=False)
    assert (part.ami, part.nmi) == (None, None)
    assert replace(part, ami=whole.ami, nmi=whole.nmi) == whole
    assert (whole.images, whole.labels) == (len(labels), len(set(names)))


def test_the_search_shows_its_progress_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    vectors, labels = random_data(7)
    scores(vectors, labels.astype(str).tolist(), clustering=False, show_progress_bar=True)
    assert "searching:   0%|          | 0/300" in capsys.readouterr().err
    scores(vectors, labels.astype(str).tolist(), clustering=False)
    assert capsys.readouterr().err == ""


@settings(max_examples=20)
@given(labelled_vectors())
def test_an_interval_holds_its_estimate_and_is_the_same_again(data: tuple[NDArray[np.float32], list[str]]) -> None:
    vectors, labels = data
    found = scores(vectors, labels, clustering=False, bootstrap=200)
    assert set(found.intervals) == {"map_at_r", "precision_at_1", "r_precision"}
    for name, interval in found.intervals.items():
        assert 0 <= interval.low <= interval.high <= 1
        assert interval.low - 1e-9 <= getattr(found, name) <= interval.high + 1e-9
    assert scores(vectors, labels, clustering=False, bootstrap=200) == found
    assert replace(found, intervals={}) == scores(vectors, labels, clustering=False)


def test_an_interval_is_as_wide_as_the_normal_approximation_says() -> None:
    values = np.random.default_rng(0).random((2000, 1)) < [[0.3]]
    (low,), (high,) = intervals(values.astype(np.float64), samples=2000, seed=0)
    half = 1.96 * float(np.sqrt(values.mean() * (1 - values.mean()) / len(values)))
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.1 * half)
    assert intervals(np.full((50, 3), 0.25), samples=20, seed=0).tolist() == [[0.25] * 3] * 2


def test_cosine_looks_at_directions_only() -> None:
    rng = np.random.default_rng(1)
    labels = [str(each) for each in rng.integers(0, 4, 80)]
    vectors = rng.normal(size=(80, 6)) + np.eye(6)[[int(label) for label in labels]]
    stretched = vectors * rng.uniform(0.1, 10, (80, 1))
    assert scores(stretched, labels).map_at_r == pytest.approx(scores(vectors, labels).map_at_r, abs=1e-6)
    euclidean = scores(stretched, labels, metric="euclidean")
    assert euclidean.map_at_r < scores(stretched, labels).map_at_r
    assert (euclidean.metric, scores(vectors, labels).metric) == ("euclidean", "cosine")


def test_a_label_that_nobody_shares_is_no_query(caplog: pytest.LogCaptureFixture) -> None:
    vectors = np.array([[0.0], [0.1], [5.0], [5.1], [9.0]])
    found = scores(vectors, ["a", "a", "b", "b", "alone"], metric="euclidean")
    assert (found.map_at_r, found.precision_at_1) == (1, 1)
    assert "1 labels are on one image only" in caplog.text
    assert "alone" in caplog.text


@pytest.mark.parametrize(
    ("vectors", "labels", "message"),
    [
        (np.zeros((3, 2)), ["a", "b"], "3 vectors but 2 labels"),
        (np.zeros(3), ["a", "a", "b"], r"expected vectors of shape \(n, d\), not \(3,\)"),
        (np.zeros((3, 0)), ["a", "a", "b"], "expected vectors of shape"),
        ([[0.0], [np.nan], [np.inf]], ["a", "a", "b"], "2 vectors hold NaN or infinity: rows 1, 2"),
        ([[0.0], [1.0], [1e19]], ["a", "a", "b"], "1 vectors hold NaN or infinity: rows 2"),
        (np.eye(3), ["a", "a", "a"], "3 images with 1 label: at least 2"),
        (np.eye(3), ["a", "b", "c"], "each of the 3 labels is on one image only"),
        (np.zeros((0, 2)), [], "0 images with 0 label"),
    ],
)
def test_what_cannot_be_scored_is_an_error(vectors, labels, message) -> None:
    with pytest.raises(EvaluationError, match=message):
        scores(vectors, labels)


def test_an_unknown_metric_names_the_known() -> None:
    with pytest.raises(ValueError, match="unknown metric 'manhattan'; known: cosine, euclidean"):
        scores(np.eye(4), ["a", "a", "b", "b"], metric="manhattan")


class Answers(Embedder):
    """Says of each synthetic car what its labels are, as a perfect model would: by the image's own pixels."""

    method, model, revision, conditional, image_max_size, budget = "answers", "answers", None, True, 700, 10_000

    def __init__(self, benchmark: datasets.Benchmark) -> None:
        self.labels = {aspect.condition: labels for aspect, labels in benchmark.labels.items()}
        self.id_of = {read_image(path).tobytes(): image_id for image_id, path in benchmark}

    def prepare(self, image: Image.Image, request: Request) -> str:
        return self.id_of[image.tobytes()]

    def cost(self, prepared: str) -> int:
        return 1

    def forward_batch(self, batch: Sequence[str], request: Request) -> list[Embedded]:
        vectors = np.stack([[self._answer(image_id, each) for each in request.conditions] for image_id in batch])
        return [Embedded(each[:, None, None, None].astype(np.float32)) for each in vectors]

    def _answer(self, image_id: str, condition: str | None) -> NDArray[np.float64]:
        text = image_id if condition not in self.labels else self.labels[condition][image_id]
        return np.random.default_rng(list(text.encode())).normal(size=16)

    def settings(self, request: Request, *, dataset: str, source: str | None = None) -> list[Setting]:
        shared = {"dataset": dataset, "source": source, "method": self.method, "model": self.model}
        return [Setting(**shared, condition=condition) for condition in request.conditions]


@pytest.fixture(scope="module")
def cars(tmp_path_factory: pytest.TempPathFactory) -> datasets.Benchmark:
    directory = tmp_path_factory.mktemp("datasets")
    make(directory / "synthetic_cars", images=40)
    return datasets.get("synthetic_cars", directory)


def embedded(directory: Path, cars: datasets.Benchmark, *conditions: str | None) -> Store:
    store = Store(directory / "embeddings")
    run_job(store, cars, Answers(cars), Request(conditions=conditions))
    return store


def test_a_condition_is_scored_on_its_aspect_and_none_on_all(tmp_path: Path, cars: datasets.Benchmark) -> None:
    store = embedded(tmp_path, cars, "car color", "the paint", None)
    rows = evaluate(store, metric="euclidean")
    aspects = [aspect.name for aspect in cars.aspects]
    by_condition = {
        condition: [row["aspect"] for row in rows if row["condition"] == condition]
        for condition in ("car color", "the paint", None)
    }
    assert by_condition == {"car color": ["car color"], "the paint": aspects, None: aspects}
    (own,) = (row for row in rows if row["condition"] == "car color")
    assert (own["map_at_r"], own["precision_at_1"], own["metric"]) == (1, 1, "euclidean")
    assert (own["method"], own["model"], own["dataset"]) == ("answers", "answers", "synthetic_cars")
    assert own["setting"] in [setting.name for setting in store.settings()]


def test_all_aspects_gives_the_cross_table(tmp_path: Path, cars: datasets.Benchmark) -> None:
    conditions = [aspect.condition for aspect in cars.aspects]
    rows = evaluate(embedded(tmp_path, cars, *conditions), all_aspects=True)
    assert len(rows) == len(conditions) ** 2
    for row in rows:
        assert (row["map_at_r"] == pytest.approx(1)) == (row["condition"] == row["aspect"])


def test_the_pattern_chooses_settings(tmp_path: Path, cars: datasets.Benchmark) -> None:
    store = embedded(tmp_path, cars, "car color", "car model")
    assert {row["condition"] for row in evaluate(store, "synthetic_cars-*car_model*")} == {"car model"}
    with pytest.raises(EvaluationError, match=r"no setting matches 'cub200-\*'; there are: synthetic_cars-"):
        evaluate(store, "cub200-*")
    with pytest.raises(EvaluationError, match="there are no embeddings here"):
        evaluate(Store(tmp_path / "empty"))


def test_labels_are_found_again_where_the_dataset_was_or_is_said_to_be(
    tmp_path: Path, cars: datasets.Benchmark
) -> None:
    shutil.copytree(cars.root, tmp_path / "there" / "synthetic_cars")
    moved = datasets.get("synthetic_cars", tmp_path / "there")
    store = embedded(tmp_path, moved, "car color")
    rows = evaluate(store)
    (tmp_path / "there").rename(tmp_path / "elsewhere")
    with pytest.raises(DatasetError, match=r"cars\.csv"):
        evaluate(store)
    assert evaluate(store, datasets_dir=tmp_path / "elsewhere") == rows


@pytest.mark.parametrize(
    ("stored", "labelled", "message"),
    [
        (40, 47, r"7 of 47 images have no vector: cars/\S+41\.png, .* and 2 more; embed the dataset again"),
        (40, 33, r"7 of 40 vectors have no label: cars/\S+34\.png, .* and 2 more; was the dataset changed"),
    ],
)
def test_vectors_without_labels_and_labels_without_vectors_are_counted_and_named(
    tmp_path: Path, stored: int, labelled: int, message: str
) -> None:
    for images in (stored, labelled):
        make(tmp_path / str(images) / "synthetic_cars", images=images)
    store = embedded(tmp_path, datasets.get("synthetic_cars", tmp_path / str(stored)), "car color")
    with pytest.raises(EvaluationError, match=message):
        evaluate(store, datasets_dir=tmp_path / str(labelled))


def test_broken_vectors_are_counted_and_named(tmp_path: Path, cars: datasets.Benchmark) -> None:
    store = Store(tmp_path / "embeddings")
    vectors = np.random.default_rng(0).normal(size=(len(cars), 4)).astype(np.float32)
    vectors[3], vectors[5, 1] = -np.inf, np.inf  # NaN is refused by LanceDB itself
    store.add_vectors(Setting(dataset="synthetic_cars", method="dior", model="m"), list(cars.images), vectors)
    with pytest.raises(
        EvaluationError, match=r"2 vectors hold NaN or infinity: cars/0004\.png, cars/0006\.png; embed with"
    ):
        evaluate(store, datasets_dir=cars.root)


def labelled(labels: dict[str, str], aspect: str = "size") -> datasets.Benchmark:
    """Labels of one's own."""
    return datasets.Benchmark(
        name="mine", root="/", images={name: Path(name) for name in labels}, labels={datasets.Aspect(aspect): labels}
    )


def own_setting(store: Store, *, folder: str = "photos", ids: str = "abcd", condition: str | None = None) -> Setting:
    setting = Setting(dataset=folder, source=f"/{folder}", method="dior", model="m", condition=condition)
    vectors = np.arange(len(ids), dtype=np.float32)[:, None] ** 2 * [[1, 0]]
    store.add_vectors(setting, list(ids), vectors.astype(np.float32))
    return setting


def test_labels_of_ones_own_score_a_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = Store(tmp_path / "embeddings")
    setting = own_setting(store)  # at 0, 1, 4, 9
    labels = {"d": "big", "c": "big", "b": "small", "a": "small"}
    (row,) = evaluate(store, benchmark=labelled(labels), metric="euclidean")
    assert (row["setting"], row["dataset"], row["aspect"]) == (setting.name, "photos", "size")
    assert (row["map_at_r"], row["precision_at_1"]) == (0.75, 0.75)  # c lies nearer to b
    assert not caplog.records
    del labels["a"], labels["c"]
    (part,) = evaluate(store, [setting], benchmark=labelled({**labels, "a": "small"}), metric="euclidean")
    assert (part["images"], part["queries"], part["precision_at_1"]) == (3, 2, 1)
    assert "1 of 4 vectors have no label: c; the scores are those of the others among themselves" in caplog.text


def test_labels_of_another_dataset_are_an_error(tmp_path: Path) -> None:
    store = Store(tmp_path / "embeddings")
    own_setting(store)
    mine = labelled({"a": "x", "b": "x", "c": "y", "e": "y", "f": "y"})
    with pytest.raises(EvaluationError, match=r"photos-m-none-[0-9a-f]+: 2 of 5 images have no vector: e, f"):
        evaluate(store, benchmark=mine)
    own_setting(store, folder="pictures")
    with pytest.raises(EvaluationError, match=r"of one dataset, but the settings .* are of 2: /photos, /pictures"):
        evaluate(store, benchmark=mine)


def test_a_condition_picks_its_aspect_of_ones_own_labels(tmp_path: Path) -> None:
    store = Store(tmp_path / "embeddings")
    own_setting(store, condition="size")
    own_setting(store, condition="mood")
    halves = dict(zip("abcd", "xxyy", strict=True))
    benchmark = replace(labelled(halves), labels={datasets.Aspect("size"): halves, datasets.Aspect("shape"): halves})
    found = [(row["condition"], row["aspect"]) for row in evaluate(store, benchmark=benchmark)]
    assert sorted(found) == [("mood", "shape"), ("mood", "size"), ("size", "size")]


def test_an_image_with_two_vectors_is_an_error(tmp_path: Path) -> None:
    store = Store(tmp_path / "embeddings")
    own_setting(store, ids="abcdb")
    with pytest.raises(EvaluationError, match="1 images have more than one vector: b; run the `cie embed`"):
        evaluate(store, benchmark=labelled(dict(zip("abcd", "xxyy", strict=True))))


def test_a_row_says_what_it_is_a_figure_of(tmp_path: Path, cars: datasets.Benchmark) -> None:
    store = embedded(tmp_path, cars, "car color")
    (row,) = evaluate(store, bootstrap=10)
    (setting,) = store.settings()
    assert Setting(**row["whole_setting"]) == setting
    packages = ("conditional-image-embeddings", "faiss-cpu", "pytorch-metric-learning", "torch", "transformers")
    assert tuple(row["versions"]) == packages
    assert all(row["versions"].values())
    assert (row["images"], row["queries"] <= 40, row["labels"] <= 40) == (40, True, True)
    assert row["intervals"]["map_at_r"] == {"low": 1, "high": 1}


def test_images_without_labels_are_said_not_to_be_scored(
    tmp_path: Path, cars: datasets.Benchmark, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(tmp_path / "embeddings")
    (folder,) = sources.find([str(Path(cars.root) / "cars")])
    run_job(store, folder, load("pixels"), Request())
    with pytest.raises(EvaluationError, match=r"none of the 1 settings .* is of a benchmark.*synthetic_cars"):
        evaluate(store)
    run_job(store, cars, load("pixels"), Request())
    assert {row["dataset"] for row in evaluate(store)} == {"synthetic_cars"}
    assert "is not scored" in caplog.text
