"""The tree of prompts: every prompt can be read off it, and nothing that two of them start with is there twice."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from conditional_image_embeddings.engine.tree import PromptTree

PREFIX = [7, 7, 3]
prompts = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), min_size=1, max_size=6)


@given(prompts)
def test_every_prompt_is_a_path_and_every_start_is_there_once(tails: list[list[int]]) -> None:
    tree = PromptTree.build([torch.tensor([*PREFIX, *tail]) for tail in tails], len(PREFIX))
    row = tree.row([torch.tensor([*PREFIX, *tail]) for tail in tails])
    assert len(row) == len(tree) == len({tuple(tail[:end]) for tail in tails for end in range(1, len(tail) + 1)})
    attention_mask = tree.attention_mask()
    for path, tail in zip(tree.paths, tails, strict=True):
        assert row[path].tolist() == tail
        for index, place in enumerate(path):
            assert attention_mask[place].nonzero().flatten().tolist() == sorted(path[: index + 1])
