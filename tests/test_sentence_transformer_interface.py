"""An embedder as a sentence-transformers model: the vectors are its own, and sentence-transformers' tools take it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import conditional_image_embeddings as cie
from conditional_image_embeddings.datasets.car_colors import colour_name
from conditional_image_embeddings.datasets.car_renderer import render, sample_scene
from conditional_image_embeddings.errors import ConditionError, ImageError, ModelError
from conditional_image_embeddings.interfaces.sentence_transformer import ConditionalEncoder

SCENES = [sample_scene(np.random.default_rng([99, k])) for k in range(20)]
IMAGES = [Image.fromarray(render(scene)) for scene in SCENES]
NAMES = [colour_name(*scene.color_hsv) for scene in SCENES]
COLOR = "car color"


@pytest.fixture(scope="module")
def embedder() -> Any:
    return cie.load("builtin")


@pytest.fixture(scope="module")
def encoder(embedder: Any) -> ConditionalEncoder:
    return ConditionalEncoder(embedder, COLOR)


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("cars")
    for index, image in enumerate(IMAGES):
        image.save(folder / f"{index}.png")
    return [str(folder / f"{index}.png") for index in range(len(IMAGES))]


def near(a: Any, b: Any) -> bool:
    """Equal up to what the make-up of a batch changes in the last digits."""
    return np.allclose(a, b, atol=1e-4)


def test_images_alone_are_exactly_the_embedders_vectors(encoder: ConditionalEncoder, embedder: Any) -> None:
    assert np.array_equal(encoder.encode(IMAGES), embedder.encode(IMAGES, COLOR))
    assert np.array_equal(encoder.encode(["red", "blue"]), embedder.encode_text(["red", "blue"], COLOR))


def test_a_mixed_list_keeps_its_order(encoder: ConditionalEncoder, embedder: Any, paths: list[str]) -> None:
    array = np.asarray(IMAGES[2])
    mixed = [
        "red", paths[0], IMAGES[1], {"text": "blue"}, array, torch.from_numpy(array.copy()),
        Path(paths[3]).read_bytes(), Path(paths[4]), {"image": IMAGES[5]},
    ]  # fmt: skip
    images = embedder.encode([IMAGES[k] for k in (0, 1, 2, 2, 3, 4, 5)], COLOR)
    red, blue = embedder.encode_text(["red", "blue"], COLOR)
    expected = [red, images[0], images[1], blue, *images[2:]]
    assert near(encoder.encode(mixed), np.stack(expected))


def test_an_image_with_a_text_lies_in_the_middle(encoder: ConditionalEncoder, embedder: Any) -> None:
    (both, alone) = encoder.encode([{"image": IMAGES[0], "text": "red"}, IMAGES[0]])
    image = embedder.encode(IMAGES[0], COLOR, normalize_embeddings=True)
    text = embedder.encode_text("red", COLOR, normalize_embeddings=True)
    assert near(both, (image + text) / 2)
    assert near(alone, embedder.encode(IMAGES[0], COLOR))


def test_one_input_is_a_vector_and_a_4d_array_several(encoder: ConditionalEncoder) -> None:
    dimension = encoder.get_embedding_dimension()
    assert encoder.encode(IMAGES[0]).shape == encoder.encode("red").shape == (dimension,)
    assert encoder.encode(np.asarray(IMAGES[0])).shape == (dimension,)
    assert encoder.encode(np.stack([np.asarray(image) for image in IMAGES[:2]])).shape == (2, dimension)
    assert encoder.encode(np.array(["red", "blue"])).shape == (2, dimension)
    assert encoder.encode([]).shape == (0, dimension)


@pytest.mark.parametrize("name", ["no/such/car.png", "http://example.org/car.jpg", "data:image/png;base64,AAAA"])
def test_what_looks_like_an_image_is_never_read_as_a_text(encoder: ConditionalEncoder, name: str) -> None:
    with pytest.raises(ImageError, match=r"is not there|not fetched"):
        encoder.encode(name)
    assert encoder.encode({"text": name}).ndim == 1


def test_a_file_without_a_suffix_is_an_image_and_a_folder_a_text(
    encoder: ConditionalEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, paths: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("car").write_bytes(Path(paths[0]).read_bytes())
    Path("red").mkdir()
    assert near(encoder.encode("car"), encoder.encode(IMAGES[0]))
    assert near(encoder.encode("red"), encoder.encode({"text": "red"}))
    assert near(encoder.encode("a red car " * 500), encoder.encode({"text": "a red car " * 500}))


def test_forms_of_the_result(encoder: ConditionalEncoder) -> None:
    vectors = encoder.encode(IMAGES[:3])
    assert vectors.dtype == np.float32
    tensor = encoder.encode(IMAGES[:3], convert_to_tensor=True)
    assert isinstance(tensor, torch.Tensor)
    assert tensor.device == encoder.device
    assert np.array_equal(tensor.numpy(), vectors)
    several = encoder.encode(IMAGES[:3], convert_to_numpy=False)
    assert [each.shape for each in several] == [tensor[0].shape] * 3
    short = encoder.encode(IMAGES[:3], truncate_dim=8, normalize_embeddings=True)
    assert near(short, vectors[:, :8] / np.linalg.norm(vectors[:, :8], axis=1, keepdims=True))
    assert encoder.encode(IMAGES[:3], precision="binary").shape == (3, encoder.get_embedding_dimension() // 8)
    with encoder.truncate_embeddings(16):
        assert encoder.get_embedding_dimension() == encoder.get_sentence_embedding_dimension() == 16
        assert encoder.encode(IMAGES[0]).shape == encoder.encode_query(IMAGES[0]).shape == (16,)


def test_similarities_are_the_packages_own(encoder: ConditionalEncoder) -> None:
    a, b = encoder.encode(IMAGES[:4]), encoder.encode_document(NAMES[:4], batch_size=2)
    assert encoder.similarity_fn_name == "cosine"
    assert near(encoder.similarity(a, b).numpy(), cie.similarity(a, b))
    assert near(encoder.similarity_pairwise(a, b).numpy(), np.diag(cie.similarity(a, b)))


def test_options_are_fixed_at_construction(embedder: Any) -> None:
    encoder = ConditionalEncoder(embedder, "car model", prompt_type="express", layer=[-1, -2], truncate_dim=500)
    assert encoder.get_embedding_dimension() == 500
    expected = embedder.encode(IMAGES[:2], "car model", prompt_type="express", layer=[-1, -2], truncate_dim=500)
    assert near(encoder.encode(IMAGES[:2]), expected)
    generated = ConditionalEncoder(embedder, COLOR, embedding_source="first_output")
    assert generated.modalities == ["image"]
    with pytest.raises(ValueError, match="texts have no embedding_source"):
        generated.encode("red")


def test_what_cannot_be_had_is_refused(encoder: ConditionalEncoder, embedder: Any, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"unknown option normalise; encode takes: inputs, .*normalize_embeddings"):
        encoder.encode("red", normalise=True)
    with pytest.raises(TypeError, match=r"unknown option prompt; known here: prompt_type"):
        ConditionalEncoder(embedder, COLOR, prompt="x")
    with pytest.raises(ConditionError, match="clip embeds an image without a condition"):
        ConditionalEncoder("builtin-clip", COLOR)
    for options, message in (
        ({"prompt": "query: "}, "a prompt is not a condition"),
        ({"prompt_name": "classify"}, "known, and empty: query, document"),
        ({"output_value": "token_embeddings"}, "only 'sentence_embedding'"),
        ({"device": "meta"}, "the model is on cpu"),
        ({"device": ["cpu", "cpu"]}, "one process"),
        ({"batch_size": 0}, "at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            encoder.encode("red", **options)
    for value in ({"image": [IMAGES[0]]}, {"audio": "a.wav"}, {}, ("red", "blue"), None):
        with pytest.raises(ValueError, match=r"one text|holds"):
            encoder.encode([value])
    with pytest.raises(ModelError, match="'builtin' and the condition 'car color'"):
        encoder.save(tmp_path / "saved")
    with pytest.raises(ModelError, match="cannot be trained"):
        encoder.preprocess(["red"])


def test_a_model_that_reads_no_text_says_so() -> None:
    encoder = ConditionalEncoder("pixels")
    assert encoder.modalities == ["image"]
    assert encoder.encode(IMAGES[:2]).shape == (2, encoder.get_embedding_dimension())
    with pytest.raises(ModelError, match="pixels reads no text"):
        encoder.encode("red")


def test_evaluators_take_it(encoder: ConditionalEncoder) -> None:
    from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator, TripletEvaluator

    wrong = ["blue" if name == "red" else "red" for name in NAMES]
    scores = encoder.evaluate(TripletEvaluator(IMAGES, NAMES, wrong, name="cars"))
    assert scores["cars_cosine_accuracy"] >= 0.9
    colors = sorted(set(NAMES))
    search = InformationRetrievalEvaluator(
        queries={color: color for color in colors},
        corpus={str(index): image for index, image in enumerate(IMAGES)},
        relevant_docs={color: {str(index) for index, name in enumerate(NAMES) if name == color} for color in colors},
        map_at_k=[20],
    )
    assert search(encoder)["cosine_map@20"] >= 0.9


def test_its_tools_take_it(encoder: ConditionalEncoder, paths: list[str]) -> None:
    from datasets import Dataset
    from sentence_transformers import util

    pairs = Dataset.from_dict({"anchor": NAMES, "positive": paths})
    mined = util.mine_hard_negatives(pairs, encoder, num_negatives=1, range_max=10, verbose=False)
    assert len(mined) == len(NAMES)
    assert all(
        negative in paths and negative != positive
        for negative, positive in zip(mined["negative"], mined["positive"], strict=True)
    )
    (found,) = util.semantic_search(encoder.encode(["red"]), encoder.encode(paths), top_k=1)
    assert NAMES[found[0]["corpus_id"]] == "red"
    groups = util.community_detection(
        encoder.encode(IMAGES, convert_to_tensor=True), threshold=0.9, min_community_size=2
    )
    assert groups
    assert all(len({NAMES[index] for index in group}) == 1 for group in groups)
