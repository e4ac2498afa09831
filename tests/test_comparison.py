"""Two images compared, aspect by aspect."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from collections_at_hand import names, random_store

import conditional_image_embeddings as cie
from conditional_image_embeddings.cli import main
from conditional_image_embeddings.collection.comparison import compare
from conditional_image_embeddings.collection.job.embedding_job import run_job
from conditional_image_embeddings.collection.percentiles import percentiles
from conditional_image_embeddings.collection.storage.store import Store
from conditional_image_embeddings.datasets.synthetic_cars import make
from conditional_image_embeddings.inputs.sources import find
from conditional_image_embeddings.methods.request import Request

ASPECTS = ["car color", "car model"]


def run(*arguments: object) -> Any:
    return CliRunner().invoke(main, ["compare", *map(str, arguments)])


@pytest.fixture(scope="module")
def embedder() -> Any:
    return cie.load("builtin", device="cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root: Path = tmp_path_factory.mktemp("cars")
    make(root, images=24)
    return root / "cars"


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory, folder: Path, embedder: Any) -> Path:
    path = tmp_path_factory.mktemp("db")
    run_job(Store(path), find([folder])[0], embedder, Request(conditions=tuple(ASPECTS), top_words=5))
    return path


def test_similarities_are_those_of_the_vectors(embedder: Any, folder: Path) -> None:
    a, b = sorted(folder.iterdir())[:2]
    vectors = embedder.encode([a, b], ASPECTS)
    compared = compare(embedder, a, b, ASPECTS)
    assert [each.condition for each in compared] == ASPECTS
    for index, each in enumerate(compared):
        assert each.similarity == pytest.approx(float(cie.similarity(*vectors[:, index])), abs=1e-6)
        assert each.percentile is None
        assert [word for word, _ in each.words[0]] == [word for word, _ in embedder.words(a, ASPECTS[index])]


def test_a_stored_image_and_its_file_compare_alike(db: Path, folder: Path, tmp_path: Path) -> None:
    a, b, *_ = sorted(folder.iterdir())
    with cie.open(db, device="cpu") as collection:
        stored = collection.compare(a.name, b.name)
        copy = tmp_path / "other name.png"
        copy.write_bytes(a.read_bytes())
        from_file = collection.compare(copy, b.name)
        for one, other, condition in zip(stored, from_file, ASPECTS, strict=True):
            assert one.condition == other.condition == condition
            assert one.similarity == pytest.approx(other.similarity, abs=1e-5)
            (setting,) = (each for each in collection.settings if each.condition == condition)
            assert one.percentile == percentiles(collection.store, setting).of(one.similarity)
            assert one.words[0][0][0] == other.words[0][0][0]  # improbable ones are not stored
        (only,) = collection.compare(a.name, a.name, "CAR COLOR")
        assert only.similarity == pytest.approx(1, abs=1e-6)
        assert only.percentile > 0.99


def test_the_command_with_and_without_a_collection(db: Path, folder: Path) -> None:
    a, b, *_ = sorted(folder.iterdir())
    stored = run(db, a.name, b.name, "--json")
    assert stored.exit_code == 0, stored.stderr
    rows = json.loads(stored.stdout)
    assert [list(row) for row in rows] == [["condition", "similarity", "percentile", "words"]] * 2
    loaded = run(a, b, "-m", "builtin", "-c", "car color", "-c", "car model", "--json")
    assert loaded.exit_code == 0, loaded.stderr
    for row, other in zip(rows, json.loads(loaded.stdout), strict=True):
        assert other["similarity"] == pytest.approx(row["similarity"], abs=1e-5)
        assert other["percentile"] is None
    table = run(db, a.name, b.name)
    assert table.stdout.splitlines()[1].startswith("car color")


def test_what_cannot_be_compared_is_one_line(tmp_path: Path, folder: Path) -> None:
    random_store(tmp_path, 3, "color")
    a = min(folder.iterdir())
    for arguments, status, says in (
        ((a,), 2, "give two images"),
        ((a, a, a, a), 2, "give two images"),
        ((a, a), 2, "builtin"),
        ((tmp_path, "x.png", names(1)[0]), 1, "'x.png' is neither an image of"),
        ((tmp_path, names(1)[0], names(1)[0], "-c", "shape"), 1, "no vectors under 'shape'"),
        ((tmp_path, names(1)[0], names(1)[0], "-m", "builtin"), 2, "leave out -m"),
        ((a, folder / "nowhere.png", "-m", "builtin", "-c", "car color"), 1, "is not there"),
    ):
        done = run(*arguments)
        assert done.exit_code == status
        assert says in done.stderr
        assert "Traceback" not in done.stderr
