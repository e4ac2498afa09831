"""One separate pass per prompt: every condition reads the image anew. Right for every model; the others are held to it.

Rows are padded on the right whatever the tokenizer says: a decoder's token sees nothing behind it, so its state is that
of the unpadded prompt, also in layers that carry a state (linear attention, convolution).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .batches import image_inputs, on_device, position_ids, token_inputs
from .hidden_states import at, run
from .loading import LVLM
from .prompts import Prepared


def hidden_states(lvlm: LVLM, batch: Sequence[Prepared], layers: Sequence[int], tokens: Sequence[int]) -> Tensor:
    """Hidden states (images, K, tokens, layers, d) of a few tokens of each prompt, K passes of work per image."""
    singles = [single for prepared in batch for single in prepared.singles()]
    prompts, images = prompt_inputs(lvlm, singles)
    columns = torch.tensor([[token % single.lengths[0] for token in tokens] for single in singles], device=lvlm.device)
    rows = torch.arange(len(singles), device=lvlm.device)[:, None].expand_as(columns)
    states = run(lvlm, prompts | images, layers, at(rows, columns))
    return states.reshape(len(batch), -1, len(tokens), *states.shape[1:])


def hidden_states_one_by_one(
    lvlm: LVLM, batch: Sequence[Prepared], layers: Sequence[int], tokens: Sequence[int]
) -> Tensor:
    """As `hidden_states`, each prompt in a pass of its own: for models that cannot take a padded batch."""
    singles = [single for prepared in batch for single in prepared.singles()]
    states = torch.cat([hidden_states(lvlm, [single], layers, tokens)[0] for single in singles])
    return states.reshape(len(batch), -1, *states.shape[1:])


def prompt_inputs(lvlm: LVLM, singles: Sequence[Prepared]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Whole prompts of one condition each as a batch: what its tokens have, and what the vision tower takes."""
    prompts = [single.prompts[0] for single in singles]
    tokens = token_inputs(prompts, prompts)
    if singles[0].positions is not None:
        tokens["position_ids"] = position_ids([single.token_positions(0) for single in singles])
    return on_device(tokens, lvlm), image_inputs([single.image for single in singles], lvlm)
