"""CLIP on any dual encoder: recognised by its config, right in batches, texts in the images' space."""

from pathlib import Path

import numpy as np
import pytest
import tiny_dual_encoders
import torch
from PIL import Image
from tiny_models import save as save_lvlm
from transformers import AutoModel

import conditional_image_embeddings as cie
from conditional_image_embeddings.errors import ConditionError, ModelError

RANDOM = np.random.default_rng(0)
IMAGES = [
    Image.fromarray(RANDOM.integers(0, 256, (height, width, 3), dtype=np.uint8))
    for height, width in ((40, 60), (60, 40), (33, 33), (90, 20), (8, 8))
]


@pytest.fixture(scope="module", params=list(tiny_dual_encoders.FAMILIES))
def directory(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_dual_encoders.save(request.param, tmp_path_factory.mktemp(request.param))


def test_a_batch_is_its_images_one_by_one(directory: Path) -> None:
    embedder = cie.load(str(directory), device="cpu")
    assert embedder.method == "clip"
    together = embedder.encode(IMAGES)
    assert together.shape == (len(IMAGES), together.shape[1])
    assert together.std(axis=0).max() > 1e-4  # random weights, but not one vector for all
    for image, vector in zip(IMAGES, together, strict=True):
        assert np.abs(embedder.encode(image) - vector).max() < 1e-5


def test_it_is_the_models_own_projection(directory: Path) -> None:
    embedder = cie.load(str(directory), device="cpu")
    model = AutoModel.from_pretrained(directory, dtype=torch.float32).eval()
    inputs = embedder.image_processor(images=[IMAGES[0]], return_tensors="pt")  # type: ignore[attr-defined]
    with torch.inference_mode():
        expected = model.get_image_features(**inputs)
    expected = expected if torch.is_tensor(expected) else expected.pooler_output
    assert np.abs(embedder.encode(IMAGES[0]) - expected[0].numpy()).max() < 1e-5


def test_texts_share_the_space(directory: Path) -> None:
    embedder = cie.load(str(directory), device="cpu")
    texts = embedder.encode_text(["car", "a much longer text about the color of a car"])
    assert texts.shape == (2, embedder.encode(IMAGES[0]).shape[0])
    assert np.abs(embedder.encode_text("car") - texts[0]).max() < 1e-5


def test_what_clip_does_not_take(directory: Path) -> None:
    embedder = cie.load(str(directory), device="cpu")
    with pytest.raises(ConditionError, match="without a condition"):
        embedder.encode(IMAGES, conditions="car color")
    with pytest.raises(ValueError, match="layer"):
        embedder.encode(IMAGES, layer=1)
    with pytest.raises(ModelError, match="dior cannot use"):
        cie.load(str(directory), method="dior")


def test_options_of_encode(tmp_path: Path) -> None:
    embedder = cie.load(str(tiny_dual_encoders.save("clip", tmp_path)), device="cpu")
    vectors = embedder.encode(IMAGES, normalize_embeddings=True, truncate_dim=5, convert_to_tensor=True)
    assert vectors.shape == (5, 5)
    assert torch.allclose(vectors.norm(dim=1), torch.ones(5))
    with pytest.raises(ValueError, match="16 dimensions"):
        embedder.encode(IMAGES, truncate_dim=17)
    with pytest.raises(TypeError, match="conditionz"):
        embedder.encode(IMAGES, conditionz="x")  # type: ignore[call-arg]
    assert embedder.encode([]).shape == (0, 16)


def test_a_vision_language_model_is_no_clip(tmp_path: Path) -> None:
    save_lvlm("idefics3", tmp_path)
    with pytest.raises(ModelError, match="clip cannot use"):
        cie.load(str(tmp_path), method="clip")


def test_special_tokens_that_users_type_are_text():
    """A text that holds the token that CLIP reads a text at, and one that does not, differ as any two texts do."""
    embedder = cie.load("builtin-clip", device="cpu")
    ended, cut, longer = embedder.encode_text(["a red<|endoftext|> car", "a red", "a red car"])
    assert np.abs(ended - cut).max() > 1e-3
    tokenizer = embedder._tokenizer  # type: ignore[attr-defined]
    ids = tokenizer("a red<|endoftext|> car", split_special_tokens=True)["input_ids"]
    assert ids.count(tokenizer.eos_token_id) == 1
    assert np.isfinite(longer).all()
