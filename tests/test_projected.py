"""InDiReCT and CLAY on stored CLIP vectors: the maps applied to CLIP's own vectors, and no image looked at twice."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_dual_encoders
from color_embedder import draw
from PIL import Image

import conditional_image_embeddings as cie
from conditional_image_embeddings.collection.job.embedding_job import JobReport, run_job
from conditional_image_embeddings.collection.storage.store import Store
from conditional_image_embeddings.errors import ConditionError, ModelError
from conditional_image_embeddings.inputs import aspect_texts
from conditional_image_embeddings.inputs.sources import find
from conditional_image_embeddings.methods import clay, indirect, with_method
from conditional_image_embeddings.methods.clip import CLIP
from conditional_image_embeddings.methods.projected import Projected
from conditional_image_embeddings.methods.request import Request
from conditional_image_embeddings.methods.unit_vectors import mean_direction, project

CONDITIONS = ("car color", "mood")
WORDS = {"mood": "happy,sad,angry"}
METHODS = ("indirect", "clay")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_dual_encoders.save("clip", tmp_path_factory.mktemp("clip")))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return draw(tmp_path / "photos", 9)


def load(model: str, method: str, **options: object) -> Any:
    options = {"words": WORDS, "components": 6, **options}
    return cie.load(model, method=method, device="cpu", **options)


def run(store: Store, folder: Path, embedder: Projected, conditions: tuple[str, ...] = CONDITIONS) -> JobReport:
    return run_job(store, find([folder])[0], embedder, Request(conditions=conditions))


def expected(model: str, method: str, images: list[Image.Image], condition: str) -> np.ndarray:
    """The map by hand: texts and images through CLIP as it is."""
    clip = cie.load(model, device="cpu")
    texts = clip.encode_text(aspect_texts.texts(condition, WORDS.get(condition)))
    vectors = clip.encode(images)
    if method == "clay":
        return clay.project(clay.fit(texts, mean_direction(vectors), components=6), vectors)
    (matrix,) = indirect.fit([texts], components=6)
    return project(matrix, vectors)


@pytest.mark.parametrize("method", METHODS)
def test_vectors_are_clips_through_the_map_in_memory_and_in_a_store(method: str, model: str, folder: Path) -> None:
    images = [Image.open(path) for path in sorted(folder.iterdir())]
    embedder = load(model, method)
    embedder.fit(images)
    together = embedder.encode(images, CONDITIONS)
    report = run(Store(folder.parent / "db"), folder, load(model, method))
    for k, condition in enumerate(CONDITIONS):
        wanted = expected(model, method, images, condition)
        np.testing.assert_allclose(together[:, k], wanted, atol=1e-4)
        np.testing.assert_allclose(np.linalg.norm(together[:, k], axis=1), 1, atol=1e-5)
        stored = Store(folder.parent / "db").read(report.settings[k].setting)
        assert stored[0] == [path.name for path in sorted(folder.iterdir())]
        np.testing.assert_allclose(stored[1], wanted, atol=1e-4)


@pytest.mark.parametrize("components", [None, 6, 3])
@pytest.mark.parametrize("method", METHODS)
def test_a_conditions_vectors_do_not_depend_on_the_company(
    method: str, components: int | None, model: str, folder: Path
) -> None:
    images = [Image.open(path) for path in sorted(folder.iterdir())]
    embedder = load(model, method, components=components, words={**WORDS, "size": "small,large"})
    embedder.fit(images)
    together = embedder.encode(images, [*CONDITIONS, "size"])
    texts = embedder.encode_text(["red", "happy"], [*CONDITIONS, "size"])
    dimensions = components or (128 if method == "indirect" else embedder.backbone.encode(images[0]).shape[-1])
    for k, condition in enumerate([*CONDITIONS, "size"]):
        alone = embedder.encode(images, condition)
        assert alone.shape == (9, dimensions)
        assert np.array_equal(together[:, k], alone)
        assert np.array_equal(texts[:, k], embedder.encode_text(["red", "happy"], condition))
        assert np.array_equal(embedder.encode(images, [condition, "car color"])[:, 0], alone)


@pytest.mark.parametrize("method", METHODS)
def test_a_new_condition_looks_at_no_image(method: str, model: str, folder: Path, monkeypatch) -> None:
    store, embedder = Store(folder.parent / "db"), load(model, method)
    run(store, folder, embedder, ("car color",))
    monkeypatch.setattr(CLIP, "prepare", lambda *_: pytest.fail("an image was read"))
    report = run(store, folder, embedder)
    assert [(each.embedded, each.already_there) for each in report.settings] == [(0, 9), (9, 0)]
    assert [(each.embedded, each.already_there) for each in run(store, folder, embedder).settings] == [(0, 9)] * 2
    assert {setting.method for setting in store.settings()} == {"clip", method}


def test_when_the_collection_changes_all_is_made_anew(model: str, folder: Path) -> None:
    """CLAY's map depends on the mean of the images: vectors made with different means must not stand in one table."""
    store = Store(folder.parent / "db")
    run(store, folder, load(model, "clay"))
    Image.new("RGB", (30, 20), "red").save(folder / "new.png")
    Image.new("RGB", (24, 16), "blue").save(folder / "00000.png")
    report = run(store, folder, load(model, "clay"))
    assert [each.embedded for each in report.settings] == [10, 10]
    images = [Image.open(path) for path in sorted(folder.iterdir())]
    np.testing.assert_allclose(
        store.read(report.settings[1].setting)[1], expected(model, "clay", images, "mood"), atol=1e-4
    )


