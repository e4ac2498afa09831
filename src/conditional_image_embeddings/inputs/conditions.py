"""A condition: one aspect in plain words, checked; and put into a prompt of `prompts`."""

import unicodedata
from collections.abc import Sequence

from ..errors import ConditionError, OptionError
from .arguments import in_order
from .prompts import PROMPTS as PROMPTS  # noqa: PLC0414 - part of what this room offers

MAX_CONDITION_LENGTH = 500  # characters; a condition names an aspect, and the prompt is stored with each setting

Conditions = str | None | Sequence[str | None]


def normalized_text(text: str) -> str:
    """What a user typed in the one spelling that counts: composed characters (NFC), white space folded.

    "café" is typed with one character for its last letter or with two: both look alike, and mean one condition.
    """
    return " ".join(unicodedata.normalize("NFC", text).split())


def checked_condition(condition: str | None) -> str | None:
    """The condition as `normalized_text`; None stays None (no condition).

    Raises:
        ConditionError: empty, not a string, or longer than 500 characters.
    """
    if condition is None:
        return None
    if not isinstance(condition, str):
        raise ConditionError(f"a condition is a text such as 'car color', not {type(condition).__name__}")
    folded = normalized_text(condition)
    if not folded:
        raise ConditionError("the condition is empty: name an aspect such as 'car color', or leave it out for none")
    if len(folded) > MAX_CONDITION_LENGTH:
        raise ConditionError(
            f"the condition {folded[:40]!r}... has {len(folded)} characters; at most {MAX_CONDITION_LENGTH} are taken"
        )
    return folded


def checked_conditions(conditions: Conditions) -> tuple[str | None, ...]:
    """A single condition, None or a sequence of them, as a tuple of checked conditions in the order given.

    Raises:
        ConditionError: none, one that is unusable, or a set or dict: vectors follow their conditions' order.
    """
    if conditions is None or isinstance(conditions, str):
        return (checked_condition(conditions),)
    try:
        several = in_order("conditions", conditions)
    except OptionError as error:
        raise ConditionError(str(error)) from None
    checked = tuple(checked_condition(condition) for condition in several)
    if not checked:
        raise ConditionError("no condition given: pass at least one, or None for an embedding without a condition")
    return checked


def prompt(condition: str | None, prompt_type: str = "describe") -> str:
    """The text shown after the image, ending with an open quotation mark (paper, prompt table).

    Raises:
        ConditionError: an unknown prompt type (the message names the seven) or an unusable condition.
    """
    if prompt_type not in PROMPTS:
        raise ConditionError(f"unknown prompt type {prompt_type!r}; known: {', '.join(PROMPTS)}")
    conditioned, unconditioned = PROMPTS[prompt_type]
    condition = checked_condition(condition)
    return unconditioned if condition is None else conditioned.replace("{c}", condition)
