"""Generate, then encode: the model writes an answer about an aspect, a text encoder embeds it (paper: "Generative").

The prompts are DIOR's, and so is the engine: an image and the common prompt are read once for all its conditions.
"""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import regex
import torch
from PIL import Image

from ..engine.generation import answers, end_tokens, written
from ..engine.prompts import Prepared
from ..errors import OptionError
from ..models.checkpoint import Checkpoint, checked_dtype
from ..models.heads import no_head
from .dior import DIOR
from .embedder import Embedder
from .request import Embedded, Request
from .settings import Setting
from .text_encoder import DEFAULT, TextEncoder

_QUOTES = "\"“”„«»'‘’`"  # what models put around an answer
_CLOSING = regex.compile(r"(?!(?<=\p{Hebrew})\"\p{Hebrew})[\"“”»]")  # in Hebrew it is also a letter's sign: צה"ל
ENCODED_TEXTS = ("answer", "chat")


class Generative(Embedder):
    """Embeds what a vision-language model answers.

    Args:
        checkpoint: The vision-language model.
        text_encoder: A hub id or directory that sentence-transformers reads, or "minilm", which needs no network.
        text_encoder_dtype: None is the model's.
        encoded_text: "answer", or "chat": prompt and answer, as in the paper's reference implementation, which
            embeds all that `generate` returns.
        image_max_size: As for `DIOR`, and so are the other options.
        image_reading: As for `DIOR`.
        positions: As for `DIOR`.
        share: As for `DIOR`.
        attn_implementation: As for `DIOR`.
        thinking: As for `DIOR`.
        chat_template_kwargs: As for `DIOR`.
        compile: As for `DIOR`.
        reader: A `DIOR` of this checkpoint to stand on, whose options count then; None loads one.

    Raises:
        ModelError: one of the two models cannot be loaded.
    """

    method = "generative"
    conditional = True
    has_prompts = True
    depth = 0

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        text_encoder: str = DEFAULT,
        text_encoder_dtype: "str | torch.dtype | None" = None,
        encoded_text: str = ENCODED_TEXTS[0],
        image_max_size: int = 700,
        image_reading: str = "upright",
        positions: str = "native",
        share: bool = True,
        attn_implementation: str | None = None,
        thinking: str = "off",
        chat_template_kwargs: Mapping[str, Any] | None = None,
        compile: bool = False,  # noqa: A002 - torch's own word for it
        reader: DIOR | None = None,
    ) -> None:
        if encoded_text not in ENCODED_TEXTS:
            raise OptionError(f"unknown encoded_text {encoded_text!r}; known: {', '.join(ENCODED_TEXTS)}")
        self.encoded_text = encoded_text
        self._text_dtype = checked_dtype(text_encoder_dtype or checkpoint.dtype, checkpoint.device)
        hub = checkpoint.hub_options
        # First: it may be missing, and is found out faster than a large model is loaded.
        self.text_encoder = TextEncoder(
            text_encoder,
            device=checkpoint.device,
            dtype=self._text_dtype,
            cache_folder=hub.get("cache_dir"),
            token=hub.get("token"),
            local_files_only=hub.get("local_files_only", False),
            trust_remote_code=hub.get("trust_remote_code", False),
        )
        self._dior = reader or DIOR(
            checkpoint,
            image_max_size=image_max_size,
            image_reading=image_reading,
            positions=positions,
            share=share,
            attn_implementation=attn_implementation,
            thinking=thinking,
            chat_template_kwargs=chat_template_kwargs,
            compile=compile,
        )
        if not self._dior.lvlm.has_head:
            raise no_head(checkpoint.name)
        self.checkpoint = checkpoint
        self.model, self.revision = self._dior.model, self._dior.revision
        self.image_max_size, self.budget = self._dior.image_max_size, self._dior.budget
        self.image_reading = self._dior.image_reading

    @property
    def reader(self) -> DIOR:
        """The `DIOR` that it stands on."""
        return self._dior

    def prepare(self, image: Image.Image, request: Request) -> Prepared:
        """The image under each condition and prompt type as model inputs."""
        return self._dior.prepare(image, request)

    def cost(self, prepared: Prepared) -> int:
        """Tokens that the model reads for this image."""
        return self._dior.cost(prepared)

    def forward_batch(self, batch: Sequence[Prepared], request: Request) -> list[Embedded]:
        """Vectors of the answers; the answers themselves, with their probabilities, are the words."""
        lvlm, plan = self._dior.lvlm, self._dior.plan
        share = plan.caches and self._dior.shares(batch, (-1,))
        with torch.inference_mode():
            given = [
                answer
                for part in plan.parts(batch, share=share)
                for answer in answers(lvlm, part, [], self._dior.sampling(request), share=share)
            ]
        ends = end_tokens(lvlm)
        spoken = [[token for token in answer.tokens if token not in ends] for answer in given]
        texts = [written(lvlm.tokenizer, tokens) for tokens in spoken]
        said = [(answer_text(text), answer.probability) for text, answer in zip(texts, given, strict=True)]
        each = len(request.conditions) * len(request.prompt_types)
        if self.encoded_text == "chat":
            prompts = [ids.tolist() for prepared in batch for ids in prepared.ids]
            chats = [[*ids, *answer.tokens] for ids, answer in zip(prompts, given, strict=True)]
            vectors = self.text_encoder.encode([lvlm.tokenizer.decode(ids, skip_special_tokens=True) for ids in chats])
        else:
            vectors = self.text_encoder.encode([text for text, _ in said])
        vectors = vectors.reshape(len(batch), len(request.conditions), len(request.prompt_types), -1)
        if request.average_prompts:
            vectors = vectors.mean(2, keepdims=True)
        words = [[pair] for pair in said]
        told, step = len(request.prompt_names), len(request.prompt_types)
        return [
            Embedded(
                vectors[index, :, :, None, None],
                [words[start : start + told] for start in range(index * each, (index + 1) * each, step)],
            )
            for index in range(len(batch))
        ]

    def embed_text(self, texts: Sequence[str], request: Request) -> Any:
        """Vectors of texts as if they were answers: the condition changes nothing."""
        vectors = self.text_encoder.encode(texts)
        return np.broadcast_to(
            vectors[:, None, None, None, None], (len(texts), *request.shape, vectors.shape[-1])
        ).copy()

    def settings(self, request: Request, *, dataset: str, source: str | None = None) -> list[Setting]:
        """One setting a condition and prompt type."""
        self._check(request)
        extra = {
            **self.checkpoint.setting_extra,
            **self._dior.prompt_extra,
            "text_encoder": self.text_encoder.name,
            "text_encoder_revision": self.text_encoder.revision,
            "max_new_tokens": request.max_new_tokens,
            **request.drawing,
        }
        if self.encoded_text != ENCODED_TEXTS[0]:
            extra["encoded_text"] = self.encoded_text
        if self._text_dtype != self.checkpoint.dtype:
            extra["text_encoder_dtype"] = str(self._text_dtype).removeprefix("torch.")
        return [
            self._setting(
                dataset,
                source,
                prompt_type=prompt_type,
                condition=condition,
                dtype=str(self.checkpoint.dtype).removeprefix("torch."),
                positions=self._dior.positions,
                extra=extra,
            )
            for condition, prompt_type in product(request.conditions, request.prompt_names)
        ]

    def _check(self, request: Request) -> None:
        super()._check(request)
        self._dior.prompt_maker(request.conditions, request.prompt_types)  # refuses conditions that are no plain text


def answer_text(text: str) -> str:
    """Only the answer: the prompt opened a quotation, so it ends where the quotation is closed."""
    opened = text.strip().lstrip(_QUOTES)
    return " ".join(_CLOSING.split(opened, maxsplit=1)[0].split()).strip(_QUOTES)
