"""How one model is run: the decisions of the self-check, as plain data that is applied to the model elsewhere."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import torch
from torch import Tensor

from . import cached, packed, segments, separate, tower
from .loading import LVLM
from .prompts import Prepared

Run = Callable[[LVLM, Sequence[Prepared], Sequence[int], Sequence[int]], Tensor]

STRATEGIES: dict[str, Run] = {
    "packed": packed.hidden_states,
    "cached": cached.hidden_states,
    "tower": tower.hidden_states,
    "separate": separate.hidden_states,
}


@dataclass(frozen=True, kw_only=True)
class ExecutionPlan:
    """What was found to be exact for a model, and so how it is run. JSON holds all of it.

    Attributes:
        strategy: A key of `STRATEGIES`.
        caches: Whether `cached` is exact too: what is generated behind a prompt can then share its prefix.
        together: Whether several images can be in one pass. Some vision towers mix them up, or see their padding.
        segments: The parts of the model whose attention takes all segments of a length in one call (`segments`).
        prune_top_mlp: Whether the highest layer's feed-forward network sees the wanted tokens only.
        thought: The mark of the thought that the model's answers begin with; empty where they begin with none.
        differences: The largest difference of each strategy tried from separate passes, relative to the largest value;
            None where it does not run, or its states lie further apart than rounding explains.
    """

    strategy: str = "separate"
    caches: bool = False
    together: bool = True
    segments: tuple[str, ...] = ()
    prune_top_mlp: bool = False
    thought: str = ""
    differences: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def shares(self) -> bool:
        """Whether prompts of one image share anything."""
        return self.strategy != "separate"

    @property
    def shares_prefix(self) -> bool:
        """Whether they share what they start with, the image included."""
        return self.strategy in {"packed", "cached"}

    def apply(self, lvlm: LVLM) -> None:
        """Leave the model as this plan has it."""
        segments.disable(lvlm, [part for part in segments.enabled(lvlm) if part not in self.segments])
        segments.enable(lvlm, self.segments)
        lvlm.prune_top_mlp = self.prune_top_mlp

    @contextmanager
    def applied(self, lvlm: LVLM) -> Iterator[None]:
        """While open, the model is as this plan has it; then again as it was."""
        before = ExecutionPlan(segments=segments.enabled(lvlm), prune_top_mlp=lvlm.prune_top_mlp)
        self.apply(lvlm)
        try:
            yield
        finally:
            before.apply(lvlm)

    def run(self, lvlm: LVLM, batch: Sequence[Prepared], layers: Sequence[int], tokens: Sequence[int]) -> Tensor:
        """Hidden states (images, K, tokens, layers, d) of a few tokens of each prompt."""
        hidden_states = STRATEGIES[self.strategy]
        return self.in_parts(batch, lambda part: hidden_states(lvlm, part, layers, tokens), share=self.shares)

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

    def to_json(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        return {**asdict(self), "segments": list(self.segments), "differences": dict(self.differences)}

    @classmethod
    def from_json(cls, values: Any) -> "ExecutionPlan":
        """The plan that `to_json` wrote.

        Raises:
            ValueError: anything else.
        """
        if not isinstance(values, dict) or values.keys() != {each.name for each in fields(cls)}:
            raise ValueError("not the fields of a plan")  # caught: it is made anew
        plan = cls(**{**values, "segments": tuple(values["segments"])})
        known = (
            plan.strategy in STRATEGIES
            and all(isinstance(each, bool) for each in (plan.caches, plan.together, plan.prune_top_mlp))
            and all(isinstance(each, str) for each in (*plan.segments, plan.thought))
            and isinstance(plan.differences, dict)
        )
        if not known:
            raise ValueError("not the values of a plan")  # caught: it is made anew
        return plan
