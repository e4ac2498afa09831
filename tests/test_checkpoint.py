"""Checkpoints: the dtype they load in, what their fingerprints tell apart, and weights that must not be used."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_dual_encoders
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoModel

import conditional_image_embeddings as cie
from conditional_image_embeddings.errors import ModelError
from conditional_image_embeddings.methods.request import Request
from conditional_image_embeddings.models.checkpoint import Checkpoint
from conditional_image_embeddings.models.fingerprint import fingerprint

IMAGE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))
WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_dual_encoders.save("clip", tmp_path_factory.mktemp("clip"))


@pytest.fixture
def copy(clip: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(clip, tmp_path / "copy"))


def refused(model: Path) -> str:
    with pytest.raises(ModelError) as error:
        cie.load(str(model))
    assert "\n" not in str(error.value)
    return str(error.value)


def setting_of(embedder: cie.Embedder) -> str:
    return embedder.settings(Request(), dataset="x")[0].name


def test_the_dtype_asked_for_decides_not_the_one_saved(clip: Path, copy: Path) -> None:
    AutoModel.from_pretrained(clip, dtype=torch.float16).save_pretrained(copy)
    assert cie.load(str(copy), device="cpu").dual_encoder.dtype == torch.float32  # type: ignore[attr-defined]
    assert cie.load(str(copy), device="cpu", dtype="bfloat16").dual_encoder.dtype == torch.bfloat16  # type: ignore[attr-defined]


def test_a_fingerprint_is_of_what_decides_a_vector(clip: Path, copy: Path) -> None:
    (copy / "README.md").write_text("a card")
    assert fingerprint(copy) == fingerprint(clip) == Checkpoint.find(clip).revision
    weights = load_file(copy / WEIGHTS)
    weights["visual_projection.weight"][3, 3] += 1
    save_file(weights, copy / WEIGHTS, {"format": "pt"})
    assert fingerprint(copy) != fingerprint(clip)


def test_a_fingerprint_of_large_weights_samples_every_tensor(tmp_path: Path) -> None:
    weights = {"large": torch.zeros(5_000_000), "small": torch.zeros(10)}
    save_file(weights, tmp_path / WEIGHTS)
    seen = {fingerprint(tmp_path)}
    for tensor in weights.values():
        tensor.add_(1)
        save_file(weights, tmp_path / WEIGHTS)
        seen.add(fingerprint(tmp_path))
    assert len(seen) == 3
    (tmp_path / WEIGHTS).write_bytes(b"\xff" * 2**25)  # damaged: loading will say so, not the fingerprint
    assert fingerprint(tmp_path) not in seen


def test_what_changes_vectors_is_part_of_the_setting(clip: Path) -> None:
    plain, other_pixels, random = (
        cie.load(str(clip), device="cpu", **options)
        for options in ({}, {"processor_kwargs": {"do_rescale": False}}, {"random_weights": True})
    )
    assert not np.allclose(plain.encode(IMAGE), other_pixels.encode(IMAGE))
    assert not np.allclose(plain.encode(IMAGE), random.encode(IMAGE))
    assert len({setting_of(plain), setting_of(other_pixels), setting_of(random)}) == 3


def test_weights_that_are_not_all_there_are_refused(clip: Path, copy: Path) -> None:
    weights = load_file(clip / WEIGHTS)
    projection = weights.pop("visual_projection.weight")
    save_file(weights, copy / WEIGHTS, {"format": "pt"})
    assert "visual_projection.weight" in refused(copy)  # transformers by itself fills in random numbers
    save_file({**weights, "visual_projection.weight": projection[:3].clone()}, copy / WEIGHTS, {"format": "pt"})
    assert "shape (3, 32)" in refused(copy)


def test_a_processor_that_is_missing(copy: Path) -> None:
    for file in copy.glob("*processor*"):
        file.unlink()
    assert "processor" in refused(copy)


@pytest.mark.parametrize("network", [{"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}])
def test_without_network_it_says_so_at_once(network: dict[str, str], tmp_path: Path) -> None:
    """In a process of its own: the hub's client reads its environment once. Nothing leaves this machine."""
    inherited = {key: value for key, value in os.environ.items() if not key.endswith("_OFFLINE")}
    done = subprocess.run(
        [sys.executable, "-c", "import conditional_image_embeddings as cie; cie.load('nobody/nothing')"],
        env={**inherited, "HF_HOME": str(tmp_path), **network},
        capture_output=True,
        text=True,
        check=False,
    )
    last_line = done.stderr.splitlines()[-1]
    assert "neither a local directory nor in the cache" in last_line
    assert "'builtin'" in last_line
    assert "Retrying" not in done.stderr
