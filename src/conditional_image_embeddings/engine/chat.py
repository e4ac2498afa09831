"""The frame that a model's own chat template puts around an image and a text, and the model's own call that fills it.

What the engine feeds is what `processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=True,
return_dict=True)` gives for one user turn with the image and then the text; `templates` prepares the template
for it.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from typing import Any

import jinja2
import torch
from PIL import Image
from torch import Tensor

from ..errors import ConditionError, ModelError
from ..models.reasons import line

PROBE = "one two three"
LONG_RUN = 3  # tokens alike in a row: longer ones stand for an image
BLANK = Image.new("RGB", (64, 64))


@dataclass(kw_only=True, repr=False, eq=False)
class ChatFrame:
    """One user turn around an image and a text, as tokens.

    Attributes:
        name: The model's, for messages.
        template: The chat template, its date fixed and its thought closed; None where the model has none: then the
            prompt is the image's placeholder and the text.
        variables: What the template is rendered with besides the messages.
        as_parts: Whether a message's content is a list of image and text, or a text with the image's placeholder.
        flat: Whether the model's own call cannot be made, because its processor takes no list of images for a text
            (GOT-OCR 2): the template is then rendered, and the processor called with what it says.
        image_token: The image's placeholder; empty if the processor puts it there itself.
        image_token_id: The token that stands for a piece of the image.
        official: The template as the model has it, but for the date; empty where it has none.
        closed: What closes the thought that the official template opens; empty where it opens none.
    """

    name: str
    processor: Any
    tokenizer: Any
    template: str | None
    variables: dict[str, Any] = field(default_factory=dict)
    as_parts: bool = True
    flat: bool = False
    image_token: str
    image_token_id: int
    official: str = ""
    closed: str = ""

    @property
    def answered(self) -> bool:
        """Whether an answer follows the prompt, as in a chat."""
        return True

    @property
    def identity(self) -> list[Any]:
        """What decides the prompt around a text, as values that JSON can hold."""
        return [self.template, self.official, self.closed, self.variables, self.as_parts, self.flat]

    def inputs(self, image: Image.Image, text: str) -> Mapping[str, Any]:
        """What the model's own call gives for an image and a text: tensors of one unpadded row, and the image's inputs.

        Tokens that steer a chat are taken for plain text where the user's text holds them.
        """
        return self.call(self.template, image, text)

    def call(self, template: str | None, image: Image.Image, text: str) -> dict[str, Any]:
        """As `inputs`, with this template."""
        # Some return what the model needs for its positions only when asked.
        types = {"return_mm_token_type_ids": True} if "mm_token_type_ids" in self.processor.model_input_names else {}
        options: dict[str, Any] = {"padding": False, **types}
        if template is None or self.flat:
            written = self.rendered(text)
            bos = self.tokenizer.bos_token
            if template is not None and bos is not None and written.startswith(bos):  # as the model's own call does
                options["add_special_tokens"] = False
            return dict(self.processor(text=[written], images=[image], return_tensors="pt", **options))
        if not self.as_parts:
            options["images"] = [image]
        as_text = {"sanitize_control_tokens": True} if self.control_tokens.search(text) else {}
        try:
            outputs = self.processor.apply_chat_template(
                self.messages(image, text),
                chat_template=template,
                add_generation_prompt=True,
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
                processor_kwargs=options,
                **as_text,
                **self.variables,
            )
        except Exception:
            self.rendered(text)  # raises where it was the template
            raise
        return dict(outputs)

    def as_text(self, ids: Tensor) -> str:
        """Tokens as text with their special tokens; of an image's run of tokens the first, and how many there are."""
        shown: list[str] = []
        between: list[int] = []  # decoded together: a blank may belong to the token behind it
        for token, run in groupby(ids.tolist()):
            tokens = list(run)
            if len(tokens) > LONG_RUN:
                shown += [self.tokenizer.decode(between), f"{self.tokenizer.decode([token])}(x{len(tokens)})"]
                between = []
            else:
                between += tokens
        return "".join([*shown, self.tokenizer.decode(between)])

    def text_ids(self, text: str) -> Tensor:
        """The tokens of the same turn without the image: everything but the image is alike.

        Raises:
            ModelError: the template cannot be rendered without an image.
        """
        try:
            lead, tail = self._ends
            return torch.tensor([*lead, *self._tokens_of_text(text), *tail])
        except ModelError as error:
            raise ModelError(f"{error}; so it has no prompt for a text without an image") from error

    def rendered(self, text: str) -> str:
        """The prompt as text: what the template writes, the image still its placeholder."""
        if self.template is None:
            return f"{self.image_token}{text}"
        return self.render(self.messages(None, text), add_generation_prompt=True)

    def check_text(self, text: str) -> None:
        """Refuse a user's text whose control tokens the model's own call cannot take for text.

        Raises:
            ConditionError: the message names the token.
        """
        found = self.control_tokens.search(text)
        if found is None:
            return
        token = found[0]
        refused = ConditionError(
            f"{token!r} is a token of {self.name}'s own, which it cannot read as text: leave it out of {text[:200]!r}"
        )
        if self.template is None or self.flat:
            raise refused
        try:
            ids = self.inputs(BLANK, text)["input_ids"][0]
            rival = self.text_ids(text)
        except (ValueError, TypeError, NotImplementedError, AttributeError, RuntimeError) as error:
            raise refused from error
        if self._control_ids(ids) != self._control_ids(self.inputs(BLANK, PROBE)["input_ids"][0]):
            raise refused
        if self._control_ids(rival) != self._control_ids(self.text_ids(PROBE)):
            raise refused

    @cached_property
    def control_tokens(self) -> re.Pattern[str]:
        """What steers a chat or stands for an image, wherever it is written: the tokenizer's special tokens, and those
        of its added ones that the template writes.
        """
        written = self.template or ""
        tokens = {
            token.content
            for token in self.tokenizer.added_tokens_decoder.values()
            if token.special or (token.content in written and not token.content.isspace())
        }
        tokens |= {self.image_token} - {""}
        return re.compile("|".join(re.escape(token) for token in sorted(tokens, key=len, reverse=True)) or "(?!)")

    @cached_property
    def digest(self) -> str:
        """12 hexadecimal digits of the prompt around a text, with the image and without: tokens, whatever made them."""
        with_image = self.inputs(BLANK, PROBE)["input_ids"][0].tolist()
        try:
            without = self.text_ids(PROBE).tolist()
        except ModelError:  # a template that wants an image: there is no such form
            without = []
        forms = []
        for ids in (with_image, without):
            tokens = self.tokenizer.convert_ids_to_tokens(ids)
            forms.append([token for index, token in enumerate(tokens) if not index or tokens[index - 1] != token])
        return hashlib.sha256(json.dumps(forms).encode()).hexdigest()[:12]

    @cached_property
    def _image_piece(self) -> re.Pattern[str] | None:
        """What the rendered prompt has for its image, where the template's own text-only form differs in more than it
        (Mllama's has a system turn); None where that form is the prompt without its image, but for white space.
        """
        if self.template is None:
            return None
        shown, without = self.rendered(PROBE), self._text_only(PROBE)
        dense, rest = ("".join(each.split()) for each in (shown, without))
        if _common(dense, rest) + _common(dense[::-1], rest[::-1]) >= len(rest):
            return None
        own = [token for token in self.control_tokens.findall(shown) if token not in without]
        piece = "|".join(re.escape(token) for token in dict.fromkeys([self.image_token, *own]))
        return re.compile(f"(?:{piece})+")

    @cached_property
    def _ends(self) -> tuple[list[int], list[int]]:
        """Tokens that the processor puts before and behind what the template writes: BOS, PaliGemma's line break."""
        ids = self.inputs(BLANK, PROBE)["input_ids"][0]
        fed = ids[ids != self.image_token_id].tolist()
        written = self._tokens_of_text(PROBE)
        bos = self.tokenizer.bos_token_id
        lead = [bos] if bos in fed and bos not in written else []
        last = max((index for index, token in enumerate(fed) if token == written[-1]), default=len(fed) - 1)
        return lead, fed[last + 1 :]

    def _tokens_of_text(self, text: str) -> list[int]:
        """The turn without the image, as the tokenizer reads what the template writes."""
        if self.template is None:
            return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])
        if self._image_piece is not None:
            written = self._image_piece.sub("", self.rendered(text), count=1)  # not what a user types
            return list(self.tokenizer(written, add_special_tokens=False)["input_ids"])
        as_text = {"sanitize_control_tokens": True} if self.control_tokens.search(text) else {}
        try:
            outputs = self.tokenizer.apply_chat_template(
                self._text_messages(text),
                chat_template=self.template,
                add_generation_prompt=True,
                **as_text,
                **self.variables,
            )
        except Exception:
            self._text_only(text)  # raises where it was the template
            raise
        return list(outputs["input_ids"])

    def _text_only(self, text: str) -> str:
        return self.render(self._text_messages(text), add_generation_prompt=True)

    def _text_messages(self, text: str) -> list[dict[str, Any]]:
        return [{"role": "user", "content": [{"type": "text", "text": text}] if self.as_parts else text}]

    def _control_ids(self, ids: Tensor) -> list[str]:
        tokens = self.tokenizer.convert_ids_to_tokens(ids.tolist())
        return [token for token in tokens if self.control_tokens.fullmatch(token)]

    def messages(self, image: Image.Image | None, text: str) -> list[dict[str, Any]]:
        shown = {"type": "image"} if image is None else {"type": "image", "image": image}
        content = [shown, {"type": "text", "text": text}] if self.as_parts else f"{self.image_token}{text}"
        return [{"role": "user", "content": content}]

    def render(self, messages: list[dict[str, Any]], *, add_generation_prompt: bool) -> str:
        """What the template writes.

        Raises:
            ModelError: whatever the template raises, in one line.
        """
        try:
            return str(
                self.processor.apply_chat_template(
                    messages,
                    chat_template=self.template,
                    add_generation_prompt=add_generation_prompt,
                    tokenize=False,
                    **self.variables,
                )
            )
        except ImportError:  # a package that is wanted: not the template's fault
            raise
        except Exception as error:  # whatever a program of somebody else's raises
            raise ModelError(f"{self.name}: its chat template cannot be rendered: {reason(error)}") from error


def reason(error: BaseException) -> str:
    kind = "" if isinstance(error, jinja2.TemplateError | ValueError) else f"{type(error).__name__}: "
    return f"{kind}{line(error)}"


def _common(a: str, b: str) -> int:
    """How many characters two texts have in common at their start."""
    return next(
        (index for index, pair in enumerate(zip(a, b, strict=False)) if len(set(pair)) > 1), min(len(a), len(b))
    )