@pytest.mark.parametrize("method", METHODS)
def test_texts_go_through_the_same_map(method: str, model: str) -> None:
    embedder = load(model, method)
    texts = embedder.encode_text(["happy", "sad"], CONDITIONS)
    assert texts.shape == (2, 2, 6)
    raw = embedder.backbone.encode_text(["happy", "sad"])
    of_mood = embedder.embedded_texts("mood")
    if method == "indirect":
        wanted = project(indirect.fit([of_mood], components=6)[0], raw)
    else:
        wanted = clay.project(clay.fit(of_mood, components=6), raw)
    np.testing.assert_allclose(texts[:, 1], wanted, atol=1e-4)


def test_images_that_cannot_be_read_are_told_and_the_rest_is_done(model: str, folder: Path) -> None:
    (folder / "broken.png").write_bytes(b"no image")
    report = run(Store(folder.parent / "db"), folder, load(model, "indirect"))
    assert [(each.embedded, each.failed) for each in report.settings] == [(9, 1)] * 2
    assert list(report.failures) == ["broken.png"]


def cosines(vectors: np.ndarray) -> np.ndarray:
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit @ unit.T


@pytest.mark.parametrize("weights", [None, [3.0, 1.0], [0.0, 2.0]])
def test_conditions_together_have_the_weighted_mean_of_their_cosines(
    weights: list[float] | None, model: str, folder: Path
) -> None:
    images = [Image.open(path) for path in sorted(folder.iterdir())]
    embedder = load(model, "clay")
    embedder.fit(images)
    vectors = embedder.encode_together(images, CONDITIONS, weights=weights)
    shares = np.array(weights or [1, 1]) / sum(weights or [1, 1])
    alone = [expected(model, "clay", images, condition) for condition in CONDITIONS]
    np.testing.assert_allclose(
        vectors, np.hstack([np.sqrt(share) * each for share, each in zip(shares, alone, strict=True)]), atol=1e-4
    )
    wanted = sum(share * cosines(each) for share, each in zip(shares, alone, strict=True))
    np.testing.assert_allclose(cosines(vectors), wanted, atol=1e-4)
    np.testing.assert_allclose(embedder.encode_together(images[2], CONDITIONS, weights=weights), vectors[2], atol=1e-5)


