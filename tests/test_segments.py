"""Attention in segments: each as by itself, all of one length in a call; and which models get it."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from tiny_models import save
from torch.nn.functional import scaled_dot_product_attention

import conditional_image_embeddings as cie
from conditional_image_embeddings.engine import segments


@example(lengths=[3, 3, 0, 3], seed=0)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=8).filter(any), st.integers(0, 9))
def test_each_segment_attends_to_itself_only(lengths: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    query, key, value = (torch.randn(1, 2, sum(lengths), 4, generator=generator) for _ in range(3))
    ends = torch.tensor([0, *lengths]).cumsum(0)
    found, _ = segments.attention(None, query, key, value, None, scaling=0.3, cu_seq_lens_q=ends)
    parts = [
        scaled_dot_product_attention(*(states[:, :, start:end] for states in (query, key, value)), scale=0.3)
        for start, end in pairwise(ends)
    ]
    torch.testing.assert_close(found, torch.cat(parts, dim=2).transpose(1, 2))


def tower(model: Any) -> Any:
    return model.lvlm.model.config.vision_config


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save("qwen2_5_vl", tmp_path_factory.mktemp("qwen"))


def test_a_tower_that_tells_its_segments_takes_one_call_for_all_of_a_length(qwen: Path, monkeypatch) -> None:
    calls = []
    plainly = segments.scaled_dot_product_attention
    monkeypatch.setattr(
        segments, "scaled_dot_product_attention", lambda *args, **kwargs: calls.append(args) or plainly(*args, **kwargs)
    )
    model = cie.load(str(qwen))
    assert tower(model)._attn_implementation == segments.NAME
    calls.clear()
    pixels = torch.randint(0, 256, (4, 140, 112, 3), dtype=torch.uint8)
    images = [image.numpy() for image in pixels]
    together = model.encode(images, "color")
    own = cie.load(str(qwen), attn_implementation="sdpa")
    assert tower(own)._attn_implementation == "sdpa"
    assert abs(together - own.encode(images, "color")).max() < 1e-5
    depth = tower(model).depth
    assert len(calls) <= 4 * depth, "windows at the right, the bottom and both have lengths of their own"


def test_a_tower_that_does_not_is_left_as_it_is(tmp_path: Path) -> None:
    assert tower(cie.load(str(save("gemma3", tmp_path))))._attn_implementation == "sdpa"
