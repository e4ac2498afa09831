"""What a user calls and gets back: whatever images come in, whatever is asked for; and one line where it cannot be."""

import inspect
from typing import Any, cast

import numpy as np
import pytest
import torch
from every_method import load_every_method
from PIL import Image

import conditional_image_embeddings as cie
from conditional_image_embeddings.collection import refinement
from conditional_image_embeddings.collection.job.embedding_job import run_job
from conditional_image_embeddings.datasets.car_renderer import render, sample_scene
from conditional_image_embeddings.methods import with_method
from conditional_image_embeddings.methods.embedder import Embedder
from conditional_image_embeddings.methods.request import Request

IMAGES = [Image.fromarray(render(sample_scene(np.random.default_rng([8, k])))).resize((64, 48)) for k in range(4)]
PAIR = ["car color", "car model"]


@pytest.fixture(scope="module")
def dior() -> Any:
    return cie.load("builtin", device="cpu")


@pytest.fixture(scope="module")
def every(dior: Any) -> dict[str, Any]:
    return load_every_method(IMAGES, dior)


METHODS = ["dior", "generative", "clip", "indirect", "clay", "pixels"]


def condition_of(embedder: Any) -> Any:
    return PAIR if embedder.conditional else None


@pytest.mark.parametrize("method", METHODS)
def test_any_collection_of_images_gives_the_same_vectors(method: str, every: dict[str, Any]) -> None:
    embedder, conditions = every[method], condition_of(every[method])
    expected = embedder.encode(IMAGES, conditions)
    objects = np.empty(len(IMAGES), object)
    objects[:] = IMAGES
    arrays = np.stack([np.asarray(image) for image in IMAGES])
    for images in (tuple(IMAGES), iter(IMAGES), (image for image in IMAGES), objects, arrays, torch.from_numpy(arrays)):
        np.testing.assert_array_equal(embedder.encode(images, conditions), expected)
    np.testing.assert_array_equal(np.stack(list(embedder.encode_stream(iter(IMAGES), conditions))), expected)
    assert embedder.encode(IMAGES[0], conditions).shape == expected.shape[1:]


@pytest.mark.parametrize("method", METHODS)
def test_nothing_gives_an_empty_array_of_the_right_shape(method: str, every: dict[str, Any]) -> None:
    embedder, conditions = every[method], condition_of(every[method])
    dimension = embedder.get_embedding_dimension(conditions)
    shape = (0, 2, dimension) if embedder.conditional else (0, dimension)
    assert embedder.encode(IMAGES[0], conditions).shape[-1] == dimension
    for images in ([], iter([]), np.empty((0, 8, 8, 3), np.uint8)):
        found = embedder.encode(images, conditions)
        assert (found.shape, found.dtype) == (shape, np.float32)
    assert list(embedder.encode_stream([], conditions)) == []
    assert embedder.encode([], conditions, convert_to_tensor=True).shape == shape
    assert embedder.encode([], conditions, truncate_dim=4).shape[-1] == 4
    if method != "pixels":
        assert embedder.encode_text([], conditions).shape == shape
    if method in {"dior", "generative"}:
        assert embedder.words([], conditions) == []


def test_the_dimension_depends_on_what_is_asked_for(dior: Any, every: dict[str, Any]) -> None:
    assert dior.get_embedding_dimension("car color", layer=[-1, -2]) == 2 * dior.get_embedding_dimension()
    clay = every["clay"]
    for conditions in (*PAIR, PAIR):
        assert clay.get_embedding_dimension(conditions) == clay.encode(IMAGES, conditions).shape[-1]


def test_arrays_or_tensors_as_in_sentence_transformers(dior: Any) -> None:
    for encode, inputs in ((dior.encode, IMAGES[:2]), (dior.encode_text, ["red", "blue"])):
        array = encode(inputs, PAIR)
        assert isinstance(array, np.ndarray)
        tensor = encode(inputs, PAIR, convert_to_tensor=True, convert_to_numpy=True)
        rows = encode(inputs, PAIR, convert_to_numpy=False)
        single = encode(inputs[0], PAIR, convert_to_numpy=False)
        assert torch.equal(tensor, torch.from_numpy(array))
        assert isinstance(rows, list)
        assert torch.equal(torch.stack(rows), tensor)
        assert isinstance(single, torch.Tensor)
        assert single.shape == tensor[0].shape