def test_conditions_together_are_stored_as_one_setting(model: str, folder: Path) -> None:
    store, options = Store(folder.parent / "db"), {"components": None}
    together = Request(conditions=CONDITIONS, together=True)
    images = [Image.open(path) for path in sorted(folder.iterdir())]
    embedder = load(model, "clay", **options)
    (report,) = run_job(store, find([folder])[0], embedder, together).settings
    assert (report.embedded, report.setting.condition) == (9, "car color + mood")
    assert report.setting.extra["together"] == list(CONDITIONS)
    vectors = store.read(report.setting)[1]
    np.testing.assert_allclose(vectors, embedder.encode_together(images, CONDITIONS), atol=1e-5)
    streamed = dict(embedder.stream(enumerate(images), together))
    np.testing.assert_allclose(vectors, [streamed[index].vectors.squeeze() for index in range(9)], atol=1e-5)
    (again,) = run_job(store, find([folder])[0], load(model, "clay", **options), together).settings
    assert (again.embedded, again.already_there) == (0, 9)
    texts = embedder.embed_text(["happy"], together)
    alone = embedder.embed_text(["happy"], Request(conditions=CONDITIONS))[0, :, 0, 0, 0]
    components = [len(embedder.matrix(condition)) for condition in CONDITIONS]
    side_by_side = np.concatenate([each[:k] for each, k in zip(alone, components, strict=True)])
    np.testing.assert_allclose(texts.ravel(), side_by_side / np.sqrt(2), atol=1e-5)
    names = {each.name for each in embedder.settings(Request(conditions=CONDITIONS), dataset="photos")}
    named_so = load(model, "clay", words={"car color + mood": "a,b"}, **options)
    (lookalike,) = named_so.settings(Request(conditions=("car color + mood",)), dataset="photos")
    assert len({report.setting.name, lookalike.name, *names}) == 4


def test_what_cannot_be_together_says_so(model: str) -> None:
    images = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    embedder = load(model, "clay")
    with pytest.raises(ValueError, match="call fit"):
        embedder.encode_together(images, CONDITIONS)
    embedder.fit(images)
    with pytest.raises(ValueError, match="two conditions"):
        embedder.encode_together(images, ["mood", "mood"])
    with pytest.raises(ValueError, match="two conditions"):
        embedder.encode_together(images, "mood")
    with pytest.raises(ValueError, match="weight"):
        embedder.encode_together(images, CONDITIONS, weights=[1.0])
    with pytest.raises(ConditionError, match="no words are known"):
        embedder.encode_together(images, ["mood", "weather"])
    with pytest.raises(ConditionError, match="method clay"):
        load(model, "indirect").settings(Request(conditions=CONDITIONS, together=True), dataset="d")
    with pytest.raises(ConditionError, match="method clay"):
        cie.load("builtin", device="cpu").settings(Request(conditions=CONDITIONS, together=True), dataset="d")


@pytest.mark.parametrize("method", METHODS)
def test_beside_clip_it_is_the_same(method: str, model: str) -> None:
    images = [Image.new("RGB", (80, 40), color) for color in ("red", "blue", "white")]
    clip = cie.load(model, device="cpu", image_max_size=30)
    alone = load(model, method, image_max_size=30)
    shared = with_method(clip, method, words=WORDS, components=6)
    for each in (alone, shared):
        each.fit(images)  # type: ignore[attr-defined]
    request = Request(conditions=CONDITIONS)
    assert shared.settings(request, dataset="d") == alone.settings(request, dataset="d")
    np.testing.assert_array_equal(shared.encode(images, CONDITIONS), alone.encode(images, CONDITIONS))
    assert with_method(shared, "clip") is clip
    with pytest.raises(ModelError, match="cannot use"):
        with_method(clip, "dior")
    with pytest.raises(TypeError, match="unknown option backbone"):
        cie.load(model, method=method, backbone=clip)


def test_settings_tell_apart_words_components_and_solver(model: str) -> None:
    options = ({}, {"components": 7}, {"solver": "svd"}, {"seed": 1}, {"words": {"mood": "calm,wild"}})
    names = {
        load(model, "indirect", **each).settings(Request(conditions=("mood",)), dataset="d")[0].name for each in options
    }
    assert len(names) == len(options)


def test_what_cannot_be_done_says_so(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    image = Image.new("RGB", (8, 8))
    with pytest.raises(ValueError, match="call fit"):
        load(model, "clay").encode(image, "mood")
    with pytest.raises(ConditionError, match="needs a condition"):
        load(model, "indirect").encode(image)
    with pytest.raises(ConditionError, match=r"no words are known for the condition 'weather'.*--words"):
        load(model, "indirect").encode(image, "weather")
    with pytest.raises(ValueError, match="layer"):
        load(model, "indirect").encode(image, "mood", layer=1)
    with pytest.raises(ModelError, match="cannot use"):
        cie.load("builtin", method="clay")
    with pytest.raises(TypeError, match="method clay does not take solver; known here: "):
        cie.load(model, method="clay", solver="svd")
    monkeypatch.setattr("conditional_image_embeddings.methods.projected.hasattr", lambda *_: False, raising=False)
    with pytest.raises(ModelError, match="no text tower"):
        load(model, "indirect")
