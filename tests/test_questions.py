"""What a person can ask of the bundled models: words for an image, images for a word, the best layer and prompt."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import commands
import numpy as np
import pytest
from PIL import Image

import conditional_image_embeddings as cie
from conditional_image_embeddings import datasets
from conditional_image_embeddings.collection.storage.store import Store
from conditional_image_embeddings.collection.words import settings_with_words, words_of
from conditional_image_embeddings.datasets.car_colors import COLORS, colour_name
from conditional_image_embeddings.datasets.car_renderer import render, sample_scene
from conditional_image_embeddings.datasets.synthetic_cars import make
from conditional_image_embeddings.errors import ModelError, StoreError
from conditional_image_embeddings.evaluation.sweep import format_table, sweep
from conditional_image_embeddings.methods.request import Request

pytestmark = pytest.mark.usefixtures("checked_once")

SCENES = [sample_scene(np.random.default_rng([77, k])) for k in range(120)]
PAINT = np.array([colour_name(*scene.color_hsv) for scene in SCENES])


@cache
def images() -> list[Image.Image]:
    return [Image.fromarray(render(scene)) for scene in SCENES]


@pytest.fixture(scope="module")
def builtin() -> cie.Embedder:
    return cie.load("builtin", device="cpu")


def test_the_first_word_is_the_colour(builtin: cie.Embedder) -> None:
    words = builtin.words(images(), "car color", k=2)  # type: ignore[attr-defined]
    assert np.mean([found[0][0] for found in words] == PAINT) >= 0.95
    assert all(0 < found[0][1] <= 1 for found in words)


def test_red_finds_red_cars_first(builtin: cie.Embedder) -> None:
    vectors = builtin.encode(images(), "car color")
    ranked = np.argsort(-cie.similarity(builtin.encode_text(COLORS, "car color"), vectors), axis=1)
    precisions = []
    for color, order in zip(COLORS, ranked, strict=True):
        relevant = PAINT[order] == color
        precisions.append((relevant.cumsum() / np.arange(1, len(order) + 1))[relevant].mean())
    assert np.mean(precisions) >= 0.9


def test_texts_take_the_same_axes_as_images(builtin: cie.Embedder) -> None:
    texts = builtin.encode_text(["red", "blue"], ["car color", None])
    assert texts.shape == (2, 2, 256)
    np.testing.assert_allclose(builtin.encode_text("blue", "car color"), texts[1, 0], atol=1e-5)
    assert builtin.encode_text("red", "car color", layer=[-1, 2]).shape == (512,)
    with pytest.raises(ModelError, match="reads no text"):
        cie.load("pixels").encode_text("red")
    assert builtin.encode_text([], ["car color", None]).shape == (0, 2, 256)


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory, builtin: cie.Embedder):
    directory = tmp_path_factory.mktemp("sweep")
    make(directory / "datasets" / "synthetic_cars", images=120)
    benchmark = datasets.get("synthetic_cars", directory / "datasets")
    store = Store(directory / "db")
    request = Request(
        conditions=("car color",), prompt_types=("describe", "express"), layers=(0, -1), tokens=(-1, -2), top_words=3
    )
    return store, benchmark, request, sweep(store, benchmark, builtin, request)


def test_a_sweep_ranks_every_combination_and_a_second_one_embeds_nothing(swept, builtin, monkeypatch) -> None:
    store, benchmark, request, rows = swept
    assert len(rows) == 8
    assert [row["map_at_r"] for row in rows] == sorted((row["map_at_r"] for row in rows), reverse=True)
    assert rows[0]["layer"] == -1
    assert rows[-1]["layer"] == 0  # the last token's own embedding: the same for all images
    assert rows[0]["held_out_map_at_r"] > 0.8
    monkeypatch.setattr(type(builtin), "prepare", lambda *_: pytest.fail("an image was read"))
    assert sweep(store, benchmark, builtin, request) == rows
    assert "held out" in format_table(rows)
    with pytest.raises(ValueError, match="no aspect of synthetic_cars"):
        sweep(store, benchmark, builtin, Request(conditions=("mood",)))


def stored_words(store: Store, condition: str, pattern: str = "*") -> list[dict[str, Any]]:
    (found,) = settings_with_words(store, [condition], pattern).values()
    return words_of(store, found)


def test_words_are_told_from_the_store(swept) -> None:
    store, benchmark, _, _ = swept
    with pytest.raises(StoreError, match="choose with --setting"):
        stored_words(store, "car color")
    rows = stored_words(store, "Car  Color", "*describe*")
    labels = next(labels for aspect, labels in benchmark.labels.items() if aspect.name == "car color")
    assert [row["image_id"] for row in rows] == sorted(labels)
    right = np.mean([row["words"][0]["word"] == labels[row["image_id"]] for row in rows])
    assert right >= 0.95
    assert (
        stored_words(store, "car color", "*describe-car color-num_layer=-1-num_token=-1*") == rows
    )  # as the paper's folders
    with pytest.raises(StoreError, match="conditions: car color"):
        stored_words(store, "mood")
    with pytest.raises(StoreError, match=r"no setting of .* matches 'nothing\*'; there are: synthetic_cars-builtin-"):
        stored_words(store, "car color", "nothing*")


def test_the_commands(swept, tmp_path: Path) -> None:
    store, benchmark, _, rows = swept

    def shown(*arguments: object) -> str:
        done = commands.cie(*arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    axes = ("--layers", "0,-1", "--prompt-types", "describe,express", "--tokens=-1,-2", "-c", "car color")
    printed = shown("sweep", "synthetic_cars", "-m", "builtin", "--datasets-dir", Path(benchmark.root).parent,
                  "-e", store.uri, *axes, "--json")  # fmt: skip
    assert json.loads(printed) == rows
    assert "red" in shown("words", store.uri, "-c", "car color", "--setting", "*express*", "-n", 2)
    assert shown("refine", store.uri, "--setting", "*describe*num_token_-1*").count("made") == 2