def test_numbers_of_numpy_are_numbers(dior: Any) -> None:
    layer: Any = np.int64(1)
    np.testing.assert_array_equal(
        dior.encode(
            IMAGES, "car color", layer=layer, token=np.int32(-1), batch_size=np.int64(2), truncate_dim=np.int8(9)
        ),
        dior.encode(IMAGES, "car color", layer=1, batch_size=2, truncate_dim=9),
    )
    several = dior.encode(IMAGES, "car color", layer=np.array([1, 2]), layer_pooling="mean")
    np.testing.assert_array_equal(several, dior.encode(IMAGES, "car color", layer=range(1, 3), layer_pooling="mean"))
    [setting] = dior.settings(Request(layers=(layer,)), dataset="d")
    [same] = dior.settings(Request(layers=(1,)), dataset="d")
    assert setting.name == same.name


@pytest.mark.parametrize("value", [0, -1, True, 2.0, "3", [1]])
def test_counts_are_whole_and_positive(value: Any, dior: Any, every: dict[str, Any]) -> None:
    clip, nothing = cie.load("pixels"), cast("Any", None)
    for name, call in [
        ("batch_size", lambda **how: clip.encode(IMAGES, **how)),
        ("batch_size", lambda **how: clip.encode([], **how)),
        ("batch_size", lambda **how: clip.encode_stream(IMAGES, **how)),
        ("workers", lambda **how: clip.encode_stream(IMAGES, **how)),
        ("workers", lambda **how: clip.stream(enumerate(IMAGES), Request(), **how)),
        ("truncate_dim", lambda **how: clip.encode(IMAGES, **how)),
        ("truncate_dim", lambda **how: clip.encode_stream(IMAGES, **how)),
        ("max_new_tokens", lambda **how: dior.encode(IMAGES, embedding_source="mean_output", **how)),
        ("max_new_tokens", Request),
        ("batch_size", lambda **how: dior.encode_text("red", **how)),
        ("batch_size", lambda **how: dior.words(IMAGES, **how)),
        ("k", lambda **how: dior.words(IMAGES, **how)),
        ("size", lambda **how: cie.load("pixels", **how)),
        ("components", lambda **how: with_method(every["clip"], "indirect", **how)),
        ("batch_size", lambda **how: run_job(nothing, nothing, nothing, Request(), **how)),
        ("workers", lambda **how: run_job(nothing, nothing, nothing, Request(), **how)),
        ("dimensions", lambda **how: refinement.fit([np.ones((2, 3))], **how)),
    ]:
        with pytest.raises(cie.OptionError, match=rf"^{name} is ") as error:
            call(**{name: value})
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", [-1, True, 7.5, "7"])
def test_sizes_of_images_are_checked_when_a_model_is_loaded(value: Any) -> None:
    for model in ("pixels", "builtin-clip", "builtin"):
        with pytest.raises(cie.OptionError, match=r"^image_max_size is "):
            cie.load(model, image_max_size=value)


@pytest.mark.parametrize("value", [True, 1.0, "1", None, [], [1, 2.0], {1, 2}])
def test_indices_are_whole_numbers_in_an_order(value: Any, dior: Any) -> None:
    with pytest.raises(cie.OptionError, match=r"^layer "):
        dior.encode(IMAGES, "car color", layer=value)
    with pytest.raises(cie.OptionError, match=r"^token is "):
        dior.encode(IMAGES, "car color", token=value)


def test_what_has_no_order_is_refused(dior: Any) -> None:
    for call, what in [
        (lambda: dior.encode({"a.png", "b.png"}), "images"),
        (lambda: dior.encode({"a": IMAGES[0]}), "images"),
        (lambda: dior.encode_stream({"a.png"}), "images"),
        (lambda: dior.words({"a.png"}), "images"),
        (lambda: dior.encode_text({"red", "blue"}), "texts"),
        (lambda: dior.encode(IMAGES, set(PAIR)), "conditions"),
        (lambda: dior.encode(IMAGES, dict.fromkeys(PAIR)), "conditions"),
        (lambda: dior.encode(IMAGES, prompt_type={"describe", "express"}), "prompt_type"),
    ]:
        with pytest.raises(cie.CieError, match=rf"^{what} comes? as a list, which has an order, not as (set|dict)$"):
            call()
    with pytest.raises(cie.OptionError, match="a text is a str such as 'red', not int"):
        dior.encode_text(["red", 3])


def test_one_spelling_of_a_text(dior: Any) -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    for encode, inputs in ((dior.encode, IMAGES[0]), (dior.encode_text, "red")):
        np.testing.assert_array_equal(encode(inputs, composed), encode(inputs, decomposed))
    np.testing.assert_array_equal(dior.encode_text(composed, "place"), dior.encode_text(f" {decomposed}\n", "place"))
    [one], [other] = (dior.settings(Request(conditions=(each,)), dataset="d") for each in (composed, decomposed))
    assert one == other


