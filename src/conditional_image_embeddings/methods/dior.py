"""DIOR: ask a vision-language model for one word about one aspect, and take the hidden state it would answer from.

The prompt ends with an open quotation mark; the last token's state in the last layer is the embedding (paper, DIOR).
Any image-text-to-text model of transformers will do, without training.
"""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ..conditions import Conditions, checked_conditions, prompt
from ..errors import ImageError
from ..images import ImageInput
from ..lvlm import generation, loading, plain, self_check
from ..lvlm.cached import prefix_end
from ..lvlm.prompts import Prepared, PromptMaker
from ..lvlm.texts import embed as embed_texts
from ..lvlm.texts import text_prompt
from ..lvlm.words import Words, say
from ..models.checkpoint import Checkpoint
from ..models.heads import no_head
from ..models.reasons import one_line
from ..settings import Setting
from .embedder import Embedder, is_one_image
from .request import Embedded, Request

POSITIONS = ("native", "flat")
BUDGET_CPU = 1024  # tokens a batch: larger ones leave the caches of a CPU
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
        attn_implementation: One of transformers' attention implementations; None leaves the choice to transformers, but
            for vision towers that read segments: these get `lvlm.segments` where it changes nothing.
        compile: Compile the decoder's norms and feed-forward networks with torch.compile: takes a while at first, and
            needs what torch.compile needs (a C++ compiler on a CPU).

    Raises:
        ModelError: the model cannot be loaded, or is no vision-language model of the right kind.
    """

    method = "dior"
    conditional = True
    has_prompts = True
    has_hidden_states = True

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
        with one_line(checkpoint.name, "run"):
            self.choice = self_check.choose(
                self.lvlm,
                share=share,
                flat_positions=positions == "flat",
                own_attention=attn_implementation is not None,
            )
        if compile:
            self.lvlm.compile_layers()
        self.budget = BUDGET_CUDA if checkpoint.device.type == "cuda" else BUDGET_CPU
        self._prompt_maker = lru_cache(maxsize=32)(self._new_prompt_maker)
        self._told = False
        self._wordless = False

    @property
    def has_words(self) -> bool:  # type: ignore[override]  # other methods know it beforehand
        """Whether words are told with a vector if they are asked for: not without a head."""
        return self.lvlm.has_head

    def prepare(self, image: Image.Image, request: Request) -> Prepared:
        """The image under each condition and prompt type as model inputs."""
        prepared = self._prompt_maker(request.conditions, request.prompt_types)(image)
        if request.drawing:
            pixels = hashlib.sha256(f"{image.size} ".encode() + image.tobytes())
            prepared = replace(prepared, content=pixels.digest())
        for length in prepared.lengths:
            for token in request.tokens:
                if not -length <= token < length:
                    raise ValueError(f"token {token} is out of range: the prompt has {length} tokens")
        return prepared

    def cost(self, prepared: Prepared) -> int:
        """Tokens that the model reads for this image."""
        return prepared.shared_length if self.choice.shares else sum(prepared.lengths)

    def embed(self, batch: Sequence[Prepared], request: Request) -> list[Embedded]:
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
            )
            for index in range(len(batch))
        ]

    def _states(self, batch: Sequence[Prepared], layers: Sequence[int], request: Request) -> Tensor:
        """Hidden states (images, prompts, tokens, layers, d)."""
        shares = self.shares(batch, request.tokens)
        if request.embedding_source == "input_last":
            way = self_check.RUNS[self.choice.name] if shares else plain.embed

            def run(part: Sequence[Prepared]) -> Tensor:
                return way(self.lvlm, part, layers, request.tokens)

        else:
            sampling = self.sampling(request)
            shares = shares and self.choice.caches

            def run(part: Sequence[Prepared]) -> Tensor:
                return generation.embed(self.lvlm, part, layers, sampling, share=shares)

        return self.choice.in_parts(batch, run, share=shares)

    def _said(
        self, batch: Sequence[Prepared], layers: Sequence[int], request: Request
    ) -> tuple[Tensor | None, list[list[Words]]]:
        """States (images, prompts, 1, layers, d) of the last tokens, and the words of each image and prompt."""
        share = self.choice.caches and self.shares(batch, (-1,))
        parts = [
            say(self.lvlm, part, layers, request.top_words, request.least_probability, share=share)
            for part in self.choice.parts(batch, share=share)
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
        prompts = [
            text_prompt(text, condition, prompt_type)
            for text, condition, prompt_type in product(texts, request.conditions, request.prompt_types)
        ]
        # Where prompts are plain passes, padding too may change a state (prefix-LMs): one text at a time.
        budget = self.budget if self.choice.shares else 1
        with torch.inference_mode():
            states = embed_texts(self.lvlm, prompts, layers, request.tokens, budget)
            vectors = _pooled(states.reshape(len(texts), -1, *states.shape[1:]).float(), request)
        return np.asarray(vectors.cpu().numpy())

    def sampling(self, request: Request) -> generation.Sampling:
        """How the answer's tokens are chosen."""
        new_tokens = 1 if request.embedding_source == "first_output" else request.max_new_tokens
        return generation.Sampling(new_tokens, **request.drawing)

    def shares(self, batch: Sequence[Prepared], tokens: Sequence[int]) -> bool:
        """Whether this batch can: some chat templates put the text before the image, some tokens wanted lie there."""
        if not self.choice.shares or len(batch[0].prompts) == 1:  # alone, a prompt gains nothing by a pass of its own
            return False
        outside = any(prepared.image_end > prefix_end(prepared, tokens) for prepared in batch)
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
        """What the model would say: the k most probable words of its answer, each with its probability.

        The most probable first tokens are continued greedily until the word that each begins has ended; a word's
        probability is that of its pieces one after another. Case and white space are folded.

        Returns:
            For each image and condition a list of at most k pairs such as ("red", 0.81), most probable first. A single
            image drops the outer list, a single condition (or None) the inner one.

        Raises:
            ImageError: an image cannot be read.
            ModelError: the model has no head.
        """
        if not self.lvlm.has_head:
            raise no_head(self.model)
        if k < 1:
            raise ValueError(f"k is {k}; ask for at least one word")
        request = Request(
            conditions=checked_conditions(conditions),
            prompt_types=(prompt_type,),
            layers=(0,),
            top_words=k,
            least_probability=0.0,
        )
        one_image = is_one_image(images)
        inputs: Sequence[Any] = [images] if one_image else images  # type: ignore[assignment]
        found: list[Any] = [None] * len(inputs)
        for index, outcome in self.stream(enumerate(inputs), request, batch_size=batch_size):
            if isinstance(outcome, ImageError):
                raise outcome
            found[index] = [of_condition[0] for of_condition in outcome.words or []]
        if conditions is None or isinstance(conditions, str):
            found = [per_condition[0] for per_condition in found]
        return found[0] if one_image else found

    def settings(self, request: Request, *, dataset: str, source: str | None = None) -> list[Setting]:
        """One setting a vector of the request, in the order of its axes."""
        self._check(request)
        extra = dict(self.checkpoint.setting_extra)
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

    def _new_prompt_maker(self, conditions: tuple[str | None, ...], prompt_types: tuple[str, ...]) -> PromptMaker:
        texts = [prompt(condition, prompt_type) for condition, prompt_type in product(conditions, prompt_types)]
        return PromptMaker(self.lvlm, texts, flat_positions=self.positions == "flat")

    def _check(self, request: Request) -> None:
        super()._check(request)
        if not self.lvlm.has_head and request.embedding_source != "input_last":
            raise no_head(self.model)
        if not self.has_words and request.top_words and not self._wordless:
            self._wordless = True
            logger.warning("%s has no head: vectors are stored without words", self.model)
        for layer in request.layers:
            self.lvlm.layer_index(layer)


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
