"""One packed pass: the prefix and all suffixes of an image in one row, a suffix seeing the prefix and itself only.

Exact where every layer attends to all that is before a token: the mask says who sees whom, and positions restart for
every suffix. Layers that look through a window or carry a state from token to token cannot be told so: see `cached`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from .batches import image_inputs, on_device, position_ids, token_inputs
from .hidden_states import run
from .loading import LVLM
from .prompts import Inputs, Prepared


def embed(lvlm: LVLM, batch: Sequence[Prepared], layers: Sequence[int], tokens: Sequence[int]) -> Tensor:
    """Hidden states (images, K, tokens, layers, d) of a few tokens of each prompt, in one pass over the batch."""
    rows = [_packed_tokens(prepared) for prepared in batch]
    inputs = token_inputs(rows, rows)
    inputs["position_ids"] = position_ids([_packed_positions(prepared) for prepared in batch])
    inputs = on_device(inputs, lvlm) | image_inputs([prepared.image for prepared in batch], lvlm)
    inputs["attention_mask"] = _mask(batch, inputs["attention_mask"].shape[1], lvlm)
    columns = torch.tensor([_columns(prepared, tokens) for prepared in batch], device=lvlm.device)
    every = torch.arange(len(batch), device=lvlm.device)[:, None, None].expand_as(columns)
    states = run(lvlm, inputs, layers, lambda hidden: hidden[every.flatten(), columns.flatten()])
    return states.reshape(*columns.shape, *states.shape[1:])


def _packed_tokens(prepared: Prepared) -> Inputs:
    first, *others = prepared.prompts
    return {
        key: torch.cat([value, *(prompt[key][prepared.prefix :] for prompt in others)]) for key, value in first.items()
    }


def _packed_positions(prepared: Prepared) -> Tensor:
    first, *others = (prepared.token_positions(condition) for condition in range(len(prepared.prompts)))
    return torch.cat([first, *(positions[:, prepared.prefix :] for positions in others)], dim=1)


def _columns(prepared: Prepared, tokens: Sequence[int]) -> list[list[int]]:
    """Where each prompt's wanted tokens are in the packed row."""
    columns, start = [], prepared.prefix
    for length in prepared.lengths:
        indices = [token % length for token in tokens]
        columns.append([index if index < prepared.prefix else index - prepared.prefix + start for index in indices])
        start += length - prepared.prefix
    return columns


def _mask(batch: Sequence[Prepared], length: int, lvlm: LVLM) -> Tensor:
    """What is added to the scores, (images, 1, length, length). Eager attention would add a bool as 0 and 1."""
    suffix = torch.zeros(len(batch), length, dtype=torch.long)  # which suffix a token belongs to; 0: the prefix
    for row, prepared in zip(suffix, batch, strict=True):
        sizes = torch.tensor([size - prepared.prefix for size in prepared.lengths])
        numbers = torch.arange(1, len(sizes) + 1).repeat_interleave(sizes)
        row[prepared.prefix : prepared.prefix + len(numbers)] = numbers
        row[prepared.prefix + len(numbers) :] = len(sizes) + 1  # padding sees itself, so that no row of scores is empty
    suffix = suffix.to(lvlm.device)
    seen = (suffix[:, None, :] == suffix[:, :, None]) | (suffix[:, None, :] == 0)
    seen = seen.tril()
    mask = torch.zeros(seen.shape, dtype=lvlm.dtype, device=lvlm.device)
    return mask.masked_fill_(~seen, torch.finfo(lvlm.dtype).min)[:, None]
