"""A model's chat template: found, held to bounds, tried in the forms that it may take, and what it leaves open decided.

What has to be decided besides the model's own call is written into the template, so that the same call does all of it:
the date is fixed, and a thought that the template opens and has no switch for is closed.
"""

import json
import logging
import re
from collections.abc import Mapping
from datetime import date
from itertools import product
from typing import Any

import jinja2.ext
import jinja2.meta
import jinja2.sandbox

from ..errors import ModelError, OptionError
from ..inputs.conditions import prompt
from .chat import BLANK, PROBE, ChatFrame, reason
from .template_bounds import check_bounds
from .thinking import SWITCHES, THINKING, closing, open_thought

# Templates that print today's date print this one: else a job resumed tomorrow would mix two spaces in one table.
# It is the date that Llama's own templates fall back to.
DATE = date(2024, 7, 26)
_DIRECTIVES = ("%-d", "%-m", *(f"%{letter}" for letter in "aAbBdmyYHIMSpjUWuwFDTRefZz"))
ANSWER = "four five six"

logger = logging.getLogger(__name__)


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
    frame.variables = given
    if template is not None:
        _check_bounds(frame, template)
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


def _check_bounds(frame: ChatFrame, template: str) -> None:
    """Refuse a template that does not end, or that writes too much, around a text and around an answer to it."""
    contents: list[Any] = []
    for text in (PROBE, prompt("color")):
        parts = [{"type": "image"}, {"type": "text", "text": text}]
        contents += [parts, parts[1:], f"{frame.image_token}{text}", text]
    asked = [[{"role": "user", "content": content}] for content in contents]
    chats = [{"messages": messages, "add_generation_prompt": True} for messages in asked]
    chats += [{"messages": [*messages, _reply(PROBE, ANSWER)], "add_generation_prompt": False} for messages in asked]
    tokens = {name: str(token) for name, token in frame.tokenizer.special_tokens_map.items()}
    check_bounds(frame.name, template, chats, {"tools": None, "documents": None, **tokens, **frame.variables})


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
    except Exception as error:
        raise ModelError(f"{name}: its chat template is no template: {reason(error)}") from error


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
            problem = reason(error.__cause__ if isinstance(error, ModelError) and error.__cause__ else error)
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
        try:
            chat = frame.render([*frame.messages(None, PROBE), _reply(thinks, content)], add_generation_prompt=False)
        except ModelError:  # a template that takes no such answer
            continue
        replies.append((thinks, chat))
    frame.closed = closing(prompt, end, replies, ANSWER)
    # Behind a template's last line break, which Jinja drops, it would not be dropped.
    frame.template = f"{frame.official.removesuffix(chr(10))}{{{{ {json.dumps(frame.closed)} }}}}"
    logger.warning(
        "%s: its prompt ends inside a thought (%s), and its chat template has no switch for it: closed with %s",
        frame.name, mark, end,
    )  # fmt: skip


def _reply(thinks: str, content: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, "reasoning_content": thinks}
