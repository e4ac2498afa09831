"""Loading: what a model is decides its method, and whatever is wrong is one line."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny_dual_encoders
import torch
import transformers as tf
from PIL import Image
from tiny_models import save as save_lvlm

import conditional_image_embeddings as cie
from conditional_image_embeddings.errors import ModelError

IMAGE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def lvlm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("lvlm")
    save_lvlm("idefics3", directory)
    return directory


def refused(model: object, **options: object) -> str:
    with pytest.raises(ModelError) as error:
        cie.load(str(model), **options)
    text = str(error.value)
    assert "\n" not in text
    assert len(text) < 500
    return text


def test_the_config_decides_the_method(lvlm: Path, tmp_path: Path) -> None:
    assert cie.load(str(lvlm)).method == "dior"
    assert cie.load(str(tiny_dual_encoders.save("siglip2", tmp_path / "looks-like-llava"))).method == "clip"
    assert cie.load("builtin").method == "dior"
    assert cie.load("builtin-clip").method == "clip"
    assert cie.load("pixels").method == "pixels"


def test_models_of_other_kinds(tmp_path: Path) -> None:
    tf.LlamaConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1).save_pretrained(tmp_path / "lm")
    assert "llama model: neither" in refused(tmp_path / "lm")
    tf.ViTConfig().save_pretrained(tmp_path / "vit")
    assert "vit model: neither" in refused(tmp_path / "vit")


def test_models_that_are_not_there(tmp_path: Path, lvlm: Path) -> None:
    assert "does not exist" in refused(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    assert "no config.json" in refused(tmp_path / "empty")
    assert "is a file" in refused(lvlm / "config.json")
    assert "builtin" in refused("nobody/nothing-of-that-name", local_files_only=True)


def test_damaged_models(tmp_path: Path, lvlm: Path) -> None:
    def copy(name: str) -> Path:
        return Path(shutil.copytree(lvlm, tmp_path / name))

    cut = copy("cut") / "model.safetensors"
    cut.write_bytes(cut.read_bytes()[:1000])
    assert "safetensors" in refused(cut.parent)
    pickled = copy("pickled")
    (pickled / "model.safetensors").unlink()
    torch.save({}, pickled / "pytorch_model.bin")
    assert "safetensors" in refused(pickled)
    unknown = copy("unknown")
    config = json.loads((unknown / "config.json").read_text())
    (unknown / "config.json").write_text(json.dumps(config | {"model_type": "llava-9000"}))
    assert "llava-9000" in refused(unknown)
    (unknown / "config.json").write_text(json.dumps(config | {"model_type": "x", "auto_map": {"AutoConfig": "a.B"}}))
    assert "trust_remote_code" in refused(unknown)
    (unknown / "config.json").write_text("{")
    refused(unknown)


def test_options(lvlm: Path) -> None:
    with pytest.raises(TypeError, match=r"sharing.*attn_implementation"):
        cie.load(str(lvlm), sharing=True)
    with pytest.raises(ValueError, match="known: dior, generative, clip"):
        cie.load(str(lvlm), method="clap")
    assert "float32" in refused(lvlm, dtype="float12")
    assert "cuda" in refused(lvlm, device="cuda:99")
    assert "unknown device" in refused(lvlm, device="gpu")


def test_revision_is_that_of_the_files(lvlm: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(lvlm, tmp_path / "copy")
    first, second = cie.load(str(lvlm)).revision, cie.load(str(copied)).revision
    assert first == second
    other = cie.load(str(tiny_dual_encoders.save("clip", tmp_path / "clip"))).revision
    assert other != first


def test_random_weights_are_a_seeded_control(lvlm: Path) -> None:
    state = torch.random.get_rng_state()
    one = cie.load(str(lvlm), random_weights=True).encode(IMAGE)
    assert torch.equal(state, torch.random.get_rng_state())
    assert np.array_equal(one, cie.load(str(lvlm), random_weights=True).encode(IMAGE))
    assert np.abs(one - cie.load(str(lvlm)).encode(IMAGE)).max() > 1e-3
