"""DIOR: ask a vision-language model for one word about one aspect, and take the hidden state it would answer from.

The prompt ends with an open quotation mark; the last token's state in the last layer is the embedding (paper, DIOR).
Any image-text-to-text model of transformers will do, without training.
"""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property, lru_cache, partial
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ..engine import generation, known_plans, loading, separate
from ..engine.cached import prefix_end
from ..engine.plan import STRATEGIES
from ..engine.prompts import Prepared, PromptMaker
from ..engine.texts import text_hidden_states, text_prompt
from ..engine.words import WordScores, silence, top_words
from ..errors import ModelError, OptionError
from ..inputs.conditions import prompt
from ..models.checkpoint import Checkpoint
from ..models.heads import no_head
from ..models.json_values import json_value
from ..models.reasons import single_line_errors
from .embedder import Embedder, checked_reading, checked_size
from .request import Embedded, Request
from .settings import Setting

POSITIONS = ("native", "flat")
BUDGET_CPU = 1024  # tokens a batch: larger ones leave the caches of a CPU
BUDGET_CUDA = 65536

logger = logging.getLogger(__name__)


class DIOR(Embedder):
    """Embeds images under conditions with a vision-language model.

    Args:
        checkpoint: The model to load.
        image_max_size: Images are scaled down to at most this many pixels on the longer side (paper: 700).
        image_reading: "upright", or "reference": the pixels that the paper's reference implementation sees.
        positions: "native", the model's own; or "flat", 1-D positions as the paper's reference implementation uses them
            on models whose tokens have positions in several dimensions.
        share: Compute the image and the common start of the prompts once for all conditions, where that is exact.
        attn_implementation: One of transformers' attention implementations; None leaves the choice to transformers, but
            for vision towers that read segments: these get `engine.segments` where it changes nothing.
        thinking: "off" for vectors of the answer: where a chat template opens a thought, its own switch is used, or the
            thought is closed; "as-is" leaves what the template does by default.
        chat_template_kwargs: Further variables for the model's chat template.
        compile: Compile the decoder's norms and feed-forward networks with torch.compile: takes a while at first, and
            needs what torch.compile needs (a C++ compiler on a CPU).

    Raises:
        ModelError: the model cannot be loaded, or is no vision-language model of the right kind.
    """

    method = "dior"

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        image_max_size: int = 700,
        image_reading: str = "upright",
        positions: str = "native",
        share: bool = True,
        attn_implementation: str | None = None,
        thinking: str = "off",
        chat_template_kwargs: Mapping[str, Any] | None = None,
        compile: bool = False,  # noqa: A002 - torch's own word for it
    ) -> None:
        if positions not in POSITIONS:
            raise OptionError(f"unknown positions {positions!r}; known: {', '.join(POSITIONS)}")
        self.checkpoint = checkpoint
        self.model = checkpoint.name
        self.revision = checkpoint.revision
        self.image_max_size, self.image_reading = checked_size(image_max_size), checked_reading(image_reading)
        self.positions = positions
        self.lvlm = loading.load(
            checkpoint,
            attn_implementation=attn_implementation,
            thinking=thinking,
            chat_template_kwargs=chat_template_kwargs,
        )
        # What decides the prompt around a text: its tokens themselves, and what was asked for to get them.
        self.prompt_extra: dict[str, Any] = {"chat_template": self.lvlm.chat.digest}
        if thinking != "off":
            self.prompt_extra["thinking"] = thinking
        if chat_template_kwargs:
            self.prompt_extra["chat_template_kwargs"] = json_value(chat_template_kwargs, "chat_template_kwargs")
        self.depth = len(self.lvlm.layers)
        with self.lock, single_line_errors(checkpoint.name, "run"):
            plan = known_plans.plan_for(
                self.lvlm,
                checkpoint,
                share=share,
                flat_positions=positions == "flat",
                attn_implementation=attn_implementation,
            )
        # A compiled network is not narrowed: each pass has hooks of its own, and would be compiled again.
        self.plan = replace(plan, prune_top_mlp=plan.prune_top_mlp and not compile)
        self.plan.apply(self.lvlm)
        if compile:
            self.lvlm.compile_layers()
        self.budget = BUDGET_CUDA if checkpoint.device.type == "cuda" else BUDGET_CPU
        # Of the model, not of this object, which would hold itself.
        self.prompt_maker = lru_cache(maxsize=32)(partial(_prompt_maker, self.lvlm, positions == "flat"))
        self._told = False

    @cached_property
    def has_words(self) -> bool:
        """Whether words are told with a vector if they are asked for; where not, a warning says why."""
        if self._silence:
            logger.warning("%s; vectors come without words", self._silence)
        return self._silence is None

    @cached_property
    def _silence(self) -> str | None:
        """Why the model tells no words, if it does not: tried on a small image when words are first asked for."""
        picture = Image.new("RGB", (112, 80), "gray")
        batch = [self.prepare(picture, Request(conditions=("color", "the model of the car")))]
        share = self.plan.caches and self.shares(batch, (-1,))
        with self.lock, torch.inference_mode():
            reasons = [silence(self.lvlm, part, share=share) for part in self.plan.parts(batch, share=share)]
        return next(filter(None, reasons), None)

    def prepare(self, image: Image.Image, request: Request) -> Prepared:
        """The image under each condition and prompt type as model inputs."""
        if image.height == 3 and self.lvlm.guesses_channels:
            raise ValueError("an image 3 pixels high would be taken for one with its channels first")  # caught
        prepared = self.prompt_maker(request.conditions, request.prompt_types)(image)
        if request.drawing:
            pixels = hashlib.sha256(f"{image.size} ".encode() + image.tobytes())
            prepared = replace(prepared, content=pixels.digest())
        for length in prepared.lengths:
            for token in request.tokens:
                if not -length <= token < length:
                    raise OptionError(f"token {token} is out of range: the prompt has {length} tokens")
        return prepared

    def cost(self, prepared: Prepared) -> int:
        """Tokens that the model reads for this image."""
        return prepared.shared_length if self.plan.shares_prefix else sum(prepared.lengths)

    def forward_batch(self, batch: Sequence[Prepared], request: Request) -> list[Embedded]:
        """Vectors, and words if asked for: from one reading of each prompt where the last token's state is wanted."""
        layers = [self.lvlm.layer_index(layer) for layer in request.layers]
        with torch.inference_mode():
            if request.top_words and self.has_words:
                of_last = request.embedding_source == "input_last" and request.tokens == (-1,)
                states, words = self._said(batch, layers if of_last else [], request)
                if states is None:
                    states = self._states(batch, layers, request)
            else:
                states, words = self._states(batch, layers, request), []
            vectors = _pooled(states.float(), request).cpu().numpy()
        told = len(request.prompt_names)
        return [
            Embedded(
                np.asarray(vectors[index]),
                [words[index][k : k + told] for k in range(0, len(words[index]), len(request.prompt_types))]
                if words
                else None,
                sum(prepared.lengths),
            )
            for index, prepared in enumerate(batch)
        ]

    def _states(self, batch: Sequence[Prepared], layers: Sequence[int], request: Request) -> Tensor:
        """Hidden states (images, prompts, tokens, layers, d)."""
        shares = self.shares(batch, request.tokens)
        if request.embedding_source == "input_last":
            hidden_states = STRATEGIES[self.plan.strategy] if shares else separate.hidden_states

            def run(part: Sequence[Prepared]) -> Tensor:
                return hidden_states(self.lvlm, part, layers, request.tokens)

        else:
            sampling = self.sampling(request)
            shares = shares and self.plan.caches

            def run(part: Sequence[Prepared]) -> Tensor:
                return generation.generated_states(self.lvlm, part, layers, sampling, share=shares)

        return self.plan.in_parts(batch, run, share=shares)

    def _said(
        self, batch: Sequence[Prepared], layers: Sequence[int], request: Request
    ) -> tuple[Tensor | None, list[list[WordScores]]]:
        """States (images, prompts, 1, layers, d) of the last tokens, and the words of each image and prompt."""
        share = self.plan.caches and self.shares(batch, (-1,))
        parts = [
            top_words(self.lvlm, part, layers, request.top_words, request.min_probability, share=share)
            for part in self.plan.parts(batch, share=share)
        ]
        words = [words for _, of_part in parts for words in of_part]
        states = [states for states, _ in parts if states is not None]
        prompts = len(batch[0].prompts)
        grouped = [words[start : start + prompts] for start in range(0, len(words), prompts)]
        if not states:
            return None, grouped
        together = torch.cat(states)
        return together.reshape(len(batch), prompts, 1, *together.shape[2:]), grouped

    def embed_text(self, texts: Sequence[str], request: Request) -> NDArray[np.float32]:
        """Vectors (n, *request.shape, d) of texts, read in place of the image.

        Raises:
            ModelError: the model does not run without an image.
        """
        layers = [self.lvlm.layer_index(layer) for layer in request.layers]
        prompts = _text_prompts(texts, request)
        # Where prompts are separate passes, padding too may change a state (prefix-LMs): one text at a time.
        budget = self.budget if self.plan.shares_prefix else 1
        with torch.inference_mode():
            states = text_hidden_states(self.lvlm, prompts, layers, request.tokens, budget)
            vectors = _pooled(states.reshape(len(texts), -1, *states.shape[1:]).float(), request)
        return np.asarray(vectors.cpu().numpy())

    def text_tokens(self, texts: Sequence[str], request: Request) -> list[int]:
        """Tokens of each text's prompts."""
        ids = self.lvlm.chat.text_ids
        with self.lock:
            return [sum(len(ids(each)) for each in _text_prompts([text], request)) for text in texts]

    def answers(self, batch: Sequence[Prepared], sampling: generation.Sampling) -> list[generation.Answer]:
        """What the model generates after each prompt of each image, as `generation.answers` gives it."""
        share = self.plan.caches and self.shares(batch, (-1,))
        with torch.inference_mode():
            return [
                answer
                for part in self.plan.parts(batch, share=share)
                for answer in generation.answers(self.lvlm, part, [], sampling, share=share)
            ]

    def sampling(self, request: Request) -> generation.Sampling:
        """How the answer's tokens are chosen."""
        new_tokens = 1 if request.embedding_source == "first_output" else request.max_new_tokens
        return generation.Sampling(new_tokens, **request.drawing)

    def shares(self, batch: Sequence[Prepared], tokens: Sequence[int]) -> bool:
        """Whether this batch can: some chat templates put the text before the image, some tokens wanted lie there."""
        if not self.plan.shares or len(batch[0].prompts) == 1:  # alone, a prompt gains nothing by a pass of its own
            return False
        if not self.plan.shares_prefix:
            return True
        outside = any(prepared.image_end > prefix_end(prepared, tokens) for prepared in batch)
        if outside and not self._told:
            self._told = True
            logger.warning("%s: the prompts share less than the image, so each is a separate pass", self.model)
        return not outside

    def _for_words(self) -> dict[str, Any]:
        if self._silence:
            raise ModelError(self._silence)
        return {"layers": (0,)}  # the vectors are not looked at: the cheapest

    @classmethod
    def options_from(cls, setting: Setting) -> dict[str, Any]:
        """The options that made a setting."""
        extra = setting.extra
        told: dict[str, Any] = {name: extra[name] for name in ("thinking", "chat_template_kwargs") if name in extra}
        return {**super().options_from(setting), "positions": setting.positions, **told}

    def settings(self, request: Request, *, dataset: str, source: str | None = None) -> list[Setting]:
        """One setting a vector of the request, in the order of its axes."""
        self._check(request)
        extra = {**self.checkpoint.setting_extra, **self.prompt_extra}
        if request.embedding_source == "mean_output":
            extra["max_new_tokens"] = request.max_new_tokens
        if request.embedding_source != "input_last":
            extra |= request.drawing
        return [
            self._setting(
                dataset,
                source,
                prompt_type=prompt_type,
                condition=condition,
                layer=layer,
                token=token,
                embedding_source=request.embedding_source,
                dtype=str(self.lvlm.dtype).removeprefix("torch."),
                positions=self.positions,
                extra=extra,
            )
            for condition, prompt_type, token, layer in product(
                request.conditions, request.prompt_names, request.tokens, request.layer_names
            )
        ]

    def _check(self, request: Request) -> None:
        super()._check(request)
        if not self.lvlm.has_head and request.embedding_source != "input_last":
            raise no_head(self.model)
        self.prompt_maker(request.conditions, request.prompt_types)  # refuses conditions that are no plain text
        for layer in request.layers:
            self.lvlm.layer_index(layer)


def _prompt_maker(
    lvlm: loading.LVLM, flat: bool, conditions: tuple[str | None, ...], prompt_types: tuple[str, ...]
) -> PromptMaker:
    texts = [prompt(condition, prompt_type) for condition, prompt_type in product(conditions, prompt_types)]
    return PromptMaker(lvlm, texts, flat_positions=flat)


def _text_prompts(texts: Sequence[str], request: Request) -> list[str]:
    """Each text under each condition and prompt type."""
    return [text_prompt(*each) for each in product(texts, request.conditions, request.prompt_types)]


def _pooled(states: Tensor, request: Request) -> Tensor:
    """From states (images, prompts, tokens, layers, d) to vectors (images, *request.shape, d)."""
    vectors = states.reshape(len(states), len(request.conditions), len(request.prompt_types), *states.shape[2:])
    if request.average_prompts:
        vectors = vectors.mean(2, keepdim=True)
    if request.layer_pooling:
        vectors = torch.nn.functional.normalize(vectors, dim=-1)
        pooled = vectors.mean(-2) if request.layer_pooling == "mean" else vectors.flatten(-2)
        vectors = pooled[..., None, :]
    return vectors
