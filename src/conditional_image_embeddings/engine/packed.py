"""Packed: the image and what all prompts start with once, then what is left of all prompts in one row, as a tree.

Exact where every layer attends to all that is before a token: the mask says who sees whom, and positions go on from the
prefix on every branch. Layers that look through a window or carry a state from token to token cannot be told so: see
`cached`, which has a row for each prompt.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from .cached import continued, prefix_end, prefix_pass
from .hidden_states import at, run
from .loading import LVLM
from .prompts import Prepared
from .tree import PromptTree


def hidden_states(lvlm: LVLM, batch: Sequence[Prepared], layers: Sequence[int], tokens: Sequence[int]) -> Tensor:
    """Hidden states (images, K, tokens, layers, d) of a few tokens of each prompt, each token that differs once."""
    ends = [prefix_end(prepared, tokens) for prepared in batch]
    trees = [PromptTree.build(prepared.ids, end) for prepared, end in zip(batch, ends, strict=True)]
    cache, seen = prefix_pass(lvlm, batch, ends, max(layers))
    rows = [
        {key: tree.row([prompt[key] for prompt in prepared.prompts]) for key in prepared.prompts[0]}
        for prepared, tree in zip(batch, trees, strict=True)
    ]
    positions = [_positions(prepared, tree) for prepared, tree in zip(batch, trees, strict=True)]
    inputs = continued(lvlm, rows, rows, positions, seen)
    inputs["attention_mask"] = _mask(seen["attention_mask"], trees, lvlm)
    columns = torch.tensor(
        [
            [
                [path[token % length - end] for token in tokens]
                for path, length in zip(tree.paths, one.lengths, strict=True)
            ]
            for one, tree, end in zip(batch, trees, ends, strict=True)
        ],
        device=lvlm.device,
    )
    every = torch.arange(len(batch), device=lvlm.device)[:, None, None].expand_as(columns)
    states = run(lvlm, inputs | {lvlm.cache_argument: cache, "use_cache": True}, layers, at(every, columns))
    return states.reshape(*columns.shape, *states.shape[1:])


def _positions(prepared: Prepared, tree: PromptTree) -> Tensor:
    """Positions (1 or 3, tokens) of the row: on each branch those of the prompt by itself."""
    return tree.row([prepared.token_positions(k).T for k in range(len(prepared.prompts))]).T


def _mask(prefix: Tensor, trees: Sequence[PromptTree], lvlm: LVLM) -> Tensor:
    """What is added to the scores, (images, 1, row, prefix + row). Eager attention would add a bool as 0 and 1.

    Padding behind a row sees the prefix, so that no row of scores is empty.
    """
    length = max(len(tree) for tree in trees)
    attention_mask = torch.zeros(len(trees), length, length, dtype=torch.bool)
    for of_row, tree in zip(attention_mask, trees, strict=True):
        of_row[: len(tree), : len(tree)] = tree.attention_mask()
    seen = torch.cat([prefix.bool()[:, None].expand(-1, length, -1), attention_mask.to(lvlm.device)], dim=2)
    mask = torch.zeros(seen.shape, dtype=lvlm.dtype, device=lvlm.device)
    return mask.masked_fill_(~seen, torch.finfo(lvlm.dtype).min)[:, None]
