"""Checkpoints without a head (of base models, or saved from the base class) embed as full ones do, and are mute."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_families
import transformers as tf
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_models import save

import conditional_image_embeddings as cie
from conditional_image_embeddings.cli import main
from conditional_image_embeddings.errors import ModelError

IMAGE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 84, 3), dtype=np.uint8))
CONDITIONS = ["color", "the model of the car"]
FAMILIES = [
    "qwen2_5_vl",
    "qwen3_vl",
    "gemma3",
    "llava",
    "idefics3",
    "mistral3",
    "llama4",
    "nemotron_h_omni",
    "inkling2_loop",
]
HEADS = ("lm_head", "unembed")
WEIGHTS = "model.safetensors"


def untied(family: str, directory: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model whose head is no copy of its embeddings."""
    build = tiny_families.BUILDERS[family]

    def built() -> Any:
        config, processor = build()
        config.tie_word_embeddings = config.get_text_config().tie_word_embeddings = False
        return config, processor

    monkeypatch.setitem(tiny_families.BUILDERS, family, built)
    return save(family, directory)


def without_head(full: Path, directory: Path) -> Path:
    shutil.copytree(full, directory)
    weights = load_file(full / WEIGHTS)
    left = {name: tensor for name, tensor in weights.items() if not any(head in name for head in HEADS)}
    assert len(left) == len(weights) - 1
    save_file(left, directory / WEIGHTS, {"format": "pt"})
    return directory


def of_base_class(full: Path, directory: Path, *, prefix: bool) -> Path:
    shutil.copytree(full, directory)
    model = tf.AutoModelForImageTextToText.from_pretrained(full).base_model
    for file in (WEIGHTS, "config.json"):
        (directory / file).unlink()
    model.save_pretrained(directory)
    assert json.loads((directory / "config.json").read_text())["architectures"] == [type(model).__name__]
    weights = load_file(directory / WEIGHTS)
    assert not any(name.startswith("model.") for name in weights)
    if prefix:
        save_file({f"model.{name}": one for name, one in weights.items()}, directory / WEIGHTS, {"format": "pt"})
    return directory


@pytest.mark.parametrize("family", FAMILIES)
def test_vectors_are_those_of_the_full_checkpoint(family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = untied(family, tmp_path / "full", monkeypatch)
    expected = cie.load(str(full)).encode(IMAGE, CONDITIONS)
    checkpoints = [without_head(full, tmp_path / "headless")]
    if family not in {"llama4", "nemotron_h_omni"}:  # no class of theirs lacks the head only
        checkpoints += [of_base_class(full, tmp_path / f"base{prefix}", prefix=prefix) for prefix in (False, True)]
    for checkpoint in checkpoints:
        model: Any = cie.load(str(checkpoint))
        assert not model.lvlm.has_head
        assert not model.has_words
        assert np.array_equal(model.encode(IMAGE, CONDITIONS), expected)


@pytest.fixture(scope="module")
def mute(tmp_path_factory: pytest.TempPathFactory) -> Path:
    full = save("qwen3_vl", tmp_path_factory.mktemp("full") / "model")
    return without_head(full, tmp_path_factory.mktemp("mute") / "model")


def test_what_needs_a_head_says_so(mute: Path) -> None:
    model: Any = cie.load(str(mute))
    attempts = [
        lambda: model.words(IMAGE, "color"),
        lambda: model.encode(IMAGE, "color", embedding_source="first_output"),
        lambda: model.encode(IMAGE, "color", embedding_source="mean_output"),
        lambda: cie.load(str(mute), method="generative", text_encoder="minilm"),
        lambda: model.lvlm.model.lm_head(None),  # by whatever way
    ]
    for attempt in attempts:
        with pytest.raises(ModelError, match="has no head") as error:
            attempt()
        assert "\n" not in str(error.value)


def test_a_head_that_is_there(tmp_path: Path) -> None:
    model: Any = cie.load(str(save("gemma3", tmp_path)))  # the embeddings are its head, and the only copy on disk
    assert not any("lm_head" in name for name in load_file(tmp_path / WEIGHTS))
    assert model.lvlm.has_head
    assert model.words(IMAGE, "color", k=1)
    assert cie.load("builtin").lvlm.has_head  # type: ignore[attr-defined]


def test_other_weights_are_still_missed(mute: Path, tmp_path: Path) -> None:
    shutil.copytree(mute, tmp_path / "model")
    weights = load_file(mute / WEIGHTS)
    gone = next(name for name in weights if name.endswith("layers.1.self_attn.q_proj.weight"))
    del weights[gone]
    save_file(weights, tmp_path / "model" / WEIGHTS, {"format": "pt"})
    with pytest.raises(ModelError, match=r"no weights for 1 parameters of .*layers\.1\.self_attn\.q_proj"):
        cie.load(str(tmp_path / "model"))


def test_a_job_stores_vectors_without_words_and_says_so_once(
    mute: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for index in range(3):
        IMAGE.rotate(90 * index).save(folder / f"{index}.png")
    command = ["embed", str(folder), "-c", "color", "-m", str(mute), "-e", str(tmp_path / "db"), "--json"]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    (said,) = (record.message for record in caplog.records if "no head" in record.message)
    assert str(mute) in said
    assert said.endswith("vectors come without words")
    again = CliRunner().invoke(main, command)  # words are not missed
    (row,) = json.loads(again.stdout)
    assert again.exit_code == 0
    assert (row["embedded"], row["already_there"], row["words_added"]) == (0, 3, 0)
