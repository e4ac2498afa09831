"""What the model says after a prompt: generated tokens, their probability, and their hidden states.

The prompts' image and common prefix are computed once where sharing is exact. Suffixes of one length form a batch of
their own, so that nothing is padded between a prompt and what follows it, whatever kind of layers the model has.
"""

import copy
import hashlib
import inspect
import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache

from ..errors import ModelError
from .batches import spans_cache
from .cached import prefix_end, prefix_pass, suffix_inputs
from .hidden_states import captured
from .loading import LVLM
from .prompts import Prepared
from .separate import prompt_inputs

Row = tuple[int, int]  # image, prompt


@dataclass(frozen=True)
class Sampling:
    """How a token is chosen: the most probable one, or drawn, where a temperature above 0 is given.

    What is drawn depends on the image's content, the prompt, the token's place in the answer and the seed alone: not on
    the batch, nor on the device.
    """

    max_new_tokens: int = 16
    temperature: float = 0.0
    seed: int = 0

    def key(self, prepared: Prepared, prompt: int) -> int:
        """Of the random numbers for one prompt of an image: 128 bits."""
        digest = hashlib.blake2b(f"{self.seed} ".encode() + prepared.content, digest_size=16)
        digest.update(prepared.ids[prompt].numpy().tobytes())
        return int.from_bytes(digest.digest(), "little")

    def choose(self, logits: Tensor, keys: Sequence[int], step: int) -> Tensor:
        """The token behind each row of logits (rows, vocabulary), as the answers' `step`-th.

        Drawn by the Gumbel-max trick: unlike a walk along summed probabilities, it is moved by rounding as little as
        the probabilities are.
        """
        if self.temperature <= 0:
            return logits.argmax(-1)
        # A counter far from the next step's; float64, because float32's exponentials are zero once in 2^23.
        streams = [np.random.Generator(np.random.Philox(key=key, counter=step << 64)) for key in keys]
        waits = torch.from_numpy(np.stack([stream.standard_exponential(logits.shape[-1]) for stream in streams]))
        return (logits.float() / self.temperature - waits.log().float().to(logits.device)).argmax(-1)


@dataclass(frozen=True, kw_only=True)
class PrefillState:
    """A batch of prompts of one length, read up to their last token: what comes next can go on from here.

    Attributes:
        rows: Which image and prompt each row is.
        cache: Keys and values of all tokens read.
        inputs: What the last tokens were given with, which later ones continue.
        logits: Of the next token, (rows, vocabulary).
        states: Hidden states of the last token, (rows, layers, d); None where no layers were asked for.
    """

    rows: list[Row]
    cache: Any
    inputs: dict[str, Any]
    logits: Tensor
    states: Tensor | None

    def select(self, rows: Sequence[int]) -> "PrefillState":
        """Some of the rows, or a row several times, with a cache of their own."""
        own = replace(
            self,
            rows=[self.rows[row] for row in rows],
            cache=copy.deepcopy(self.cache),
            logits=self.logits[rows],
            states=None,
        )
        return replace(own, inputs=own.keep(rows, self.inputs))

    def keep(self, rows: Sequence[int], inputs: dict[str, Any]) -> dict[str, Any]:
        """Leave these rows in the cache only; of the inputs that it was last given, those of the same rows."""
        index = torch.tensor(rows, device=self.logits.device)
        self.cache.reorder_cache(index)
        return {
            key: value.index_select(1 if key == "position_ids" and value.ndim == 3 else 0, index)
            for key, value in inputs.items()
        }


@dataclass(frozen=True)
class Answer:
    """What was generated behind one prompt.

    Attributes:
        tokens: Without the token that ends an answer, unless it is the only one.
        probability: Of exactly these tokens, one after another, as the model sees them (without temperature).
        states: Hidden states of these tokens, (tokens, layers, d): each as computed when the token had been fed to the
            model. None where no layers were asked for.
    """

    tokens: list[int]
    probability: float
    states: Tensor | None


def generated_states(
    lvlm: LVLM, batch: Sequence[Prepared], layers: Sequence[int], sampling: Sampling, *, share: bool
) -> Tensor:
    """Mean hidden states (images, prompts, 1, layers, d) over the tokens generated after each prompt."""
    given = answers(lvlm, batch, layers, sampling, share=share)
    means = torch.stack([answer.states.float().mean(0) for answer in given if answer.states is not None])
    return means.reshape(len(batch), -1, 1, *means.shape[1:])


def answers(
    lvlm: LVLM, batch: Sequence[Prepared], layers: Sequence[int], sampling: Sampling, *, share: bool
) -> list[Answer]:
    """The answer to each prompt of each image, image by image."""
    given: dict[Row, Answer] = {}
    for group in prefill(lvlm, batch, [], share=share):
        keys = [sampling.key(batch[image], k) for image, k in group.rows]
        given |= zip(group.rows, _continue(lvlm, group, layers, sampling, keys), strict=True)
    return [given[row] for row in _rows(batch)]


