"""Layers on several devices, weights that wait on the disk, the type computed in: the vectors stay the same."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import peft
import pytest
import torch
import transformers as tf
from PIL import Image
from tiny_models import save
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode

import conditional_image_embeddings as cie
from conditional_image_embeddings.engine.hidden_states import at, run
from conditional_image_embeddings.engine.loading import LVLM
from conditional_image_embeddings.errors import ModelError
from conditional_image_embeddings.methods.request import Request

IMAGES = [
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (side, 84, 3), dtype=np.uint8)) for side in (60, 112)
]
CONDITIONS = ["color", "the model of the car"]
SPLIT = {
    "model.visual": "cpu",
    "model.language_model.embed_tokens": "disk",
    **{f"model.language_model.layers.{k}": "disk" if k % 2 else "cpu" for k in range(4)},
    "model.language_model.norm": "cpu",
    "model.language_model.rotary_emb": "cpu",
    "lm_head": "disk",
}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save("qwen2_5_vl", tmp_path_factory.mktemp("qwen") / "model")


@pytest.mark.parametrize("device_map", [SPLIT, {"": "disk"}, "auto", {"": "cpu"}])
def test_a_device_map_changes_no_vector(directory: Path, device_map: Any, tmp_path: Path) -> None:
    here: Any = cie.load(str(directory), device="cpu")
    there: Any = cie.load(
        str(directory), device="cpu", model_kwargs={"device_map": device_map, "offload_folder": str(tmp_path)}
    )
    assert there.lvlm.device.type != "meta"
    for options in ({}, {"layer": [1, 2, 3]}, {"embedding_source": "mean_output", "max_new_tokens": 3}):
        found, expected = (each.encode(IMAGES, CONDITIONS, **options) for each in (there, here))
        assert np.abs(found - expected).max() < 1e-5
    assert np.abs(there.encode_text("red", "color") - here.encode_text("red", "color")).max() < 1e-5
    assert dict(there.words(IMAGES[0], "color")) == pytest.approx(dict(here.words(IMAGES[0], "color")), abs=1e-6)
    assert there.settings(Request(), dataset="x") == here.settings(Request(), dataset="x")  # where is not what


def test_an_adapter_is_not_merged_into_weights_that_are_away(directory: Path, tmp_path: Path) -> None:
    model = peft.get_peft_model(
        tf.AutoModelForImageTextToText.from_pretrained(directory), peft.LoraConfig(target_modules=["q_proj"])
    )
    model.save_pretrained(tmp_path / "adapter")
    options = {"device_map": {"": "disk"}, "offload_folder": str(tmp_path)}
    with pytest.raises(ModelError, match="merge it beforehand"):
        cie.load(str(tmp_path / "adapter"), model_kwargs=options)


class Decoder(nn.Module):
    """Two layers, the second on another device than the first, as `device_map` deals them out."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 4, device="cuda:0"), nn.Linear(4, 4, device="cuda:1")])
        self.config = SimpleNamespace(hidden_size=4)

    def forward(self, hidden: Tensor) -> tuple[Tensor]:
        for layer in self.layers:
            hidden = layer(hidden.to(layer.weight.device))
        return (hidden,)


class Strict(TorchFunctionMode):
    """Refuses what a GPU does: an index that is on another one."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.__getitem__:
            assert {index.device for index in args[1] if isinstance(index, Tensor)} <= {args[0].device}
        return func(*args, **(kwargs or {}))


def test_tokens_are_picked_on_the_device_of_their_layer() -> None:
    """On devices that this machine need not have: fake tensors have no values, but mind where they are."""
    with FakeTensorMode(), Strict():
        decoder = Decoder()
        lvlm: Any = SimpleNamespace(model=decoder, decoder=decoder, layers=decoder.layers, prune_top_mlp=False)
        lvlm.device = torch.device("cuda:0")
        rows, columns = (torch.tensor([[0, 1]], device="cuda:0") for _ in range(2))
        hidden = torch.empty(2, 3, 4, device="cuda:0")
        with pytest.raises(AssertionError):
            run(lvlm, {"hidden": hidden}, [0, 1, 2], lambda states: states[rows.flatten(), columns.flatten()])
        found = run(lvlm, {"hidden": hidden}, [0, 1, 2], at(rows, columns))
    assert found.shape == (2, 3, 4)
    assert found.device == torch.device("cuda:0")


def test_the_type_of_a_quantised_model_is_what_it_computes_in() -> None:
    """Weights of fewer bits say nothing about hidden states."""
    model: Any = nn.Linear(2, 2).to(torch.float8_e4m3fn)
    model.dtype, model.config, model.hf_quantizer = torch.float8_e4m3fn, SimpleNamespace(dtype=torch.bfloat16), object()
    assert LVLM.dtype.fget(SimpleNamespace(model=model)) == torch.bfloat16  # type: ignore[attr-defined]
    model.hf_quantizer = None
    assert LVLM.dtype.fget(SimpleNamespace(model=model)) == torch.float8_e4m3fn  # type: ignore[attr-defined]
