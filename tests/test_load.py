"""Loading: what a model is decides its method, and whatever is wrong is one line."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_dual_encoders
import torch
import transformers as tf
from PIL import Image
from tiny_families.parts import SQUARE, VISION, text
from tiny_families.queries import queried
from tiny_models import save as save_lvlm
from tiny_models import tokenizer

import conditional_image_embeddings as cie
from conditional_image_embeddings.collection.job.embedding_job import run_job
from conditional_image_embeddings.collection.storage.store import Store
from conditional_image_embeddings.errors import ModelError
from conditional_image_embeddings.inputs.sources import find
from conditional_image_embeddings.methods.request import Request

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


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("builtin", {}),
        ("builtin", {"method": "generative", "text_encoder": "minilm"}),
        ("builtin-clip", {}),
        ("builtin-clip", {"method": "indirect", "solver": "svd"}),
        ("builtin-clip", {"method": "clay"}),
        ("pixels", {}),
    ],
)
def test_the_papers_pixels_with_every_method(model: str, options: dict[str, str], tmp_path: Path) -> None:
    """`image_reading="reference"`: what the paper's code sees, in `encode`, in a job, and in the setting."""
    turned = Image.Exif()
    turned[0x0112] = 6
    (tmp_path / "photos").mkdir()
    IMAGE.save(tmp_path / "photos/turned.png", exif=turned)
    upright, reference = (cie.load(model, **options, **reading) for reading in ({}, {"image_reading": "reference"}))
    if upright.method == "clay":
        for each in (upright, reference):
            each.fit([IMAGE])  # type: ignore[attr-defined]
    condition = "car color" if upright.conditional else None
    seen = [each.encode([tmp_path / "photos/turned.png", IMAGE], condition) for each in (upright, reference)]
    assert (seen[1][0] == seen[1][1]).all()
    assert not np.allclose(seen[0][0], seen[1][0], atol=1e-4) or upright.method == "generative"
    np.testing.assert_allclose(seen[0][1], seen[1][1], atol=2e-6)
    request = Request(conditions=(condition,))
    ours, papers = (each.settings(request, dataset="d") for each in (upright, reference))
    assert "image_reading" not in ours[0].extra
    assert papers == [replace(each, extra={**each.extra, "image_reading": "reference"}) for each in ours]
    (source,) = find([tmp_path / "photos"])
    report = run_job(Store(tmp_path / "db"), source, reference, request)
    stored = Store(tmp_path / "db").read(report.settings[0].setting)[1]
    if reference.method != "clay":  # whose map is made for the collection that is stored
        np.testing.assert_allclose(stored[0], seen[1][0], atol=2e-6)
    with pytest.raises(ValueError, match="unknown image_reading 'sideways'; known: upright, reference"):
        cie.load(model, **options, image_reading="sideways")


def test_what_was_saved_decides_where_a_family_is_both(tmp_path: Path) -> None:
    model = cie.load(str(save_lvlm("blip_2", tmp_path)))
    assert model.method == "dior"
    with pytest.raises(ModelError, match="gives no words"):
        model.words(IMAGE, "color")


def test_models_of_other_kinds(tmp_path: Path) -> None:
    tf.LlamaConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1).save_pretrained(tmp_path / "lm")
    assert "llama model: neither" in refused(tmp_path / "lm")
    tf.ViTConfig().save_pretrained(tmp_path / "vit")
    assert "vit model: neither" in refused(tmp_path / "vit")


def saved(directory: Path, config: tf.PreTrainedConfig, processor: tf.ProcessorMixin) -> Path:
    tf.AutoModelForImageTextToText.from_config(config).save_pretrained(directory)
    processor.save_pretrained(directory)
    return directory


def test_generators_whose_image_is_not_in_the_prompt(tmp_path: Path) -> None:
    tok = tokenizer("<image>", {"placeholder": "<image>"}, chat=False)
    images = tf.BlipImageProcessor(size=SQUARE)
    sizes = {"hidden_size": 32, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_hidden_layers": 1, "num_heads": 2}
    pix2struct = tf.Pix2StructConfig(text_config={**sizes, "vocab_size": len(tok)}, vision_config=sizes)
    processor = tf.Pix2StructProcessor(tf.Pix2StructImageProcessor(), tok)
    assert "is an encoder-decoder" in refused(saved(tmp_path / "pix2struct", pix2struct, processor))
    t5 = tf.T5Config(vocab_size=len(tok), d_model=32, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    instructblip = queried(tf.InstructBlipConfig, tok, t5)
    processor = tf.InstructBlipProcessor(images, tok, tok, num_query_tokens=4)
    assert "is an encoder-decoder" in refused(saved(tmp_path / "instructblip", instructblip, processor))
    blip = tf.BlipConfig(text_config={**text(tok), "encoder_hidden_size": 32}, vision_config=dict(VISION))
    assert "has no image token" in refused(saved(tmp_path / "blip", blip, tf.BlipProcessor(images, tok)))


def test_a_processor_that_asks_its_own_questions(tmp_path: Path) -> None:
    gemma3 = save_lvlm("gemma3", tmp_path)
    own = tf.AutoProcessor.from_pretrained(gemma3)
    tf.ShieldGemma2Processor(own.image_processor, own.tokenizer, own.chat_template).save_pretrained(gemma3)
    assert "its chat template cannot be used" in refused(gemma3)


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
    (unknown / "config.json").write_text(
        json.dumps(
            config | {"model_type": "x", "auto_map": {"AutoConfig": "a.B", "AutoModelForImageTextToText": "a.C"}}
        )
    )
    assert "trust_remote_code" in refused(unknown)
    (unknown / "config.json").write_text("{")
    refused(unknown)


def test_options(lvlm: Path) -> None:
    with pytest.raises(TypeError, match=r"sharing.*attn_implementation"):
        cie.load(str(lvlm), sharing=True)
    with pytest.raises(ValueError, match="known: dior, instruct, generative, indirect, clay, clip, pixels"):
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
