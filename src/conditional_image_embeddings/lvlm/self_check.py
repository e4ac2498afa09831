"""Which way of sharing is exact for the model at hand: tried on two small images and compared with plain passes.

No list of names decides: a family that nobody tried gets the fastest way that reproduces its own plain passes, and
plain passes where none does. The judge is the largest difference; cosines hide wrong masks.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..conditions import prompt
from . import cached, packed, plain
from .hidden_states import run
from .loading import LVLM
from .prompts import Prepared, PromptMaker

Run = Callable[[LVLM, Sequence[Prepared], Sequence[int], int], Tensor]

RUNS: dict[str, Run] = {
    "packed": packed.embed,
    "cached": cached.embed,
    "plain": plain.embed,
    "one by one": plain.embed_one_by_one,
}
TOLERANCE = {torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 8e-2}  # of the largest value of a hidden state
SIZES = ((112, 80), (64, 128))  # two shapes, so that a batch is padded
TEXTS = tuple(prompt(condition) for condition in ("color", "the model of the car"))

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Choice:
    """How the model is run, and the largest difference of each way tried, relative to the largest value.

    Attributes:
        name: The way taken, a key of `RUNS`.
        differences: What was tried.
        caches: Whether `cached` is exact too: what is generated behind a prompt can then share its prefix.
    """

    name: str
    differences: dict[str, float]
    caches: bool = False

    @property
    def run(self) -> Run:
        return RUNS[self.name]

    @property
    def shares(self) -> bool:
        return self.name in {"packed", "cached"}


def choose(lvlm: LVLM, *, share: bool = True, flat_positions: bool = False) -> Choice:
    """The fastest of the ways of running the model that agrees with one plain pass an image and prompt."""
    layers = sorted({0, len(lvlm.layers) // 2, len(lvlm.layers)})
    maker = PromptMaker(lvlm, TEXTS, flat_positions=flat_positions)
    batch = [maker(_image(*size)) for size in SIZES]
    # The reference finds its positions itself, unless flat ones are wanted, which no model would find.
    judges = batch if flat_positions else [replace(prepared, positions=None) for prepared in batch]
    with torch.inference_mode():
        reference = plain.embed_one_by_one(lvlm, judges, layers, -1)
        differences = {
            name: _difference(RUNS[name], lvlm, batch, layers, reference)
            for name in _candidates(lvlm, batch, share=share)
        }
    exact = [name for name, difference in differences.items() if difference <= TOLERANCE[lvlm.dtype]]
    choice = Choice(exact[0] if exact else "one by one", differences, caches="cached" in exact)
    if share and not choice.shares:
        logger.warning("%s: sharing the image is not exact, so each condition is a plain pass", lvlm.name)
    logger.info("%s runs %s; largest differences from single plain passes: %s", lvlm.name, choice.name, differences)
    return choice


def _candidates(lvlm: LVLM, batch: Sequence[Prepared], *, share: bool) -> list[str]:
    """From the fastest on. What small prompts do not show must be known beforehand: windows."""
    inside = all(prepared.image_end <= prepared.prefix for prepared in batch)
    if not share or not inside or _looks_ahead(lvlm, batch[0]):
        return ["plain"]
    return ["packed", "cached", "plain"] if lvlm.attends_fully else ["cached", "plain"]


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
        for tokens, image in (plain.prompt_inputs(lvlm, [one]) for one in (single, other))
    )
    return float((before - after).abs().max()) > 1e-3 * float(before.abs().max())


def _difference(way: Run, lvlm: LVLM, batch: Sequence[Prepared], layers: Sequence[int], reference: Tensor) -> float:
    try:
        states = way(lvlm, batch, layers, -1)
    except (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError, NotImplementedError) as error:
        # A family whose code does not take a mask, a cache or positions from outside refuses in ways of its own.
        logger.info("%s: %s does not run: %s", lvlm.name, way.__module__, error)
        return float("inf")
    every_layer = (0, 1, 3)
    return float(((states - reference).abs().amax(every_layer) / reference.abs().amax(every_layer)).max())


def _image(width: int, height: int) -> Image.Image:
    """A picture with structure in both directions, the same on every machine."""
    y, x = np.mgrid[0:height, 0:width]
    channels = [x * 5, y * 3, (x // 8 + y // 8) % 2 * 160]
    return Image.fromarray((np.stack(channels, axis=-1) % 256).astype(np.uint8))
