"""What the model says after a prompt: generated tokens, their hidden states, and the probabilities of the first word.

The prompts' image and common prefix are computed once where sharing is exact. Suffixes of one length form a batch of
their own, so that nothing is padded between a prompt and what follows it, whatever kind of layers the model has.
"""

import copy
import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from .batches import spans_cache
from .cached import prefix_end, prefix_pass, suffix_inputs
from .hidden_states import captured
from .loading import LVLM
from .plain import prompt_inputs
from .prompts import Prepared


@dataclass(frozen=True)
class Sampling:
    """How a token is chosen: the most probable one, or drawn at a temperature."""

    max_new_tokens: int = 16
    do_sample: bool = False
    temperature: float = 0.0

    def choose(self, logits: Tensor) -> Tensor:
        if not self.do_sample or self.temperature <= 0:
            return logits.argmax(-1)
        return torch.multinomial((logits.float() / self.temperature).softmax(-1), 1)[:, 0]


@dataclass(frozen=True, kw_only=True)
class _Continued:
    """A batch of prompts of one group, read up to their last token."""

    rows: list[tuple[int, int]]  # image, condition
    cache: Any
    inputs: dict[str, Any]
    logits: Tensor


def embed(lvlm: LVLM, batch: Sequence[Prepared], layers: Sequence[int], sampling: Sampling, *, share: bool) -> Tensor:
    """Mean hidden states (images, K, layers, d) over the tokens generated after each prompt.

    A token's state is the one computed when the token itself has been fed to the model. The token that ends the answer
    counts only where nothing came before it.
    """
    states: dict[tuple[int, int], Tensor] = {}
    for group in _read(lvlm, batch, share=share):
        for row, tokens in zip(group.rows, _continue(lvlm, group, layers, sampling), strict=True):
            states[row] = tokens.float().mean(0)
    return _ordered(states, batch)


def first_logits(lvlm: LVLM, batch: Sequence[Prepared], *, share: bool) -> Tensor:
    """Logits (images, K, vocabulary) of the first token after each prompt: the model's own head on that token only."""
    logits = {row: group.logits[i] for group in _read(lvlm, batch, share=share) for i, row in enumerate(group.rows)}
    return _ordered(logits, batch)


def _ordered(values: dict[tuple[int, int], Tensor], batch: Sequence[Prepared]) -> Tensor:
    return torch.stack(
        [torch.stack([values[image, k] for k in range(len(prepared.prompts))]) for image, prepared in enumerate(batch)]
    )


def _read(lvlm: LVLM, batch: Sequence[Prepared], *, share: bool) -> Iterator[_Continued]:
    """All prompts read up to their last token, in groups of one length of what follows the shared part."""
    every = [(image, k) for image, prepared in enumerate(batch) for k in range(len(prepared.prompts))]
    ends = [prefix_end(prepared, -1) if share else 0 for prepared in batch]

    def length(row: tuple[int, int]) -> int:
        return batch[row[0]].lengths[row[1]] - ends[row[0]]

    groups = [list(group) for _, group in groupby(sorted(every, key=length), key=length)]
    if share:
        cache, seen = prefix_pass(lvlm, batch, ends, len(lvlm.layers))
    for rows in groups:
        if share:
            own = copy.deepcopy(cache) if rows is not groups[-1] else cache
            own.reorder_cache(torch.tensor([image for image, _ in rows], device=lvlm.device))
            inputs = suffix_inputs(lvlm, batch, ends, rows, seen)
            images: dict[str, Any] = {}
        else:
            own = DynamicCache(config=lvlm.decoder.config)
            inputs, images = prompt_inputs(lvlm, [batch[image].singles()[k] for image, k in rows])
        logits = _last_logits(lvlm, inputs | images, own)
        yield _Continued(rows=rows, cache=own, inputs=inputs, logits=logits)


def _continue(lvlm: LVLM, group: _Continued, layers: Sequence[int], sampling: Sampling) -> list[Tensor]:
    """For each row the hidden states (tokens, layers, d) of the tokens generated behind it."""
    inputs, chosen = group.inputs, sampling.choose(group.logits)
    ends = end_tokens(lvlm)
    alive = list(range(len(group.rows)))
    states: list[list[Tensor]] = [[] for _ in group.rows]
    for step in range(sampling.max_new_tokens):
        inputs, following = _next_inputs(inputs, chosen), chosen
        with captured(lvlm, layers, _last_token, stop=step + 1 == sampling.max_new_tokens) as picked:
            following = sampling.choose(_last_logits(lvlm, inputs, group.cache))
        state = torch.stack([picked[layer] for layer in layers], dim=1)
        for row in alive:
            states[row].append(state[row])
        fed, coming = chosen.tolist(), following.tolist()
        alive = [row for row in alive if fed[row] not in ends and coming[row] not in ends]
        if not alive:
            break
        chosen = following
    return [torch.stack(row) for row in states]


def _last_token(hidden: Tensor) -> Tensor:
    return hidden[:, -1]


def end_tokens(lvlm: LVLM) -> set[int]:
    """The tokens that end an answer, as the model's generation config and its tokenizer name them."""
    named = getattr(lvlm.model.generation_config, "eos_token_id", None)
    ends = set(named if isinstance(named, list) else [named]) | {lvlm.tokenizer.eos_token_id}
    return {int(token) for token in ends if token is not None}


def _next_inputs(inputs: dict[str, Any], chosen: Tensor) -> dict[str, Any]:
    """One token behind the last one: what tokens carry besides their id and position stays as it was there."""
    following = {
        key: torch.cat([value, value[:, -1:]], dim=1) if spans_cache(key, value) else value[:, -1:]
        for key, value in inputs.items()
    }
    if "position_ids" in inputs:
        following["position_ids"] = inputs["position_ids"][..., -1:] + 1
    following["input_ids"] = chosen[:, None]
    return following


def _last_logits(lvlm: LVLM, inputs: dict[str, Any], cache: Any) -> Tensor:
    """Logits (rows, vocabulary) of the last token, through the whole model: scaling and capping are its own."""
    options = {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(lvlm.model.forward).parameters else {}
    outputs = lvlm.model(**inputs, **{lvlm.cache_argument: cache}, use_cache=True, **options)
    logits: Tensor = outputs.logits[:, -1]
    return logits
