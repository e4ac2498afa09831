"""The vision tower once per image, then a pass of the decoder for every prompt.

For prompts that tell the model what to look at before they show the image: their states of the image differ, what the
tower makes of it does not. Exact wherever the tower sees nothing but images, one by one.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from .hidden_states import at, run
from .loading import LVLM
from .prompts import Prepared
from .separate import prompt_inputs


def hidden_states(lvlm: LVLM, batch: Sequence[Prepared], layers: Sequence[int], tokens: Sequence[int]) -> Tensor:
    """Hidden states (images, K, tokens, layers, d) of a few tokens of each prompt: K passes of the decoder per image.

    Rows go prompt by prompt, so that what the tower is given is K copies, one behind the other.
    """
    of_images = [prepared.singles() for prepared in batch]
    singles = [single for of_prompt in zip(*of_images, strict=True) for single in of_prompt]
    prompts, images = prompt_inputs(lvlm, singles)
    columns = torch.tensor([[token % single.lengths[0] for token in tokens] for single in singles], device=lvlm.device)
    rows = torch.arange(len(singles), device=lvlm.device)[:, None].expand_as(columns)
    with _runs_once(lvlm, len(of_images[0])):
        states = run(lvlm, prompts | images, layers, at(rows, columns))
    return states.reshape(-1, len(batch), len(tokens), *states.shape[1:]).transpose(0, 1)


@contextmanager
def _runs_once(lvlm: LVLM, copies: int) -> Iterator[None]:
    """While open, the tower is given the first of so many copies of its input, and gives as many of its output.

    Raises:
        ValueError: the model has no tower of its own, or it is not given copies.
    """
    tower = lvlm.model.get_encoder(modality="image")
    if any(module is tower for module in (lvlm.model, lvlm.model.base_model)):
        raise ValueError("no vision tower of its own")  # caught: it is run with every prompt

    def before(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return tuple(map(first, args)), {key: first(value) for key, value in kwargs.items()}

    def first(value: Any) -> Any:
        if not isinstance(value, Tensor) or not value.ndim:
            return value
        if len(value) % copies:
            raise ValueError("the vision tower is not given copies")  # caught
        return value[: len(value) // copies]

    def after(_: Any, __: Any, output: Any) -> Any:
        return _repeated(output, copies)

    handles = [tower.register_forward_pre_hook(before, with_kwargs=True), tower.register_forward_hook(after)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _repeated(output: Any, copies: int) -> Any:
    """Every tensor of an output so many times, one behind the other."""
    if isinstance(output, Tensor):
        return torch.cat([output] * copies)
    if isinstance(output, dict):  # transformers' outputs are
        for key, value in output.items():
            output[key] = _repeated(value, copies)
        return output
    if isinstance(output, list | tuple):
        return type(output)(_repeated(each, copies) for each in output)
    return output
