"""The frame that a model's own chat template puts around an image and a text, and the model's own call that fills it.

What the engine feeds is what `processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=True,
return_dict=True)` gives for one user turn with the image and then the text. What has to be decided besides is written
into the template, so that the same call does all of it: the date is fixed, and a thought that the template opens and
has no switch for is closed.
"""

import hashlib
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from itertools import groupby, product
from typing import Any

import jinja2.ext
import jinja2.meta
import jinja2.sandbox
import torch
from PIL import Image
from torch import Tensor

from ..errors import ConditionError, ModelError, OptionError
from .thinking import SWITCHES, THINKING, closing, open_thought

# Templates that print today's date print this one: else a job resumed tomorrow would mix two spaces in one table.
# It is the date that Llama's own templates fall back to.
DATE = date(2024, 7, 26)
_DIRECTIVES = ("%-d", "%-m", *(f"%{letter}" for letter in "aAbBdmyYHIMSpjUWuwFDTRefZz"))
PROBE = "one two three"
ANSWER = "four five six"
LONG_RUN = 3  # tokens alike in a row: longer ones stand for an image
BLANK = Image.new("RGB", (64, 64))

logger = logging.getLogger(__name__)


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
        plain = {"sanitize_control_tokens": True} if self.control_tokens.search(text) else {}
        outputs = self.processor.apply_chat_template(
            self.messages(image, text),
            chat_template=template,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs=options,
            **plain,
            **self.variables,
        )
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
        except jinja2.TemplateError as error:
            raise ModelError(f"{self.name} has no prompt for a text without an image: {error}") from error

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
        plain = {"sanitize_control_tokens": True} if self.control_tokens.search(text) else {}
        outputs = self.tokenizer.apply_chat_template(
            self._text_messages(text),
            chat_template=self.template,
            add_generation_prompt=True,
            **plain,
            **self.variables,
        )
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
        return str(
            self.processor.apply_chat_template(
                messages,
                chat_template=self.template,
                add_generation_prompt=add_generation_prompt,
                tokenize=False,
                **self.variables,
            )
        )


def chat_frame(
    name: str,
    processor: Any,
    tokenizer: Any,
    image_token: str,
    image_token_id: int,
    *,
    thinking: str = "off",
    chat_template_kwargs: Mapping[str, Any] | None = None,
) -> ChatFrame:
    """The frame of a model's prompts.

    Args:
        name: The model's, for messages.
        processor: Its processor.
        tokenizer: The processor's tokenizer.
        image_token: The image's placeholder in a text.
        image_token_id: The token that stands for a piece of the image.
        thinking: "off" for prompts that an answer follows, whatever the template opens by default; "as-is" leaves the
            template's default.
        chat_template_kwargs: Further variables of the template.

    Raises:
        ModelError: a template that leaves out the image or the text, or cannot be rendered; an unknown variable.
        OptionError: another `thinking`.
    """
    if thinking not in THINKING:
        raise OptionError(f"unknown thinking {thinking!r}; known: {', '.join(THINKING)}")
    given = dict(chat_template_kwargs or {})
    template = _template(processor) or _template(tokenizer)
    frame = ChatFrame(
        name=name, processor=processor, tokenizer=tokenizer, template=template,
        image_token=image_token, image_token_id=image_token_id,
    )  # fmt: skip
    known = set() if template is None else _template_variables(name, template)
    if unknown := sorted(given.keys() - (known - {"messages", "add_generation_prompt"})):
        raise ModelError(
            f"{name}: its chat template does not read {', '.join(unknown)}; "
            f"it reads {', '.join(sorted(known)) or 'nothing: there is none'}"
        )
    if template is None:
        return frame
    if "strftime_now" in known:
        template = f"{_fixed_date()}\n{template}"  # the line break belongs to the block: it is not printed
    frame.template = frame.official = template
    switches = {key: off for key, off in SWITCHES.items() if key in known} if thinking == "off" else {}
    frame.variables = {**switches, **given}
    _choose_form(frame)
    if thinking == "off":
        _close_thought(frame)
    return frame


def _template(owner: Any) -> str | None:
    template = getattr(owner, "chat_template", None)
    if isinstance(template, Mapping):
        template = template.get("default")
    return template if isinstance(template, str) and template else None


def _template_variables(name: str, template: str) -> set[str]:
    """The variables that a template reads from outside."""
    source = re.sub(r"\{%[-+]?\s*(end)?generation\s*[-+]?%\}", "", template)  # transformers' own tag
    try:
        environment = jinja2.sandbox.ImmutableSandboxedEnvironment(extensions=[jinja2.ext.loopcontrols])
        return set(jinja2.meta.find_undeclared_variables(environment.parse(source)))
    except jinja2.TemplateError as error:
        raise ModelError(f"{name}: its chat template is no template: {error}") from error


def _fixed_date() -> str:
    """A macro that stands in for the function with which templates print today: of `DATE`, whatever the format."""
    steps = "".join(f"|replace({json.dumps(each)}, {json.dumps(DATE.strftime(each))})" for each in _DIRECTIVES)
    return f"{{% macro strftime_now(format) %}}{{{{ format{steps} }}}}{{% endmacro %}}"


def _choose_form(frame: ChatFrame) -> None:
    """Whether the template takes image and text as parts or as one text: what it shows both of."""
    problem = "it leaves the image or the text out"
    for frame.flat, frame.as_parts in product((False, True), (True, False)):
        try:
            shown = PROBE in frame.rendered(PROBE)
            ids = frame.inputs(BLANK, PROBE)["input_ids"]
        except ImportError:  # a package that the processor wants: not the template's fault
            raise
        except Exception as error:  # noqa: BLE001 - templates and processors raise whatever they stumble over
            problem = " ".join(str(error).split())[:300] or type(error).__name__
            continue
        if shown and bool((ids == frame.image_token_id).any()):
            return
    raise ModelError(f"{frame.name}: its chat template cannot be used: {problem}")


def _close_thought(frame: ChatFrame) -> None:
    prompt = frame.rendered(PROBE)
    thought = open_thought(prompt[prompt.rindex(PROBE) :])
    if thought is None:
        return
    mark, end = thought
    replies = []
    for thinks, content in product(("", PROBE), (ANSWER, [{"type": "text", "text": ANSWER}])):
        reply = {"role": "assistant", "content": content, "reasoning_content": thinks}
        try:
            chat = frame.render([*frame.messages(None, PROBE), reply], add_generation_prompt=False)
        except Exception:  # noqa: BLE001, S112 - a template that takes no such answer
            continue
        replies.append((thinks, chat))
    frame.closed = closing(prompt, end, replies, ANSWER)
    # Behind a template's last line break, which Jinja drops, it would not be dropped.
    frame.template = f"{frame.official.removesuffix(chr(10))}{{{{ {json.dumps(frame.closed)} }}}}"
    logger.warning(
        "%s: its prompt ends inside a thought (%s), and its chat template has no switch for it: closed with %s",
        frame.name, mark, end,
    )  # fmt: skip


def _common(a: str, b: str) -> int:
    """How many characters two texts have in common at their start."""
    return next(
        (index for index, pair in enumerate(zip(a, b, strict=False)) if len(set(pair)) > 1), min(len(a), len(b))
    )
