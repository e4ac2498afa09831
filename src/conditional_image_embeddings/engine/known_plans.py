"""The plan of a model that was checked before, or of one checked now: what decides it, and what is said of it."""

import hashlib
import json
import logging
import os
import platform
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from ..models.checkpoint import Checkpoint
from . import segments, self_check
from .loading import LVLM
from .plan import ExecutionPlan
from .verdicts import recall, remember

KIND = "self-check"
FORCE = "CIE_SELF_CHECK"  # 1: check whatever is known

logger = logging.getLogger(__name__)


def plan_for(
    lvlm: LVLM,
    checkpoint: Checkpoint,
    *,
    share: bool = True,
    flat_positions: bool = False,
    attn_implementation: str | None = None,
) -> ExecutionPlan:
    """How to run a model: as was found before for these very files, options and libraries, else found now.

    Args:
        lvlm: The model.
        checkpoint: What it was loaded from.
        share: Whether one pass may serve several prompts.
        flat_positions: Whether tokens have 1-D positions whatever the model's own are.
        attn_implementation: What the model was loaded with; then its attention is left alone.

    Raises:
        ModelError: the prompts are not those of the model's own call, or it cannot be run on them.
    """
    options = {"share": share, "flat_positions": flat_positions, "attn_implementation": attn_implementation}
    about = _identity(lvlm, checkpoint, options)
    plan = None
    if about is not None and os.environ.get(FORCE, "0") in {"", "0"}:
        plan = _known(lvlm, about)
    if plan is None:
        plan = self_check.choose(
            lvlm, share=share, flat_positions=flat_positions, own_attention=attn_implementation is not None
        )
        if about is not None:
            remember(KIND, about, plan.to_json())
    _warn(lvlm, plan, share=share)
    return plan


def _warn(lvlm: LVLM, plan: ExecutionPlan, *, share: bool) -> None:
    """Say each time that the model is loaded what a user must know of its plan."""
    if plan.thought:
        logger.warning(
            "%s: its answers begin with a thought (%s) that no prompt asks for, so its vectors are of the thought and "
            "not of the answer: name a checkpoint that answers at once", lvlm.name, plan.thought,
        )  # fmt: skip
    if share and not plan.shares:
        logger.warning("%s: sharing the image is not exact, so each condition is a separate pass", lvlm.name)


def _known(lvlm: LVLM, about: dict[str, Any]) -> ExecutionPlan | None:
    try:
        plan = ExecutionPlan.from_json(recall(KIND, about))
    except (ValueError, TypeError, KeyError):
        return None
    return plan if set(plan.segments) <= set(segments.parts_with_segments(lvlm)) else None


def _identity(lvlm: LVLM, checkpoint: Checkpoint, options: dict[str, Any]) -> dict[str, Any] | None:
    """All that a plan depends on; None where that cannot be told: then nothing is remembered.

    Code that comes with a model may be anything, and options that are no plain values may hold anything.
    """
    if checkpoint.revision is None or checkpoint.random_weights or checkpoint.hub_options.get("trust_remote_code"):
        return None
    about = {
        "model": checkpoint.revision,
        "model_kwargs": dict(checkpoint.model_kwargs),
        "processor_kwargs": dict(checkpoint.processor_kwargs),
        "dtype": str(lvlm.dtype),
        "chat": lvlm.chat.identity,
        "machine": _machine(lvlm.device),
        "engine": _source_digest(),
        "versions": {name: version(name) for name in ("torch", "transformers", "tokenizers")},
        **options,
    }
    try:
        restored: dict[str, Any] = json.loads(json.dumps(about))
    except (TypeError, ValueError):
        return None
    return restored if restored == about else None  # JSON would make a number key a text


def _machine(device: torch.device) -> list[str]:
    """What numbers are computed on: rounding differs, and so may what is exact."""
    kind = torch.cuda.get_device_name(device) if device.type == "cuda" else torch.backends.cpu.get_cpu_capability()
    return [platform.system(), platform.machine(), device.type, kind, torch.get_float32_matmul_precision()]


@cache
def _source_digest() -> str:
    """Of the code that checks and runs: a clone's version stands still while its code changes."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]
