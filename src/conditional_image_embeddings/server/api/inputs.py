"""From the forms that clients send to images, texts and conditions, bounded; what is none says where in one line."""

import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

from ...errors import ConditionError, OptionError
from ...inputs.conditions import normalized_text
from .batching import Kind
from .limits import Limits
from .schemas import Asked, ImageObject, ImagePart, Message, TextObject

LINKS = ("http://", "https://")


@dataclass(frozen=True)
class Link:
    """An image that is somewhere else."""

    url: str


@dataclass(frozen=True)
class Inputs:
    """What a request is about.

    Attributes:
        kinds: "image" or "text", per input.
        values: An image's encoded bytes or `Link`, or a text, per input.
        conditions: As `encode` takes them.
    """

    kinds: Sequence[Kind]
    values: Sequence[Any]
    conditions: str | tuple[str | None, ...] | None

    def places(self, kind: Kind) -> list[int]:
        """Which of the inputs are of a kind."""
        return [place for place, each in enumerate(self.kinds) if each == kind]


def inputs_of(asked: Asked, limits: Limits) -> Inputs:
    """What a request is about.

    Raises:
        OptionError: there is nothing, there is too much, or a form that is none.
        ConditionError: the conditions are said twice, or are too many.
    """
    if (asked.input is None) == (asked.messages is None):
        raise OptionError("give either input or messages")
    found, condition = _of_message(asked.messages[0]) if asked.messages else (_of_input(asked, limits), None)
    for place, (kind, value) in enumerate(found):
        if kind == "text" and len(value) > limits.max_text:
            raise OptionError(f"text {place} has {len(value)} characters; at most {limits.max_text} are taken")
        if kind == "text" and not normalized_text(value):
            raise OptionError(f"text {place} is empty")
    kinds, values = zip(*found, strict=True)
    return Inputs(kinds, values, _conditions(asked, condition, limits))


def image_of(given: str, name: str = "image") -> bytes | Link:
    """An image from a data URI, base64 alone or a link.

    Raises:
        OptionError: it is none of these.
    """
    if given.startswith(LINKS):
        return Link(given)
    if not given.startswith("data:"):
        return _decoded(given, name)
    head, comma, data = given.partition(",")
    if not comma:
        raise OptionError(f"{name} is a data URI without a comma: data:image/png;base64,...")
    return _decoded(data, name) if head.endswith(";base64") else unquote_to_bytes(data)


def _decoded(text: str, name: str) -> bytes:
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError:  # not ASCII, or line breaks, which some encoders put in
        pass
    try:
        return binascii.a2b_base64("".join(text.split()), strict_mode=True)
    except ValueError as error:
        raise OptionError(
            f"{name} is no data URI (data:image/png;base64,...), and no base64: {str(error).lower()}"
        ) from None


def _of_input(asked: Asked, limits: Limits) -> list[tuple[Kind, Any]]:
    several = asked.input if isinstance(asked.input, list) else [asked.input]
    if len(several) > limits.max_inputs:
        raise OptionError(f"the request has {len(several)} inputs; at most {limits.max_inputs} are taken")
    found: list[tuple[Kind, Any]] = []
    for place, each in enumerate(several):
        if isinstance(each, ImageObject):
            found.append(("image", image_of(each.image, f"image {place}")))
        elif isinstance(each, TextObject):
            found.append(("text", each.text))
        elif asked.modality == "image" or (asked.modality is None and str(each).startswith("data:image/")):
            found.append(("image", image_of(str(each), f"image {place}")))
        else:
            found.append(("text", each))
    return found


def _of_message(message: Message) -> tuple[list[tuple[Kind, Any]], str | None]:
    """The input of a message, and the condition: the text after its image."""
    parts = [] if isinstance(message.content, str) else message.content
    images = [part for part in parts if isinstance(part, ImagePart)]
    texts = [message.content] if isinstance(message.content, str) else [
        part.text for part in parts if not isinstance(part, ImagePart)
    ]  # fmt: skip
    if len(images) > 1 or len(texts) > 1 or not (images or texts):
        raise OptionError("a message has one image, one text, or an image and then a text: its condition")
    if not images:
        return [("text", texts[0])], None
    if texts and parts[0] is not images[0]:
        raise OptionError("the text, which is the condition, comes after the image")
    return [("image", image_of(images[0].image_url.url, "the message's image"))], texts[0] if texts else None


def _conditions(asked: Asked, of_message: str | None, limits: Limits) -> str | tuple[str | None, ...] | None:
    given = [each for each in (asked.condition, asked.conditions, of_message) if each is not None]
    if len(given) > 1:
        raise ConditionError("conditions are said twice: give one of condition, conditions, or a text after the image")
    if asked.conditions is None:
        return given[0] if given else None  # type: ignore[return-value]
    if len(asked.conditions) > limits.max_conditions:
        raise ConditionError(
            f"the request has {len(asked.conditions)} conditions; at most {limits.max_conditions} are taken"
        )
    return tuple(asked.conditions)
