"""The highest layer's feed-forward network: for the wanted tokens only, where that changes no vector."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import save
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2MLP

import conditional_image_embeddings as cie

IMAGES = [np.random.default_rng(0).integers(0, 256, (side, 84, 3), dtype=np.uint8) for side in (84, 112)]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save("qwen2_5_vl", tmp_path_factory.mktemp("qwen"))


@pytest.mark.parametrize("conditions", [["color"], ["color", "the model of the car", "mood"]])
@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize(("layer", "token"), [(-1, -1), (2, -1), (-1, -3)])
def test_fewer_tokens_in_the_highest_layer_give_the_same_vector(
    directory: Path, conditions: list[str], share: bool, layer: int, token: int
) -> None:
    model: Any = cie.load(str(directory), share=share)
    assert model.lvlm.prune_top_mlp
    seen: dict[int, list[int]] = {}
    for index, part in enumerate(model.lvlm.layers, 1):
        part.mlp.register_forward_hook(
            lambda _, args, __, index=index: seen.setdefault(index, []).append(args[0].shape[:2].numel())
        )

    def encoded() -> np.ndarray:
        seen.clear()
        return model.encode(IMAGES, conditions, layer=layer, token=token)

    found = encoded()
    top = model.lvlm.layer_index(layer)
    assert max(seen) == top
    assert seen[top] == [len(IMAGES) * len(conditions)]
    assert sum(seen[top - 1]) > 10 * seen[top][0]
    model.lvlm.prune_top_mlp = False
    assert np.abs(found - encoded()).max() < 1e-5
    assert sum(seen[top]) > len(IMAGES) * len(conditions)


def test_a_feed_forward_network_that_mixes_tokens_sees_them_all(directory: Path, monkeypatch) -> None:
    alone = Qwen2MLP.forward
    monkeypatch.setattr(Qwen2MLP, "forward", lambda self, x: alone(self, x + torch.roll(x, 1, dims=1)))
    model: Any = cie.load(str(directory), share=False)
    assert not model.lvlm.prune_top_mlp
