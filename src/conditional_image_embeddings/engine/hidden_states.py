"""Hidden states of the layers and tokens asked for, and nothing beyond: hooks pick tokens, then stop the computation.

The head never runs, layers above the highest one wanted never run, the highest one's feed-forward network runs for the
wanted tokens only, and no hidden state is kept whole.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn

from .loading import LVLM


class StopForward(Exception):  # noqa: N818 - no error, like StopIteration
    """Raised where nothing further is needed; caught around the call of the model."""


@contextmanager
def captured(
    lvlm: LVLM, layers: Sequence[int], pick: Callable[[Tensor], Tensor], *, stop: bool = True
) -> Iterator[dict[int, Tensor]]:
    """While open, each forward pass puts `pick(hidden_states[k])` under k for each k of `layers`.

    Args:
        lvlm: The model.
        layers: Indices into the tuple of hidden states: 0 the input embeddings (image features merged), k the output of
            layer k, the number of layers the last state after the final norm.
        pick: From hidden states (rows, tokens, d) to the few that are needed.
        stop: End the forward pass at the highest layer; the block is left silently, at the call of the model.
    """
    states: dict[int, Tensor] = {}
    top = max(layers, default=None)

    def keep(layer: int, hidden: Tensor) -> None:
        states[layer] = pick(hidden).to(lvlm.device)
        if stop and layer == top:
            raise StopForward

    handles = [_hook(lvlm, layer, keep) for layer in set(layers)]
    try:
        yield states
    except StopForward:
        pass
    finally:
        for handle in handles:
            handle.remove()


def at(rows: Tensor, columns: Tensor) -> Callable[[Tensor], Tensor]:
    """From hidden states (rows, tokens, d) those at these places, in their order, wherever the layer's device is."""
    return lambda hidden: hidden[rows.flatten().to(hidden.device), columns.flatten().to(hidden.device)]


def run(lvlm: LVLM, inputs: dict[str, Any], layers: Sequence[int], pick: Callable[[Tensor], Tensor]) -> Tensor:
    """Hidden states (picked, len(layers), d) of one forward pass that goes no further than it must."""
    with captured(lvlm, layers, pick) as states, _pruned(lvlm, max(layers), pick):
        lvlm.model(**inputs)
    if skipped := sorted(set(layers) - states.keys()):  # Mllama's that look at an image, where there is none
        below = run(lvlm, inputs, [layer - 1 for layer in skipped], pick)
        states |= zip(skipped, below.unbind(1), strict=True)
    return torch.stack([states[layer] for layer in layers], dim=1)


@contextmanager
def _pruned(lvlm: LVLM, layer: int, pick: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """While open, the feed-forward network of layer `layer` sees the picked tokens only, if the plan prunes it.

    It gives NaN for the others: were one of them needed after all, no vector could come of it silently.
    """
    feed_forward = lvlm.feed_forward(lvlm.layers[layer - 1]) if lvlm.prune_top_mlp and layer else None
    if feed_forward is None:
        yield
        return
    its_turn = _turns(lvlm, layer)
    shape = torch.Size()  # of what the network was given, until it answers

    def before(_: nn.Module, args: tuple[Any, ...]) -> Any:
        nonlocal shape
        if not its_turn():
            return None
        shape = args[0].shape
        return pick(args[0])[None], *args[1:]

    def after(_: nn.Module, __: Any, output: Any) -> Any:
        nonlocal shape
        if not shape:
            return None
        few, *rest = (output,) if isinstance(output, Tensor) else output
        places = pick(torch.arange(shape[:2].numel(), device=few.device).reshape(*shape[:2], 1)).flatten()
        whole = few.new_full((shape[:2].numel(), few.shape[-1]), torch.nan).index_copy_(0, places, few[0])
        whole = whole.reshape(*shape[:2], -1)
        shape = torch.Size()
        return (whole, *rest) if rest else whole

    handles = [feed_forward.register_forward_pre_hook(before), feed_forward.register_forward_hook(after)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _hook(lvlm: LVLM, layer: int, keep: Callable[[int, Tensor], None]) -> Any:
    if layer == 0:
        return lvlm.layers[0].register_forward_pre_hook(
            lambda _, args, kwargs: keep(0, _collapse_streams(lvlm, args[0] if args else kwargs["hidden_states"])),
            with_kwargs=True,
        )
    last = layer == len(lvlm.layers)
    module: nn.Module = lvlm.decoder if last else lvlm.layers[layer - 1]
    its_turn = None if last else _turns(lvlm, layer)

    def after(_: nn.Module, __: Any, output: Any) -> None:
        if its_turn is None or its_turn():
            keep(layer, _collapse_streams(lvlm, output if isinstance(output, Tensor) else output[0]))

    return module.register_forward_hook(after)


def _turns(lvlm: LVLM, layer: int) -> Callable[[], bool]:
    """Called each time that the module of layer `layer` runs: whether it runs as that layer (see `LVLM.layers`)."""
    order = list(lvlm.layers)
    module = order[layer - 1]
    runs, turn = order.count(module), order[: layer - 1].count(module)
    calls = count()
    return lambda: next(calls) % runs == turn


def _collapse_streams(lvlm: LVLM, hidden: Tensor) -> Tensor:
    """One state a token, (rows, tokens, d), where layers hand on several streams: AltUp's active one, or their mean."""
    config: Any = lvlm.decoder.config
    if hidden.ndim == 4 and hasattr(config, "altup_active_idx"):  # (streams, rows, tokens, d)
        return hidden.select(0, config.altup_active_idx)
    streams = hidden.shape[2:].numel() // config.hidden_size
    if streams > 1:  # hyper-connections: (rows, tokens, streams, d) or (rows, tokens, streams * d)
        return hidden.reshape(*hidden.shape[:2], streams, -1).mean(2)
    return hidden
