"""Instruct: embedders that are trained to take an instruction, with the condition put where their family wants it.

The families are data (`models/instructed.toml`): Qwen3-VL-Embedding, VLM2Vec-V2, E5-V, GME. The vector is the state of
the prompt's last token, or the mean over its tokens, behind the final norm, scaled to unit length.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize

from ..engine import known_plans, loading, separate
from ..engine.instruct_frame import InstructFrame
from ..engine.plan import STRATEGIES, ExecutionPlan
from ..engine.prompts import Prepared, PromptMaker
from ..engine.texts import hidden_states_of_ids
from ..inputs.conditions import Conditions
from ..models.checkpoint import Checkpoint
from ..models.instructed import known_family, record_for
from ..models.json_values import json_value
from ..models.reasons import single_line_errors
from .dior import BUDGET_CPU, BUDGET_CUDA
from .embedder import Embedder, checked_reading, checked_size
from .options import Form
from .prompted import Prompted, checked_prompt, has_modules
from .registry import OF_INSTRUCTIONS
from .request import Embedded, Request
from .settings import Setting

logger = logging.getLogger(__name__)


class Instruct(Embedder):
    """Embeds images and texts under conditions with a model that takes an instruction.

    Args:
        checkpoint: The model to load.
        family: One of `models.instructed.FAMILIES`, where the model does not say by itself of which it is.
        instruction: The wording of the instruction about {c}; or a mapping of fields of a record, such as `place`,
            `with_condition`, `without_condition`, `end`, `normalized`. What is not given is as the family has it.
        pooling: "last" or "mean"; None is the family's.
        image_max_size: Images are scaled down to at most this many pixels on the longer side (paper: 700), before the
            family's own limits.
        image_reading: "upright", or "reference": the pixels that the paper's reference implementation sees.
        share: Compute what the prompts of an image have in common once, where that is exact: the image and all before
            the condition, or the vision tower's output.
        attn_implementation: One of transformers' attention implementations; None leaves the choice to transformers.
        backbone: Another whose model is used instead of loading it again.

    Raises:
        ModelError: the model cannot be loaded, or is of no family that is known and no instruction was given.
        OptionError: an instruction that cannot be one.
    """

    method = "instruct"
    depth = 0
    reads_pairs = True

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        family: str | None = None,
        instruction: str | Mapping[str, Any] | None = None,
        pooling: str | None = None,
        image_max_size: int = 700,
        image_reading: str = "upright",
        share: bool = True,
        attn_implementation: str | None = None,
        backbone: "Instruct | None" = None,
    ) -> None:
        self.record = record_for(
            checkpoint.name, checkpoint.config, family=family, instruction=instruction, pooling=pooling
        )
        self.checkpoint = checkpoint
        self.model, self.revision = checkpoint.name, checkpoint.revision
        self.image_max_size, self.image_reading = checked_size(image_max_size), checked_reading(image_reading)
        given = {"family": family, "instruction": instruction, "pooling": pooling}
        told = {name: value for name, value in given.items() if value is not None}
        self._given: dict[str, Any] = {name: json_value(value, name) for name, value in told.items()}
        self.flat = self.record.positions == "flat"
        self._backbone = None if backbone is None else backbone.backbone
        self.lvlm, self.plan = self._loaded(share, attn_implementation) if backbone is None else self._on(backbone)
        self.frame = cast(InstructFrame, self.lvlm.chat)
        self._warned = False
        self.budget = BUDGET_CUDA if checkpoint.device.type == "cuda" else BUDGET_CPU
        # Of the model, not of this object, which would hold itself.
        self.prompt_maker = lru_cache(maxsize=32)(partial(PromptMaker, self.lvlm, flat_positions=self.flat))

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint, **options: Any) -> Any:
        """The method on a model; one of sentence-transformers that is of no known family embeds as it is."""
        instruction = options.get("instruction")
        is_told = options.get("family") is not None or isinstance(instruction, Mapping)
        if is_told or known_family(checkpoint.name, checkpoint.config) is not None or not has_modules(checkpoint):
            return super().from_checkpoint(checkpoint, **options)
        own = {name: value for name, value in options.items() if name not in {*OF_INSTRUCTIONS, "share"}}
        return Prompted(checkpoint, instruction=checked_prompt(instruction, options.get("pooling")), **own)

    def _loaded(self, share: bool, attn_implementation: str | None) -> tuple[loading.LVLM, ExecutionPlan]:
        limited = replace(self.checkpoint, processor_kwargs={**self._size(), **self.checkpoint.processor_kwargs})
        lvlm = loading.load(limited, attn_implementation=attn_implementation, record=self.record)
        with self.lock, single_line_errors(self.model, "run"):
            plan = known_plans.plan_for(
                lvlm, limited, share=share, flat_positions=self.flat, attn_implementation=attn_implementation
            )
        plan.apply(lvlm)
        return lvlm, plan

    def _on(self, backbone: "Instruct") -> tuple[loading.LVLM, ExecutionPlan]:
        return replace(backbone.lvlm, chat=replace(backbone.frame, record=self.record)), backbone.plan

    def _size(self) -> dict[str, Any]:
        """The family's limits in the words of image processors, where the "edges" are numbers of pixels."""
        if not self.record.pixels:
            return {}
        return {"size": dict(zip(("shortest_edge", "longest_edge"), self.record.pixels, strict=True))}

    @property
    def backbone(self) -> "Instruct":
        """The embedder that holds the model."""
        return self._backbone or self

    def instructed(self, instruction: str) -> "Instruct":
        """The same model with another instruction where there is no condition, such as a benchmark's task.

        Args:
            instruction: All of it, for images, texts and both.
        """
        given = self._given.get("instruction", {})
        wording = {"with_condition": given} if isinstance(given, str) else dict(given)
        wording |= {f"{kind}without_condition": instruction for kind in ("", "text_", "pair_")}
        return Instruct(
            self.checkpoint,
            **{**self._given, "instruction": wording},
            image_max_size=self.image_max_size,
            image_reading=self.image_reading,
            backbone=self,
        )

    def form(self, conditions: Conditions, truncate_dim: int | None, normalize: bool) -> Form:
        """Shortened vectors have unit length again, where the family's have it."""
        if truncate_dim is not None and truncate_dim < (self.record.dimensions or math.inf) and not self._warned:
            self._warned = True
            least = f"fewer than {self.record.dimensions} dimensions" if self.record.dimensions else "fewer dimensions"
            logger.warning("%s was not trained for vectors of %s: they lose more than they need", self.model, least)
        return super().form(
            conditions, truncate_dim, normalize or (self.record.normalized and truncate_dim is not None)
        )

    def prepare(self, image: Image.Image, request: Request) -> Prepared:
        """The image under each condition as model inputs."""
        if image.height == 3 and self.lvlm.guesses_channels:
            raise ValueError("an image 3 pixels high would be taken for one with its channels first")  # caught
        return self.prompt_maker(self._instructions(request))(image)

    def prepare_pair(self, image: Image.Image, text: str, request: Request) -> Prepared:
        """An image and a text, read at once as the family reads both, under each condition as model inputs."""
        self.frame.check_text(text)
        beside = replace(self.lvlm, chat=replace(self.frame, companion=text))
        return PromptMaker(beside, self._instructions(request, "pair"), flat_positions=self.flat)(image)

    def cost(self, prepared: Prepared) -> int:
        """Tokens that the model reads for this image."""
        return prepared.shared_length if self.plan.shares_prefix else sum(prepared.lengths)

    def forward_batch(self, batch: Sequence[Prepared], request: Request) -> list[Embedded]:  # noqa: ARG002
        """One vector per image and condition."""
        with torch.inference_mode():
            states = self._means(batch) if self.record.pooling == "mean" else self._last(batch)
            vectors = self._scaled(states)
        return [Embedded(each[:, None, None, None]) for each in vectors]

    def embed_text(self, texts: Sequence[str], request: Request) -> NDArray[np.float32]:
        """Vectors (n, *request.shape, d) of texts, read in place of the image as the family reads them.

        Raises:
            ConditionError: a text that holds a token of the model's own.
            ModelError: the model does not run without an image.
        """
        for text in texts:
            self.frame.check_text(text)
        ids = [
            self.frame.instructed_text_ids(text, instruction)
            for text in texts
            for instruction in self._instructions(request, "text")
        ]
        last = [len(self.lvlm.layers)]
        with torch.inference_mode():
            if self.record.pooling == "mean":
                every = [hidden_states_of_ids(self.lvlm, [one], last, range(len(one)), 1).mean(1) for one in ids]
                states = torch.cat(every)
            else:
                # Where nothing is shared, padding too may change a state (prefix-LMs): one text at a time.
                budget = self.budget if self.plan.shares else 1
                states = hidden_states_of_ids(self.lvlm, ids, last, [-1], budget)[:, 0]
            vectors = self._scaled(states[:, 0])
        return vectors.reshape(len(texts), len(request.conditions), 1, 1, 1, -1)

    def settings(self, request: Request, *, dataset: str, source: str | None = None) -> list[Setting]:
        """One setting per condition."""
        self._check(request)
        told = self._given or {"family": self.record.name}
        return [
            self._setting(
                dataset,
                source,
                condition=condition,
                dtype=str(self.lvlm.dtype).removeprefix("torch."),
                positions=self.record.positions,
                extra={**self.checkpoint.setting_extra, **told, "chat_template": self.frame.digest},
            )
            for condition in request.conditions
        ]

    @classmethod
    def options_from(cls, setting: Setting) -> dict[str, Any]:
        """The options that made a setting."""
        told: dict[str, Any] = {name: setting.extra[name] for name in OF_INSTRUCTIONS if name in setting.extra}
        return {**super().options_from(setting), **told}

    def _check(self, request: Request) -> None:
        super()._check(request)
        self.prompt_maker(self._instructions(request))  # refuses conditions that are no plain text

    def _instructions(self, request: Request, kind: str = "") -> tuple[str, ...]:
        return tuple(self.record.instruction(condition, kind) for condition in request.conditions)

    def _last(self, batch: Sequence[Prepared]) -> Tensor:
        """The last tokens' states, (images, K, d)."""
        shares = self.plan.shares and len(batch[0].prompts) > 1
        if self.plan.shares_prefix and any(each.image_end > each.prefix for each in batch):
            shares = False
        hidden_states = STRATEGIES[self.plan.strategy] if shares else separate.hidden_states
        last = [len(self.lvlm.layers)]
        states = self.plan.in_parts(batch, lambda part: hidden_states(self.lvlm, part, last, [-1]), share=shares)
        return states[:, :, 0, 0]

    def _means(self, batch: Sequence[Prepared]) -> Tensor:
        """The means over each prompt's tokens, (images, K, d): a pass for each, since all its tokens are wanted."""
        last = [len(self.lvlm.layers)]
        rows = [
            separate.hidden_states(self.lvlm, [single], last, range(single.lengths[0]))[0, 0, :, 0].float().mean(0)
            for prepared in batch
            for single in prepared.singles()
        ]
        means = torch.stack(rows)
        return means.reshape(len(batch), -1, means.shape[-1])

    def _scaled(self, states: Tensor) -> NDArray[np.float32]:
        states = states.float()
        return np.asarray((normalize(states, dim=-1) if self.record.normalized else states).cpu().numpy())
