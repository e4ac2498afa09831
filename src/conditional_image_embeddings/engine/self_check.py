"""Which way of sharing is exact for the model at hand: tried on two small images and compared with separate passes.

No list of names decides: a family that nobody tried gets the fastest way that reproduces its own separate passes, and
separate passes where none does. What agrees is decided in `equivalence`.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..inputs.conditions import prompt
from ..models.reasons import single_line_errors
from . import cached, packed, segments, separate
from .equivalence import UNSUPPORTED_ERRORS, EquivalenceCheck
from .fidelity import check_prompts, warn_of_thoughts
from .hidden_states import run
from .loading import LVLM
from .prompts import Prepared, PromptMaker

Run = Callable[[LVLM, Sequence[Prepared], Sequence[int], Sequence[int]], Tensor]

STRATEGIES: dict[str, Run] = {
    "packed": packed.hidden_states,
    "cached": cached.hidden_states,
    "separate": separate.hidden_states,
}
# Layers that padding before or behind a token does not change. Others (an indexer that picks the best keys, sparse
# blocks) may look exact on short prompts and not be on long ones: there every prompt is a pass of its own.
PADDED = {
    *("full_attention", "sliding_attention", "chunked_attention"),
    *("linear_attention", "conv", "hybrid", "hybrid_sliding"),
    *("mlp", "moe"),
}
SIZES = ((112, 80), (64, 128))  # two shapes, so that a batch is padded
TEXTS = tuple(prompt(condition) for condition in ("color", "the model of the car"))

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExecutionPlan:
    """How the model is run, and the largest difference of each way tried, relative to the largest value.

    Attributes:
        name: The way taken, a key of `RUNS`.
        differences: What was tried.
        caches: Whether `cached` is exact too: what is generated behind a prompt can then share its prefix.
        together: Whether several images can be in one pass. Some vision towers mix them up, or see their padding.
    """

    name: str
    differences: dict[str, float]
    caches: bool = False
    together: bool = True

    @property
    def shares(self) -> bool:
        return self.name != "separate"

    def run(self, lvlm: LVLM, batch: Sequence[Prepared], layers: Sequence[int], tokens: Sequence[int]) -> Tensor:
        """Hidden states (images, K, tokens, layers, d) of a few tokens of each prompt, the way chosen."""
        way = STRATEGIES[self.name]
        return self.in_parts(batch, lambda part: way(lvlm, part, layers, tokens), share=self.shares)

    def in_parts(
        self, batch: Sequence[Prepared], run: Callable[[Sequence[Prepared]], Tensor], *, share: bool
    ) -> Tensor:
        """Results (images, K, ...) of `run` on the whole batch, or on one image (one prompt, unless `share`) a pass."""
        if self.together:
            return run(batch)
        results = torch.cat([run(part) for part in self.parts(batch, share=share)])
        return results.reshape(len(batch), -1, *results.shape[2:])

    def parts(self, batch: Sequence[Prepared], *, share: bool) -> list[Sequence[Prepared]]:
        """What goes through the model together."""
        if self.together:
            return [batch]
        if share:
            return [[prepared] for prepared in batch]
        return [[one] for prepared in batch for one in prepared.singles()]


def choose(
    lvlm: LVLM, *, share: bool = True, flat_positions: bool = False, own_attention: bool = False
) -> ExecutionPlan:
    """The fastest of the ways of running the model that agrees with one separate pass an image and prompt.

    Args:
        lvlm: The model. Where that changes nothing, its vision tower is left attending in the way of `segments`, and
            its highest layer left with the wanted tokens only (`narrows`).
        share: Whether one pass may serve several prompts.
        flat_positions: Whether tokens have 1-D positions whatever the model's own are.
        own_attention: Leave the vision tower as it is.
    """
    layers = sorted({0, len(lvlm.layers) // 2, len(lvlm.layers)})
    maker = PromptMaker(lvlm, TEXTS, flat_positions=flat_positions)
    with single_line_errors(lvlm.name, "given an image and a text"):
        images = [_image(*size) for size in SIZES]
        batch = [maker(image) for image in images]
        check_prompts(lvlm, images[-1], list(TEXTS), batch[-1])  # of the last image all but one are spliced
    # The reference finds its positions itself, unless flat ones are wanted, which no model would find.
    probe_inputs = batch if flat_positions else [replace(prepared, positions=None) for prepared in batch]
    with torch.inference_mode():
        warn_of_thoughts(lvlm, batch[0])
        agreement = EquivalenceCheck.with_separate_passes(lvlm, probe_inputs, layers)
        if not own_attention:
            _try_segments(lvlm, probe_inputs, layers, agreement)
        _try_narrowing(lvlm, probe_inputs[0].singles()[0], layers, agreement)
        plan = _best(lvlm, batch, layers, agreement, _candidates(lvlm, batch, share=share))
    if share and not plan.shares:
        logger.warning("%s: sharing the image is not exact, so each condition is a separate pass", lvlm.name)
    logger.info("%s runs %s", lvlm.name, plan)
    return plan


def _best(
    lvlm: LVLM, batch: Sequence[Prepared], layers: Sequence[int], agreement: EquivalenceCheck, candidates: Sequence[str]
) -> ExecutionPlan:
    """The first candidate that is exact, on all images at once if it can be, else on one a pass."""
    for together in (True, False):
        differences = {
            name: agreement.difference(
                partial(ExecutionPlan(name, {}, together=together).run, lvlm, batch, layers, [-1])
            )
            for name in candidates
        }
        exact = [name for name, difference in differences.items() if difference <= agreement.tolerance]
        plan = ExecutionPlan(exact[0] if exact else "separate", differences, "cached" in exact, together)
        if "separate" in exact and (plan.shares or len(candidates) == 1):
            return plan
        if together:
            separate_batches = "separate" in exact
    return plan if plan.shares else replace(plan, together=separate_batches)


def _try_segments(
    lvlm: LVLM, probe_inputs: Sequence[Prepared], layers: Sequence[int], agreement: EquivalenceCheck
) -> None:
    parts = segments.enable(lvlm)
    if not parts:
        return
    if agreement.holds(lambda: separate.hidden_states_one_by_one(lvlm, probe_inputs, layers, [-1])):
        logger.info("%s: all segments of a length in one call of attention: %s", lvlm.name, ", ".join(parts))
    else:
        segments.disable(lvlm, parts)


def _try_narrowing(lvlm: LVLM, probe: Prepared, layers: Sequence[int], agreement: EquivalenceCheck) -> None:
    """Each layer by itself, since it is the highest that sees fewer tokens."""
    above = [(index, layer) for index, layer in enumerate(layers) if layer]
    lvlm.prune_top_mlp = all(_mlp_is_tokenwise(lvlm, probe, layer) for _, layer in above)
    lvlm.prune_top_mlp = lvlm.prune_top_mlp and all(
        agreement.of_layer(index).holds(partial(separate.hidden_states, lvlm, [probe], [layer], [-1]))
        for index, layer in above
    )


def _mlp_is_tokenwise(lvlm: LVLM, probe: Prepared, layer: int) -> bool:
    """Whether the last token's state behind a layer needs no other token in the layer's feed-forward network.

    All others are made NaN there, which no precision would hide.
    """

    def only_last(_: torch.nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        hidden = torch.full_like(args[0], torch.nan)
        hidden[:, -1] = args[0][:, -1]
        return hidden, *args[1:]

    network = lvlm.feed_forward(lvlm.layers[layer - 1])
    if network is None:
        return False
    handle = network.register_forward_pre_hook(only_last)
    try:
        return bool(separate.hidden_states(lvlm, [probe], [layer], [-1]).isfinite().all())
    except UNSUPPORTED_ERRORS:  # it takes something else than tokens
        return False
    finally:
        handle.remove()


def _candidates(lvlm: LVLM, batch: Sequence[Prepared], *, share: bool) -> list[str]:
    """From the fastest on. What small prompts do not show must be known beforehand: windows, keys picked by score."""
    inside = all(prepared.image_end <= prepared.prefix for prepared in batch)
    if not lvlm.layer_kinds <= PADDED:
        return []
    own = any(prepared.images for prepared in batch)
    if not share or not inside or own or _looks_ahead(lvlm, batch[0]):
        return ["separate"]
    return ["packed", "cached", "separate"] if lvlm.layer_kinds == {"full_attention"} else ["cached", "separate"]


def _looks_ahead(lvlm: LVLM, prepared: Prepared) -> bool:
    """Whether another last token changes the states before it (prefix-LM): then no prefix can be shared.

    Both prompts have one shape, so that in a causal model the states agree to the bit in any precision.
    """
    single = replace(prepared.singles()[0], positions=None)
    ids = single.prompts[0]["input_ids"]
    other = replace(single, prompts=({**single.prompts[0], "input_ids": torch.cat([ids[:-1], ids[-2:-1]])},))
    last = len(lvlm.layers)
    before, after = (
        run(lvlm, {**tokens, **image}, [last], lambda hidden: hidden[0, :-1])
        for tokens, image in (separate.prompt_inputs(lvlm, [one]) for one in (single, other))
    )
    return float((before - after).abs().max()) > 1e-3 * float(before.abs().max())


def _image(width: int, height: int) -> Image.Image:
    """A picture with structure in both directions, the same on every machine."""
    y, x = np.mgrid[0:height, 0:width]
    channels = [x * 5, y * 3, (x // 8 + y // 8) % 2 * 160]
    return Image.fromarray((np.stack(channels, axis=-1) % 256).astype(np.uint8))