def prefill(lvlm: LVLM, batch: Sequence[Prepared], layers: Sequence[int], *, share: bool) -> Iterator[PrefillState]:
    """All prompts read up to their last token, in groups of one length of what follows the shared part."""
    ends = [prefix_end(prepared, [-1]) if share else 0 for prepared in batch]

    def length(row: Row) -> int:
        return batch[row[0]].lengths[row[1]] - ends[row[0]]

    groups = [list(group) for _, group in groupby(sorted(_rows(batch), key=length), key=length)]
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
        logits, states = _last(lvlm, inputs | images, own, layers)
        yield PrefillState(rows=rows, cache=own, inputs=inputs, logits=logits, states=states)


def following(lvlm: LVLM, group: PrefillState, inputs: dict[str, Any], chosen: Tensor) -> tuple[dict[str, Any], Tensor]:
    """Feed one more token per row: the inputs it was given with, and the logits of the one behind it."""
    inputs = _next_inputs(inputs, chosen)
    return inputs, _last(lvlm, inputs, group.cache, [])[0]


def end_tokens(lvlm: LVLM) -> set[int]:
    """The tokens that end an answer, as the model's generation config and its tokenizer name them."""
    named = getattr(lvlm.model.generation_config, "eos_token_id", None)
    ends = set(named if isinstance(named, list) else [named]) | {lvlm.tokenizer.eos_token_id}
    return {int(token) for token in ends if token is not None}


def written(tokenizer: Any, tokens: Sequence[int]) -> str:
    """The text of tokens as the model means it: without special tokens, and with all of its spaces."""
    return str(tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False))


def _rows(batch: Sequence[Prepared]) -> list[Row]:
    return [(image, k) for image, prepared in enumerate(batch) for k in range(len(prepared.prompts))]


def _continue(
    lvlm: LVLM, group: PrefillState, layers: Sequence[int], sampling: Sampling, keys: Sequence[int]
) -> list[Answer]:
    """The answers to a group's prompts."""
    inputs, logits, chosen = group.inputs, group.logits, sampling.choose(group.logits, keys, 0)
    ends = end_tokens(lvlm)
    alive = list(range(len(group.rows)))
    tokens: list[list[int]] = [[] for _ in group.rows]
    probabilities = [0.0] * len(group.rows)  # their logarithms
    states: list[list[Tensor]] = [[] for _ in group.rows]
    for step in range(sampling.max_new_tokens):
        likely = logits.float().log_softmax(-1).gather(1, chosen[:, None])[:, 0].tolist()
        fed = chosen.tolist()
        for row in alive:
            tokens[row].append(fed[row])
            probabilities[row] += likely[row]
        last = step + 1 == sampling.max_new_tokens
        if last and not layers:
            break
        inputs = _next_inputs(inputs, chosen)
        with captured(lvlm, layers, _last_token, stop=last) as picked:
            logits, _ = _last(lvlm, inputs, group.cache, [])
            chosen = sampling.choose(logits, keys, step + 1)
        if layers:
            state = torch.stack([picked[layer] for layer in layers], dim=1)
            for row in alive:
                states[row].append(state[row])
        coming = chosen.tolist()
        alive = [row for row in alive if fed[row] not in ends and coming[row] not in ends]
        if not alive:
            break
    return [
        Answer(tokens[row], math.exp(probabilities[row]), torch.stack(states[row]) if layers else None)
        for row in range(len(group.rows))
    ]


def _last_token(hidden: Tensor) -> Tensor:
    return hidden[:, -1]


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


def _last(lvlm: LVLM, inputs: dict[str, Any], cache: Any, layers: Sequence[int]) -> tuple[Tensor, Tensor | None]:
    """Logits (rows, vocabulary) and states (rows, layers, d) of the last token.

    Through the whole model, so that scaling and capping of logits are its own.

    Raises:
        ModelError: the model wants its image again with every token, instead of going on from the cache.
    """
    options = {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(lvlm.model.forward).parameters else {}
    none: AbstractContextManager[dict[int, Tensor]] = nullcontext({})  # inside another's, it would catch what ends that
    with captured(lvlm, layers, _last_token, stop=False) if layers else none as states:
        try:
            outputs = lvlm.model(**inputs, **{lvlm.cache_argument: cache}, use_cache=True, **options)
        except (TypeError, ValueError) as error:
            raise ModelError(f"{lvlm.name} does not go on from a cache, so it gives no words: {error}") from error
    logits: Tensor = outputs.logits[:, -1]
    return logits, torch.stack([states[layer] for layer in layers], dim=1) if layers else None
