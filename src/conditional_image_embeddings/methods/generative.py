"""Generate, then encode: the model writes an answer about an aspect, a text encoder embeds it (paper: "Generative").

The prompts are DIOR's, and so is the engine: an image and the common prompt are read once for all its conditions.
"""

from collections.abc import Sequence
from itertools import product
from typing import Any, Self

import numpy as np
import regex
import torch
from PIL import Image

from ..engine.generation import end_tokens, written
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
        backbone: The vision-language model.
        text_encoder: What embeds its answers.
        encoded_text: "answer", or "chat": prompt and answer, as in the paper's reference implementation, which
            embeds all that `generate` returns.

    Raises:
        ModelError: the model has no head to answer with.
    """

    method = "generative"
    depth = 0

    def __init__(self, backbone: DIOR, text_encoder: TextEncoder, *, encoded_text: str = ENCODED_TEXTS[0]) -> None:
        if not backbone.lvlm.has_head:
            raise no_head(backbone.model)
        self._backbone, self.text_encoder = backbone, text_encoder
        self.encoded_text = _checked_text(encoded_text)
        self.model, self.revision = backbone.model, backbone.revision
        self.image_max_size, self.image_reading = backbone.image_max_size, backbone.image_reading
        self.budget = backbone.budget

    @classmethod
    def from_checkpoint(
        cls,
        checkpoint: Checkpoint,
        *,
        backbone: DIOR | None = None,
        text_encoder: str | None = None,
        text_encoder_dtype: "str | torch.dtype | None" = None,
        text_encoder_revision: str | None = None,
        encoded_text: str = ENCODED_TEXTS[0],
        **options: Any,
    ) -> Self:
        """The method on a vision-language model, or on an embedder that has loaded it.

        Args:
            checkpoint: The vision-language model.
            backbone: That embedder; its options count then.
            text_encoder: A hub id or directory that sentence-transformers reads, or "minilm", which needs no network;
                None is the paper's.
            text_encoder_dtype: None is the model's.
            text_encoder_revision: A branch, tag or commit on the hub.
            encoded_text: As for the class.
            options: Of `DIOR`.

        Raises:
            ModelError: one of the two models cannot be loaded.
        """
        _checked_text(encoded_text)
        hub = checkpoint.hub_options
        # First: it may be missing, and is found out faster than a large model is loaded.
        encoder = TextEncoder(
            text_encoder or DEFAULT,
            device=checkpoint.device,
            dtype=checked_dtype(text_encoder_dtype or checkpoint.dtype, checkpoint.device),
            revision=text_encoder_revision,
            cache_folder=hub.get("cache_dir"),
            token=hub.get("token"),
            local_files_only=hub.get("local_files_only", False),
            trust_remote_code=hub.get("trust_remote_code", False),
        )
        return cls(backbone or DIOR(checkpoint, **options), encoder, encoded_text=encoded_text)

    @property
    def backbone(self) -> DIOR:
        """The vision-language model."""
        return self._backbone

    @property
    def checkpoint(self) -> Checkpoint:
        """What the vision-language model was loaded from."""
        return self._backbone.checkpoint

    def prepare(self, image: Image.Image, request: Request) -> Prepared:
        """The image under each condition and prompt type as model inputs."""
        return self._backbone.prepare(image, request)

    def cost(self, prepared: Prepared) -> int:
        """Tokens that the model reads for this image."""
        return self._backbone.cost(prepared)

    def forward_batch(self, batch: Sequence[Prepared], request: Request) -> list[Embedded]:
        """Vectors of the answers; the answers themselves, with their probabilities, are the words."""
        lvlm, given = self._backbone.lvlm, self._backbone.answers(batch, self._backbone.sampling(request))
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
                sum(prepared.lengths),
            )
            for index, prepared in enumerate(batch)
        ]

    def embed_text(self, texts: Sequence[str], request: Request) -> Any:
        """Vectors of texts as if they were answers: the condition changes nothing."""
        vectors = self.text_encoder.encode(texts)
        return np.broadcast_to(
            vectors[:, None, None, None, None], (len(texts), *request.shape, vectors.shape[-1])
        ).copy()

    @classmethod
    def options_from(cls, setting: Setting) -> dict[str, Any]:
        """The options that made a setting."""
        names = ("text_encoder", "text_encoder_revision", "text_encoder_dtype", "encoded_text")
        own = {name: setting.extra[name] for name in names if name in setting.extra}
        return {**DIOR.options_from(setting), **own}

    def _for_words(self) -> dict[str, Any]:
        return {}  # answers come with every vector

    def settings(self, request: Request, *, dataset: str, source: str | None = None) -> list[Setting]:
        """One setting a condition and prompt type."""
        self._check(request)
        extra = {
            **self.checkpoint.setting_extra,
            **self._backbone.prompt_extra,
            "text_encoder": self.text_encoder.name,
            "text_encoder_revision": self.text_encoder.revision,
            "max_new_tokens": request.max_new_tokens,
            **request.drawing,
        }
        if self.encoded_text != ENCODED_TEXTS[0]:
            extra["encoded_text"] = self.encoded_text
        if self.text_encoder.dtype != self.checkpoint.dtype:
            extra["text_encoder_dtype"] = str(self.text_encoder.dtype).removeprefix("torch.")
        return [
            self._setting(
                dataset,
                source,
                prompt_type=prompt_type,
                condition=condition,
                dtype=str(self.checkpoint.dtype).removeprefix("torch."),
                positions=self._backbone.positions,
                extra=extra,
            )
            for condition, prompt_type in product(request.conditions, request.prompt_names)
        ]

    def _check(self, request: Request) -> None:
        super()._check(request)
        self._backbone.prompt_maker(request.conditions, request.prompt_types)  # refuses what is no plain text


def _checked_text(encoded_text: str) -> str:
    if encoded_text not in ENCODED_TEXTS:
        raise OptionError(f"unknown encoded_text {encoded_text!r}; known: {', '.join(ENCODED_TEXTS)}")
    return encoded_text


def answer_text(text: str) -> str:
    """Only the answer: the prompt opened a quotation, so it ends where the quotation is closed."""
    opened = text.strip().lstrip(_QUOTES)
    return " ".join(_CLOSING.split(opened, maxsplit=1)[0].split()).strip(_QUOTES)
