"""From an image and K conditions to K tokenised prompts, with the image processed once.

The processor runs on the first prompt only. The other prompts differ from it in their tail, which no image changes:
tails are learned from the processor itself, on the first image of a request, and put in place of the first one's tail.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ..errors import ModelError
from .loading import LVLM

Inputs = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """One image under K conditions, unpadded.

    Attributes:
        prompts: K dictionaries of what each token has: `input_ids` (tokens,), token types, cross-attention mask.
        positions: K tensors (1 or 3, tokens), or None where the model counts its tokens itself.
        image: What the vision tower takes; first axis as the processor made it.
        images: The same for each prompt, where the tower reads the prompt too (InstructBLIP): nothing can be shared.
        prefix: Tokens that all K prompts share at their start; at least one short of the shortest.
        image_end: Tokens up to and with the last one that stands for the image.
        content: A digest of the image's pixels, where answers are drawn.
    """

    prompts: tuple[Inputs, ...]
    positions: tuple[Tensor, ...] | None
    image: dict[str, Tensor]
    prefix: int
    image_end: int
    content: bytes = b""
    images: tuple[dict[str, Tensor], ...] | None = None

    @property
    def ids(self) -> list[Tensor]:
        return [prompt["input_ids"] for prompt in self.prompts]

    @property
    def lengths(self) -> list[int]:
        return [len(ids) for ids in self.ids]

    @property
    def shared_length(self) -> int:
        """Tokens where all prompts share their prefix: the prefix once, every suffix."""
        return self.prefix + sum(length - self.prefix for length in self.lengths)

    def token_positions(self, condition: int) -> Tensor:
        """Positions (1 or 3, tokens) of one prompt's tokens."""
        if self.positions is not None:
            return self.positions[condition]
        return torch.arange(self.lengths[condition])[None]

    def singles(self) -> list["Prepared"]:
        """The image under each condition by itself."""
        return [
            replace(
                self,
                prompts=(prompt,),
                positions=self.positions and (self.positions[k],),
                image=self.images[k] if self.images else self.image,
                images=None,
                prefix=self.lengths[k] - 1,
            )
            for k, prompt in enumerate(self.prompts)
        ]


class PromptMaker:
    """Makes the prompts of one set of texts; used by several threads at once.

    Raises:
        ConditionError: a text that holds a token of the model's own.
    """

    def __init__(self, lvlm: LVLM, texts: Sequence[str], *, flat_positions: bool = False) -> None:
        self.lvlm = lvlm
        self.flat_positions = flat_positions
        self.texts = list(texts)
        for text in self.texts:
            lvlm.chat.check_text(text)
        self._tails: list[Tensor] | None = None  # learned from the first image

    def __call__(self, image: Image.Image) -> Prepared:
        first, image_inputs = self._process(image, self.texts[0])
        tails = self._tails
        prompts = [first] if len(self.texts) == 1 else _spliced(first, tails) if tails is not None else None
        images = [image_inputs]
        if prompts is None:
            processed = [(first, image_inputs), *(self._process(image, text) for text in self.texts[1:])]
            prompts, images = [prompt for prompt, _ in processed], [inputs for _, inputs in processed]
            if same_inputs(images, [image_inputs] * len(images)):
                images = [image_inputs]
                self._learn(prompts)
        where = (prompts[0]["input_ids"] == self.lvlm.image_token_id).nonzero()
        if not len(where):
            raise ModelError(f"{self.lvlm.name}: its prompt holds no token for the image")
        return Prepared(
            prompts=tuple(prompts),
            positions=self._positions(prompts, image_inputs),
            image=image_inputs,
            prefix=common_prefix([prompt["input_ids"] for prompt in prompts]),
            image_end=int(where[-1]) + 1,
            images=tuple(images) if len(images) > 1 else None,
        )

    def _process(self, image: Image.Image, text: str) -> tuple[Inputs, dict[str, Tensor]]:
        return split_inputs(self.lvlm, self.lvlm.chat.inputs(image, text))

    def _learn(self, prompts: list[Inputs]) -> None:
        """Keep the tails if splicing them reproduces what the processor made of each prompt."""
        ids = [prompt["input_ids"] for prompt in prompts]
        prefix = common_prefix(ids)
        if (ids[0][prefix:] == self.lvlm.image_token_id).any():
            return
        tails = [row[prefix:] for row in ids]
        spliced = _spliced(prompts[0], tails)
        if spliced is not None and same_inputs(spliced, prompts):
            self._tails = tails  # only now: other threads use them as soon as they are there

    def _positions(self, prompts: list[Inputs], image_inputs: dict[str, Tensor]) -> tuple[Tensor, ...] | None:
        if self.flat_positions:
            rows = 3 if self.lvlm.has_image_positions else 1
            return tuple(torch.arange(len(prompt["input_ids"])).expand(rows, -1) for prompt in prompts)
        if not self.lvlm.has_image_positions:
            return None
        return tuple(
            self.lvlm.image_positions({key: value[None] for key, value in prompt.items()} | image_inputs)
            for prompt in prompts
        )


def split_inputs(lvlm: LVLM, outputs: Mapping[str, Any]) -> tuple[Inputs, dict[str, Tensor]]:
    """What a processor gives for one image and text, as what each token has and what the vision tower takes."""
    ids = outputs["input_ids"]
    if len(ids) != 1:  # ShieldGemma 2 asks questions of its own
        raise ModelError(f"{lvlm.name}: its processor makes {len(ids)} prompts of one text, not that text's own")
    tokens, image_inputs = {}, {}
    for key, value in outputs.items():
        if isinstance(value, Tensor) and value.shape[:2] == ids.shape:
            tokens[key] = value[0]
        else:
            # In the model's precision at once: bfloat16 takes half the memory, and the model's thread is spared it.
            floating = isinstance(value, Tensor) and value.is_floating_point()
            image_inputs[key] = value.to(lvlm.dtype) if floating else value
    del tokens["attention_mask"]  # nothing is padded yet
    tokens.pop("labels", None)  # PaliGemma's, for training
    return tokens, image_inputs


def common_prefix(rows: Sequence[Tensor]) -> int:
    """Length of the longest common prefix that leaves each row at least one token."""
    shortest = min(len(row) for row in rows) - 1
    same = torch.stack([row[:shortest] == rows[0][:shortest] for row in rows]).all(0)
    return int(same.long().cumprod(0).sum())


def _spliced(first: Inputs, tails: Sequence[Tensor]) -> list[Inputs] | None:
    """All prompts of an image, of which the first was processed; None where it ends otherwise than was learned."""
    ids = first["input_ids"]
    head = len(ids) - len(tails[0])
    if not torch.equal(ids[head:], tails[0]):
        return None
    return [first, *(_with_tail(first, head, tail) for tail in tails[1:])]


def _with_tail(first: Inputs, head: int, tail: Tensor) -> Inputs:
    """`first` with another tail: its tokens are text, and carry what the last token of every prompt carries."""
    prompt = {
        key: torch.cat([value[:head], value[-1:].expand(len(tail), *value.shape[1:])]) for key, value in first.items()
    }
    prompt["input_ids"] = torch.cat([first["input_ids"][:head], tail])
    return prompt


def same_inputs(a: Any, b: Any) -> bool:
    """Whether two processors' outputs are equal: tensors, or lists and dictionaries of them."""
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same_inputs(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same_inputs(*pair) for pair in zip(a, b, strict=True))
    return bool(a == b)
