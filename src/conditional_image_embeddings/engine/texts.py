"""Texts in place of images: prompts without an image that end as those with one do, so that both end in one space."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import ModelError
from ..inputs.conditions import prompt
from ..inputs.prompts import ABOUT, WITHOUT_CONDITION
from .batches import on_device, token_inputs
from .hidden_states import at, run
from .loading import LVLM


def text_prompt(text: str, condition: str | None, prompt_type: str = "describe") -> str:
    """The user's turn for a text such as "red" under a condition such as "car color"."""
    folded = " ".join(text.split())
    stated = WITHOUT_CONDITION if condition is None else ABOUT.replace("{c}", condition)
    return stated.replace("{t}", folded) + prompt(condition, prompt_type)


def text_hidden_states(
    lvlm: LVLM, prompts: Sequence[str], layers: Sequence[int], tokens: Sequence[int], budget: int
) -> Tensor:
    """Hidden states (prompts, tokens, layers, d) of a few tokens of each text-only prompt.

    Rows are padded on the right, so that the positions that the model counts itself are those of the unpadded prompt.

    Args:
        lvlm: The model.
        prompts: Users' turns.
        layers: Indices into the hidden states.
        tokens: Indices into a prompt's real tokens.
        budget: Tokens per batch.

    Raises:
        ConditionError: a text that holds a token of the model's own.
        ModelError: the model takes no text without an image.
    """
    for text in prompts:
        lvlm.chat.check_text(text)
    return hidden_states_of_ids(lvlm, [lvlm.chat.text_ids(text) for text in prompts], layers, tokens, budget)


def hidden_states_of_ids(
    lvlm: LVLM, ids: Sequence[Tensor], layers: Sequence[int], tokens: Sequence[int], budget: int
) -> Tensor:
    """As `text_hidden_states`, of prompts that are tokens (n,) already.

    Raises:
        ModelError: the model takes no text without an image.
    """
    rows = [{"input_ids": each} for each in ids]
    order = sorted(range(len(rows)), key=lambda row: len(rows[row]["input_ids"]))
    longest = max(len(row["input_ids"]) for row in rows)
    together = max(1, budget // longest)
    states: dict[int, Tensor] = {}
    for start in range(0, len(order), together):
        chosen = order[start : start + together]
        part = [rows[row] for row in chosen]
        inputs = on_device(token_inputs(part, part), lvlm)
        columns = torch.tensor(
            [[token % len(row["input_ids"]) for token in tokens] for row in part], device=lvlm.device
        )
        every = torch.arange(len(part), device=lvlm.device)[:, None].expand_as(columns)
        try:
            found = run(lvlm, inputs, layers, at(every, columns))
        except torch.OutOfMemoryError:
            raise
        # Each family has an error of its own for wanting an image.
        except (RuntimeError, ValueError, TypeError, AttributeError, KeyError) as error:
            raise ModelError(f"{lvlm.name} reads no text without an image: {error}") from error
        states |= zip(chosen, found.reshape(len(part), len(tokens), *found.shape[1:]), strict=True)
    return torch.stack([states[row] for row in range(len(rows))])