@pytest.mark.parametrize("method", METHODS)
def test_a_misspelt_keyword_lists_the_known_ones(method: str, every: dict[str, Any]) -> None:
    embedder = every[method]
    for call in (embedder.encode, embedder.encode_text, embedder.words, embedder.encode_stream):
        with pytest.raises(TypeError, match=rf"unknown option batchsize; {call.__name__} takes: .*batch_size") as error:
            call(IMAGES, batchsize=8)
        assert isinstance(error.value, cie.UnknownOptionError)
    with pytest.raises(TypeError, match=r"unknown option layers; get_embedding_dimension takes: conditions, .*layer"):
        embedder.get_embedding_dimension(layers=1)


def test_signatures_are_spelled_out() -> None:
    parameters = inspect.signature(Embedder.encode).parameters
    assert {"prompt_type", "truncate_dim", "convert_to_numpy", "convert_to_tensor"} <= parameters.keys()
    assert all(each.kind is not each.VAR_KEYWORD for each in parameters.values())


def test_methods_without_words_or_texts_say_so(every: dict[str, Any]) -> None:
    for method in ("clip", "indirect", "clay", "pixels"):
        with pytest.raises(cie.ModelError, match=f"^{method} tells no words: "):
            every[method].words(IMAGES[0], condition_of(every[method]))
    with pytest.raises(cie.ModelError, match=r"^pixels reads no text: "):
        every["pixels"].encode_text("red")
    ((answer, probability),) = every["generative"].words(IMAGES[0], "car color")
    assert isinstance(answer, str)
    assert 0 < probability <= 1
    assert [[len(each) for each in of_image] for of_image in every["generative"].words(IMAGES, PAIR, k=3)] == [
        [1, 1]
    ] * 4


def test_texts_in_batches(dior: Any, every: dict[str, Any]) -> None:
    texts = [f"{color} number {k}" for k in range(4) for color in ("red", "green", "blue")]
    for embedder in (dior, every["clip"], every["clay"]):
        conditions = condition_of(embedder)
        whole = embedder.encode_text(texts, conditions)
        found = embedder.encode_text((text for text in texts), conditions, batch_size=5, show_progress_bar=True)
        np.testing.assert_allclose(found, whole, atol=1e-4 * np.abs(whole).max())


@pytest.mark.parametrize("conditions", [None, PAIR])
def test_a_stream_goes_on_where_it_is_asked_to(conditions: Any, dior: Any) -> None:
    images = [IMAGES[0], b"no image", IMAGES[1], "missing.png", IMAGES[2]]
    found = list(dior.encode_stream(images, conditions, errors="yield"))
    expected = dior.encode(IMAGES[:3], conditions)
    for vector, given in zip(found, images, strict=True):
        if isinstance(given, Image.Image):
            np.testing.assert_allclose(vector, expected[IMAGES.index(given)], atol=1e-4)
        else:
            assert isinstance(vector, cie.ImageError)
    assert str(found[3]).startswith("'missing.png'")
    stream = dior.encode_stream(images, conditions)
    np.testing.assert_allclose(next(stream), expected[0], atol=1e-4)
    with pytest.raises(cie.ImageError, match=r"^image 1 "):
        next(stream)
    with pytest.raises(cie.OptionError, match=r"unknown errors 'skip'; known: raise, yield"):
        dior.encode_stream(images, errors="skip")


def test_it_says_what_it_is(every: dict[str, Any]) -> None:
    shown = {method: repr(embedder) for method, embedder in every.items()}
    assert shown["dior"] == "DIOR('builtin', method='dior', device='cpu', dtype='float32', sharing='packed')"
    assert shown["generative"].startswith("Generative('builtin', method='generative', device='cpu', dtype='float32', s")
    assert shown["clay"] == "CLAY('builtin-clip', method='clay', device='cpu', dtype='float32')"
    assert shown["pixels"] == "Pixels('pixels-12', method='pixels', device='cpu', dtype='float32')"


def test_what_is_public() -> None:
    assert sorted(cie.__all__) == dir(cie)
    for name in cie.__all__:
        assert getattr(cie, name) is not None
    from conditional_image_embeddings import errors

    kinds = {each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, Exception)}
    assert {each.__name__ for each in kinds} <= set(cie.__all__)
    with pytest.raises(AttributeError, match=r"has no attribute 'lod'; it has: .*load"):
        cie.lod  # noqa: B018
