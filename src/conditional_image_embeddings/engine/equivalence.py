"""Whether a strategy gives the states of separate passes: up to rounding, and no further.

In float32 the largest difference decides; cosines hide wrong masks. In half precision rounding itself is large
and grows with depth, so that a wrong mask can hide in it: there states must also lie no further from the separate
ones than the invariants of docs/engine.md allow, or than what rounding was seen to do to this very model.
"""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from . import separate
from .loading import LVLM
from .prompts import Prepared

TOLERANCE = {torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 8e-2}  # of the largest value of a hidden state
MIN_COSINE = math.sqrt(2 * (1 - 0.9999))  # the distance of unit vectors whose cosine is .9999
NOISE_FACTOR = 3  # as far apart as this many times what other shapes alone change
EXTRA_TOKENS = 13  # tokens put behind a prompt: enough to change the shapes of every product

# A family whose code does not take a mask, a cache or positions from outside refuses by errors of its own.
UNSUPPORTED_ERRORS = (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError, NotImplementedError)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EquivalenceCheck:
    """What a strategy must agree with.

    Attributes:
        reference: Hidden states (images, K, 1, layers, d) of one separate pass per image and prompt.
        tolerance: The largest difference allowed, relative to the largest value.
        distance: The largest relative distance |a - b| / |b| of two states allowed.
    """

    reference: Tensor
    tolerance: float
    distance: float

    @classmethod
    def with_separate_passes(
        cls, lvlm: LVLM, probe_inputs: Sequence[Prepared], layers: Sequence[int]
    ) -> "EquivalenceCheck":
        """Separate passes of these images and prompts; in half precision also with tokens behind, which nobody sees."""
        reference = separate.hidden_states_one_by_one(lvlm, probe_inputs, layers, [-1])
        distance = math.inf
        if lvlm.dtype != torch.float32:
            longer = [_lengthened(single) for prepared in probe_inputs for single in prepared.singles()]
            states = [
                separate.hidden_states(lvlm, [single], layers, [-1 - EXTRA_TOKENS]).reshape(reference.shape[3:])
                for single in longer
            ]
            seen = _distance(torch.stack(states).reshape(reference.shape), reference)
            distance = max(MIN_COSINE, NOISE_FACTOR * seen)
        return cls(reference, TOLERANCE[lvlm.dtype], distance)

    def of_layer(self, index: int) -> "EquivalenceCheck":
        """The first image's first prompt alone, behind one layer."""
        return replace(self, reference=self.reference[:1, :1, :, index : index + 1])

    def difference(self, run: Callable[[], Tensor]) -> float:
        """Largest difference of the states that `run` gives, relative to the largest value.

        Infinite if it raises, or if states lie further apart than rounding explains.
        """
        try:
            states = run()
        except UNSUPPORTED_ERRORS as error:
            logger.info("does not run so: %s", str(error))  # whoever keeps the record keeps no frame of the model's
            return math.inf
        if _distance(states, self.reference) > self.distance:
            return math.inf
        every_layer = (0, 1, 2, 4)
        largest = (states - self.reference).abs().amax(every_layer) / self.reference.abs().amax(every_layer)
        return float(largest.max())

    def holds(self, run: Callable[[], Tensor]) -> bool:
        """Whether the states that `run` gives are those of separate passes."""
        return self.difference(run) <= self.tolerance


def _distance(states: Tensor, reference: Tensor) -> float:
    apart = (states.float() - reference.float()).norm(dim=-1) / reference.float().norm(dim=-1)
    return float(apart.max())


def _lengthened(single: Prepared) -> Prepared:
    """With more tokens behind the prompt, like its last one."""

    def longer(tokens: Tensor, axis: int) -> Tensor:
        last = tokens.narrow(axis, -1, 1)
        return torch.cat([tokens, *[last] * EXTRA_TOKENS], dim=axis)

    prompt = {key: longer(value, 0) for key, value in single.prompts[0].items()}
    return replace(
        single, prompts=(prompt,), positions=single.positions and (longer(single.positions[0], 1),), prefix=0
    )
