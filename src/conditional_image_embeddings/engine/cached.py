"""Cache, then batch: the prefix runs once per image, and every suffix continues from its key-value cache.

Exact wherever a token sees only what is before it: the prefix is padded on the left, so that windows and carried states
(sliding attention, linear attention, convolution) meet the suffix as they would without padding.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from .batches import image_inputs, on_device, position_ids, spans_cache, token_inputs
from .hidden_states import StopForward, at, captured, run
from .loading import LVLM
from .prompts import Inputs, Prepared


def hidden_states(lvlm: LVLM, batch: Sequence[Prepared], layers: Sequence[int], tokens: Sequence[int]) -> Tensor:
    """Hidden states (images, K, tokens, layers, d) of a few tokens of each prompt, what they share computed once."""
    ends = [prefix_end(prepared, tokens) for prepared in batch]
    cache, seen = prefix_pass(lvlm, batch, ends, max(layers))
    rows = [(image, condition) for image, prepared in enumerate(batch) for condition in range(len(prepared.prompts))]
    inputs = suffix_inputs(lvlm, batch, ends, rows, seen)
    cache.reorder_cache(torch.tensor([image for image, _ in rows], device=lvlm.device))
    inputs |= {lvlm.cache_argument: cache, "use_cache": True}
    columns = torch.tensor(
        [[token % batch[image].lengths[k] - ends[image] for token in tokens] for image, k in rows], device=lvlm.device
    )
    every = torch.arange(len(rows), device=lvlm.device)[:, None].expand_as(columns)
    states = run(lvlm, inputs, layers, at(every, columns))
    return states.reshape(len(batch), -1, len(tokens), *states.shape[1:])


class _PrefixCache(DynamicCache):  # type: ignore[misc]  # transformers is untyped
    """A cache that ends the prefix pass as soon as it is full.

    Of the prefix, the highest layer has to give its keys and values only: its attention and everything behind are work
    for tokens that nobody asked for.
    """

    def __init__(self, lvlm: LVLM, top: int) -> None:
        super().__init__(config=lvlm.decoder.config)
        kind = type(self.layers[top - 1]) if 0 < top <= len(self.layers) else None
        self.last = (
            top - 1 if kind in {DynamicLayer, DynamicSlidingWindowLayer} else None
        )  # others carry more than these

    def update(self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any) -> Any:
        states = super().update(key_states, value_states, layer_idx, *args, **kwargs)
        if layer_idx == self.last:
            raise StopForward
        return states


def prefix_end(prepared: Prepared, tokens: Sequence[int]) -> int:
    """Where the suffixes start: behind the common prefix, or earlier where a wanted token is inside it."""
    return min(prepared.prefix, *(token % length for length in prepared.lengths for token in tokens))


def prefix_pass(lvlm: LVLM, batch: Sequence[Prepared], ends: Sequence[int], top: int) -> tuple[Any, dict[str, Tensor]]:
    """Each image with the start of its prompts, up to `ends`.

    Returns:
        The cache of the lowest `top` layers, and what the model must be told of the cached tokens with each later one:
        masks (images, tokens, ...).
    """
    prompts = [prepared.prompts[0] for prepared in batch]
    prefixes = [_slice(prompt, 0, end) for prompt, end in zip(prompts, ends, strict=True)]
    inputs = token_inputs(prefixes, prompts, left=True)
    masks = [key for key in inputs if spans_cache(key, inputs[key])]
    inputs["position_ids"] = position_ids(
        [prepared.token_positions(0)[:, :end] for prepared, end in zip(batch, ends, strict=True)], left=True
    )
    inputs = on_device(inputs, lvlm) | image_inputs([prepared.image for prepared in batch], lvlm)
    cache = _PrefixCache(lvlm, top)
    with captured(lvlm, [top], lambda hidden: hidden[:0]):
        lvlm.model(**inputs, **{lvlm.cache_argument: cache}, use_cache=True)
    cache.last = None
    return cache, {key: inputs[key] for key in masks}


def suffix_inputs(
    lvlm: LVLM,
    batch: Sequence[Prepared],
    ends: Sequence[int],
    rows: Sequence[tuple[int, int]],
    seen: dict[str, Tensor],
) -> dict[str, Any]:
    """The rest of each prompt, for rows of (image, condition), padded on the right behind the cached prefix."""
    prompts = [batch[image].prompts[condition] for image, condition in rows]
    suffixes = [_slice(prompt, ends[image], None) for prompt, (image, _) in zip(prompts, rows, strict=True)]
    positions = [batch[image].token_positions(condition)[:, ends[image] :] for image, condition in rows]
    images = [image for image, _ in rows]
    return continued(lvlm, suffixes, prompts, positions, {key: value[images] for key, value in seen.items()})


def continued(
    lvlm: LVLM, rows: Sequence[Inputs], fill: Sequence[Inputs], positions: Sequence[Tensor], seen: dict[str, Tensor]
) -> dict[str, Any]:
    """Rows of tokens as inputs behind a cached prefix, of which the model is told what was `seen`, row by row."""
    inputs = token_inputs(rows, fill)
    inputs["position_ids"] = position_ids(positions)
    inputs = on_device(inputs, lvlm)
    return inputs | {key: torch.cat([value, inputs[key]], dim=1) for key, value in seen.items()}


def _slice(prompt: Inputs, start: int, end: int | None) -> Inputs:
    return {key: value[start:end] for key, value in prompt.items()}
