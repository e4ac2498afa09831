"""Which strategy is exact for the model at hand: tried on two small images and compared with separate passes.

No list of names decides: a family that nobody tried gets the fastest strategy that reproduces its own separate passes,
and separate passes where none does. What agrees is decided in `equivalence`; a plan is the outcome, which others apply.
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..inputs.conditions import prompt
from ..models.reasons import single_line_errors
from . import segments, separate
from .equivalence import UNSUPPORTED_ERRORS, EquivalenceCheck
from .fidelity import check_prompts, opened_thought
from .hidden_states import run
from .loading import LVLM
from .plan import ExecutionPlan
from .prompts import Prepared, PromptMaker

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


def choose(
    lvlm: LVLM, *, share: bool = True, flat_positions: bool = False, own_attention: bool = False
) -> ExecutionPlan:
    """The fastest plan under which the model gives the states of one separate pass per image and prompt.

    The model is left as it was.

    Args:
        lvlm: The model.
        share: Whether one pass may serve several prompts.
        flat_positions: Whether tokens have 1-D positions whatever the model's own are.
        own_attention: Leave the vision tower's attention as it is.

    Raises:
        ModelError: the prompts are not those of the model's own call, or it cannot be run on them.
    """
    layers = sorted({0, len(lvlm.layers) // 2, len(lvlm.layers)})
    maker = PromptMaker(lvlm, TEXTS, flat_positions=flat_positions)
    with single_line_errors(lvlm.name, "given an image and a text"):
        images = [_image(*size) for size in SIZES]
        batch = [maker(image) for image in images]
        check_prompts(lvlm, images[-1], list(TEXTS), batch[-1])  # of the last image all but one are spliced
    # The reference finds its positions itself, unless flat ones are wanted, which no model would find.
    probe_inputs = batch if flat_positions else [replace(prepared, positions=None) for prepared in batch]
    with torch.inference_mode(), ExecutionPlan().applied(lvlm):
        check = EquivalenceCheck.with_separate_passes(lvlm, probe_inputs, layers)
        plan = ExecutionPlan(thought=opened_thought(lvlm, batch[0]) if lvlm.chat.answered else "")
        if not own_attention:
            plan = _with_segments(lvlm, plan, probe_inputs, layers, check)
        with plan.applied(lvlm):
            plan = _with_pruned_top(lvlm, plan, probe_inputs[0].singles()[0], layers, check)
        with plan.applied(lvlm):
            plan = _with_strategy(lvlm, plan, batch, layers, check, _candidates(lvlm, batch, share=share))
    logger.info("%s runs %s", lvlm.name, plan)
    return plan


def _with_strategy(
    lvlm: LVLM,
    plan: ExecutionPlan,
    batch: Sequence[Prepared],
    layers: Sequence[int],
    check: EquivalenceCheck,
    candidates: Sequence[str],
) -> ExecutionPlan:
    """With the first candidate that is exact, on all images at once if it can be, else on one per pass."""
    for together in (True, False):
        trials = {name: replace(plan, strategy=name, together=together) for name in candidates}
        differences = {
            name: check.difference(partial(trial.run, lvlm, batch, layers, [-1])) for name, trial in trials.items()
        }
        exact = [name for name, difference in differences.items() if difference <= check.tolerance]
        found = replace(
            plan,
            strategy=exact[0] if exact else "separate",
            caches="cached" in exact,
            together=together,
            differences={name: value if math.isfinite(value) else None for name, value in differences.items()},
        )
        if "separate" in exact and (found.shares or len(candidates) == 1):
            return found
        if together:
            separate_batches = "separate" in exact
    return found if found.shares else replace(found, together=separate_batches)


def _with_segments(
    lvlm: LVLM, plan: ExecutionPlan, probe_inputs: Sequence[Prepared], layers: Sequence[int], check: EquivalenceCheck
) -> ExecutionPlan:
    """With attention in segments, where that is exact."""
    trial = replace(plan, segments=segments.parts_with_segments(lvlm))
    if not trial.segments:
        return plan
    with trial.applied(lvlm):
        exact = check.holds(lambda: separate.hidden_states_one_by_one(lvlm, probe_inputs, layers, [-1]))
    return trial if exact else plan


def _with_pruned_top(
    lvlm: LVLM, plan: ExecutionPlan, probe: Prepared, layers: Sequence[int], check: EquivalenceCheck
) -> ExecutionPlan:
    """With fewer tokens in the highest layer, where that is exact: each by itself, since it is the highest that can."""
    above = [(index, layer) for index, layer in enumerate(layers) if layer]
    if not all(_mlp_is_tokenwise(lvlm, probe, layer) for _, layer in above):
        return plan
    trial = replace(plan, prune_top_mlp=True)
    with trial.applied(lvlm):
        exact = all(
            check.of_layer(index).holds(partial(separate.hidden_states, lvlm, [probe], [layer], [-1]))
            for index, layer in above
        )
    return trial if exact else plan


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
    if not share or own:
        return ["separate"]
    if not inside:
        return ["tower", "separate"]
    if _looks_ahead(lvlm, batch[0]):
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
