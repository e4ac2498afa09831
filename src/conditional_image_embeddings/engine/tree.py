"""The prompts of an image as a tree of tokens: what several of them start with is one branch, and is there once.

All conditions of one prompt type share the words before the condition, all prompt types no more than the image.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class PromptTree:
    """Several prompts behind the prefix that all of them share, laid out as one row of tokens.

    Attributes:
        forks: For each prompt, up to which of its tokens an earlier one has the same; the rest is its part of the row.
        paths: For each prompt, where its tokens behind the prefix are in the row.
    """

    forks: list[int]
    paths: list[list[int]]

    @classmethod
    def build(cls, prompts: Sequence[Tensor], prefix: int) -> "PromptTree":
        """The tree of prompts (tokens,) that share their first `prefix` tokens."""
        nodes: dict[
            tuple[int, int], int
        ] = {}  # (the node before it, or -1 at the prefix; token) -> its place in the row
        forks, paths = [], []
        for prompt in prompts:
            before, path = len(nodes), [-1]
            for token in prompt[prefix:].tolist():
                path.append(nodes.setdefault((path[-1], token), len(nodes)))
            forks.append(len(prompt) - (len(nodes) - before))
            paths.append(path[1:])
        return cls(forks, paths)

    def __len__(self) -> int:
        return 1 + max(path[-1] for path in self.paths)

    def row(self, values: Sequence[Tensor]) -> Tensor:
        """The row of what each prompt's tokens have, (tokens, ...)."""
        return torch.cat([value[fork:] for value, fork in zip(values, self.forks, strict=True)])

    def attention_mask(self) -> Tensor:
        """Which places of the row see which: a token sees itself and what is before it on its branch, (n, n)."""
        seen = torch.zeros(len(self), len(self), dtype=torch.bool)
        for path in self.paths:
            places = torch.tensor(path)
            seen[places[:, None], places] |= torch.ones(len(path), len(path), dtype=torch.bool).tril()
        return seen
