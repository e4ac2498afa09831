"""DIOR: ask a vision-language model for one word about one aspect, and take the hidden state it would answer from.

The prompt ends with an open quotation mark; the last token's state in the last layer is the embedding (paper, DIOR).
Any image-text-to-text model of transformers will do, without training.
"""

import logging
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ..checkpoint import Checkpoint
from ..conditions import Conditions, checked_conditions, prompt
from ..errors import ImageError
from ..images import ImageInput, read_image
from ..lvlm import generation, loading, plain, self_check
from ..lvlm.cached import prefix_end
from ..lvlm.prompts import Prepared, PromptMaker
from ..settings import Setting
from .embedder import Embedder, Request, is_one_image
from .streaming import stream

POSITIONS = ("native", "flat")
BUDGET_CPU = 2048  # tokens a batch: larger ones leave the caches of a CPU, and were up to a fifth slower
BUDGET_CUDA = 65536

logger = logging.getLogger(__name__)


class DIOR(Embedder):
    """Embeds images under conditions with a vision-language model.

    Args:
        checkpoint: The model to load.
        image_max_size: Images are scaled down to at most this many pixels on the longer side (paper: 700).
        positions: "native", the model's own; or "flat", 1-D positions as the paper's reference implementation uses them
            on models whose tokens have positions in several dimensions.
        share: Compute the image and the common start of the prompts once for all conditions, where that is exact.
        attn_implementation: One of transformers' attention implementations; None leaves the choice to transformers.
        compile: Compile the decoder's layers with torch.compile: pays on a GPU, after a minute or more at the start.

    Raises:
        ModelError: the model cannot be loaded, or is no vision-language model of the right kind.
    """

    method = "dior"
    conditional = True

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        image_max_size: int = 700,
        positions: str = "native",
        share: bool = True,
        attn_implementation: str | None = None,
        compile: bool = False,  # noqa: A002 - torch's own word for it
    ) -> None:
        if positions not in POSITIONS:
            raise ValueError(f"unknown positions {positions!r}; known: {', '.join(POSITIONS)}")
        self.checkpoint = checkpoint
        self.model = checkpoint.name
        self.revision = checkpoint.revision
        self.image_max_size = image_max_size
        self.positions = positions
        self.lvlm = loading.load(checkpoint, attn_implementation=attn_implementation)
        self.depth = len(self.lvlm.layers)
        self.choice = self_check.choose(self.lvlm, share=share, flat_positions=positions == "flat")
        if compile:
            for layer in self.lvlm.layers:
                layer.forward = torch.compile(layer.forward, dynamic=True)  # hooks stay outside of what is compiled
        self.budget = BUDGET_CUDA if checkpoint.device.type == "cuda" else BUDGET_CPU
        self._prompt_maker = lru_cache(maxsize=32)(self._new_prompt_maker)
        self._told = False

    def prepare(self, image: Image.Image, request: Request) -> Prepared:
        """The image under each condition as model inputs."""
        prepared = self._prompt_maker(request.conditions, request.prompt_type)(image)
        for length in prepared.lengths:
            if not -length <= request.token < length:
                raise ValueError(f"token {request.token} is out of range: the prompt has {length} tokens")
        return prepared

    def cost(self, prepared: Prepared) -> int:
        """Tokens that the model reads for this image."""
        return prepared.shared_length if self.choice.shares else sum(prepared.lengths)

    def embed(self, batch: Sequence[Prepared], request: Request) -> NDArray[np.float32]:
        """Vectors (images, K, layers, d)."""
        layers = [self.lvlm.layer_index(layer) for layer in request.layers]
        shares = self.shares(batch, request.token)
        with torch.inference_mode():
            if request.embedding_source == "input_last":
                way = self_check.RUNS[self.choice.name] if shares else plain.embed

                def run(part: Sequence[Prepared]) -> Tensor:
                    return way(self.lvlm, part, layers, request.token)

            else:
                new_tokens = 1 if request.embedding_source == "first_output" else request.max_new_tokens
                sampling = generation.Sampling(new_tokens, request.do_sample, request.temperature)
                shares = shares and self.choice.caches

                def run(part: Sequence[Prepared]) -> Tensor:
                    return generation.embed(self.lvlm, part, layers, sampling, share=shares)

            states = self.choice.in_parts(batch, run, share=shares)
            return np.asarray(states.float().cpu().numpy())

    def shares(self, batch: Sequence[Prepared], token: int) -> bool:
        """Whether this batch can: some chat templates put the text before the image, some tokens wanted lie there."""
        if not self.choice.shares or len(batch[0].prompts) == 1:
            return False
        outside = any(prepared.image_end > prefix_end(prepared, token) for prepared in batch)
        if outside and not self._told:
            self._told = True
            logger.warning("%s: the prompts share less than the image, so each is a plain pass", self.model)
        return not outside

    def words(
        self,
        images: "ImageInput | Sequence[ImageInput]",
        conditions: Conditions = None,
        *,
        k: int = 5,
        prompt_type: str = "describe",
        batch_size: int | None = None,
    ) -> list[Any]:
        """What the model would say: the k most probable first tokens of its answer, each with its probability.

        Returns:
            For each image and condition a list of k pairs such as ("red", 0.81), most probable first. A single image
            drops the outer list, a single condition (or None) the inner one.

        Raises:
            ImageError: an image cannot be read.
        """
        if k < 1:
            raise ValueError(f"k is {k}; ask for at least one word")
        request = Request(conditions=checked_conditions(conditions), prompt_type=prompt_type)
        one_image = is_one_image(images)
        inputs: Sequence[Any] = [images] if one_image else images  # type: ignore[assignment]
        found: list[Any] = [None] * len(inputs)
        results = stream(
            _Words(self, k),
            enumerate(inputs),
            request,
            read=lambda image: read_image(image, max_size=self.image_max_size),
            batch_size=batch_size,
        )
        for index, outcome in results:
            if isinstance(outcome, ImageError):
                raise outcome
            found[index] = [
                [(self.lvlm.tokenizer.decode([int(token)]).strip(), float(probability)) for token, probability in pairs]
                for pairs in outcome
            ]
        if conditions is None or isinstance(conditions, str):
            found = [per_condition[0] for per_condition in found]
        return found[0] if one_image else found

    def settings(self, request: Request, *, dataset: str, source: str | None = None) -> list[list[Setting]]:
        """The K x L settings of the request's vectors."""
        extra = dict(self.checkpoint.setting_extra)
        if request.embedding_source == "mean_output":
            extra["max_new_tokens"] = request.max_new_tokens
        if request.embedding_source != "input_last" and request.do_sample:
            extra["temperature"] = request.temperature
        return [
            [
                Setting(
                    dataset=dataset,
                    source=source,
                    method=self.method,
                    model=self.model,
                    revision=self.revision,
                    prompt_type=request.prompt_type,
                    condition=condition,
                    layer=layer,
                    token=request.token,
                    embedding_source=request.embedding_source,
                    dtype=str(self.lvlm.dtype).removeprefix("torch."),
                    image_max_size=self.image_max_size,
                    positions=self.positions,
                    extra=extra,
                )
                for layer in request.layers
            ]
            for condition in request.conditions
        ]

    def _new_prompt_maker(self, conditions: tuple[str | None, ...], prompt_type: str) -> PromptMaker:
        texts = [prompt(condition, prompt_type) for condition in conditions]
        return PromptMaker(self.lvlm, texts, flat_positions=self.positions == "flat")

    def _check(self, request: Request) -> None:
        super()._check(request)
        for layer in request.layers:
            self.lvlm.layer_index(layer)


class _Words:
    """The stage behind `DIOR.words`: most probable first tokens instead of hidden states."""

    def __init__(self, embedder: DIOR, k: int) -> None:
        self.embedder = embedder
        self.k = k
        self.budget = embedder.budget
        self.prepare = embedder.prepare
        self.cost = embedder.cost

    def embed(self, batch: Sequence[Prepared], request: Request) -> NDArray[np.float32]:
        """Token ids (exact in float32) and probabilities, (images, K, k, 2)."""
        with torch.inference_mode():
            lvlm, choice = self.embedder.lvlm, self.embedder.choice
            shares = choice.caches and self.embedder.shares(batch, request.token)
            logits = choice.in_parts(
                batch, lambda part: generation.first_logits(lvlm, part, share=shares), share=shares
            )
            best = logits.float().softmax(-1).topk(min(self.k, logits.shape[-1]))
            return np.asarray(torch.stack([best.indices.float(), best.values], dim=-1).cpu().numpy())
