"""Attention within the segments of a row (images, windows of an image) with one call for all segments of a length.

Vision towers that read several images or windows as one row of patches leave the split to FlashAttention where they
have it, and go through the segments one by one where not: thousands of small calls for a batch of images. This function
takes the segments as FlashAttention does, and gives each length of them to PyTorch's own attention as a batch.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from .loading import LVLM

NAME = "segments_like_flash_attention"  # "flash" in its name is how models know that it takes segments


class NoSegmentsError(RuntimeError):
    """Raised where a module does not say what its segments are: nothing would then tell its images apart."""


def attention(
    module: Any,  # noqa: ARG001 - the signature is transformers'
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    is_causal: bool | None = None,
    cu_seq_lens_q: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """From queries, keys and values (1, heads, n, d) to (1, n, heads, d)."""
    if cu_seq_lens_q is None or attention_mask is not None or is_causal or len(query) > 1 or key.shape != query.shape:
        raise NoSegmentsError("attention without segments")
    groups = _by_length(cu_seq_lens_q)
    if len(groups) == 1:  # all of a length, one after another: nothing has to be gathered
        q, k, v = (
            states.reshape(states.shape[1], *groups[0].shape, -1).transpose(0, 1) for states in (query, key, value)
        )
        return scaled_dot_product_attention(q, k, v, scale=scaling).transpose(1, 2).flatten(0, 1)[None], None
    found = query.new_empty(query.shape[2], query.shape[1], value.shape[3])
    for places in groups:
        q, k, v = (states[0][:, places].transpose(0, 1) for states in (query, key, value))
        found[places] = scaled_dot_product_attention(q, k, v, scale=scaling).transpose(1, 2)
    return found[None], None


@lru_cache(maxsize=8)  # a tensor is found by its identity: the layers of a pass are given the same one or two
def _by_length(ends: Tensor) -> list[Tensor]:
    """For each length, where the segments of that length are: (segments, length)."""
    starts: dict[int, list[int]] = {}
    bounds = ends.tolist()
    for start, end in pairwise(bounds):
        starts.setdefault(end - start, []).append(start)
    return [
        torch.tensor(of_length, device=ends.device)[:, None] + torch.arange(length, device=ends.device)
        for length, of_length in starts.items()
        if length
    ]


AttentionInterface.register(NAME, attention)


def parts_with_segments(lvlm: LVLM) -> tuple[str, ...]:
    """The towers beside the decoder that may be asked to attend like this.

    Whether they can is seen when the model runs: one that does not tell its segments raises.
    """
    able = [module.config for module in lvlm.model.modules() if getattr(module, "_supports_flash_attn", False)]
    return tuple(
        name
        for name, config in _parts(lvlm).items()
        if config is not lvlm.decoder.config
        and any(config is each for each in able)
        and _implementation(config) in {"sdpa", NAME}
    )


def enabled(lvlm: LVLM) -> tuple[str, ...]:
    """The parts that attend like this now."""
    return tuple(name for name, config in _parts(lvlm).items() if _implementation(config) == NAME)


def enable(lvlm: LVLM, parts: Sequence[str]) -> None:
    """Have these parts attend like this."""
    _set(lvlm, parts, NAME)


def disable(lvlm: LVLM, parts: Sequence[str]) -> None:
    """Have these parts attend as transformers left them."""
    _set(lvlm, parts, "sdpa")


def _parts(lvlm: LVLM) -> dict[str, Any]:
    config = lvlm.model.config
    return {name: part for name in config.sub_configs if (part := getattr(config, name, None)) is not None}


def _implementation(config: Any) -> Any:
    return getattr(config, "_attn_implementation", None)


def _set(lvlm: LVLM, parts: Sequence[str], implementation: str) -> None:
    if parts:
        lvlm.model.set_attn_implementation(dict.fromkeys(parts, implementation))
