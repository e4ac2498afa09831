"""Names of aspects that images may differ in: those that we know, and those that a model lists in an answer."""

import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache
from importlib import resources

import regex

from . import aspect_texts
from .conditions import checked_condition, normalized_text

MAX_NAME_WORDS = 5
MAX_NAME_LENGTH = 50  # characters
MIN_NAMES = 2  # in an answer that is a list; a single name is an answer to another question, as small models give

_SEPARATORS = regex.compile(r"[,;\n、，；]")
_BULLET = regex.compile(r"^(?:[-*•–\s]+|\(?\p{N}+[.)]\s*|and\s+)+", regex.IGNORECASE)
_REMARK = regex.compile(r"[:(=].*$|\s[-–—]\s.*$", regex.DOTALL)  # "color: red", "style (modern)": the name comes first
_AROUND = " \t*_`.!?\"'“”„«»‘’[]"


@cache
def known_aspects() -> tuple[str, ...]:
    """The benchmarks' aspects and everyday ones, each once."""
    lines = resources.files(__package__).joinpath("everyday_aspects.txt").read_text(encoding="utf-8").splitlines()
    return tuple(distinct([*aspect_texts.known(), *(line for line in lines if line and not line.startswith("#"))]))


def listed_names(answer: str, *, complete: bool = True) -> list[str]:
    """The names that an answer lists, in lower case, each once; none if it is no list.

    Args:
        answer: What a model wrote, such as "Color, shape, and style." or a numbered list.
        complete: Whether it ended by itself; if not, its last name may be cut.
    """
    parts = _SEPARATORS.split(answer.strip())
    if not complete:
        parts = parts[:-1]
    names = list(distinct(name for part in parts if (name := _name(part))))
    return names if len(names) >= MIN_NAMES else []


def distinct(names: Iterable[str]) -> Iterator[str]:
    """Names in their usual spelling, each once, whatever its case and hyphens.

    Raises:
        ConditionError: one that is no condition.
    """
    seen = set()
    for name in names:
        checked = checked_condition(name)
        if checked is not None and (key := folded(checked)) not in seen:
            seen.add(key)
            yield checked


def folded(name: str) -> str:
    """What two spellings of a name have in common."""
    return normalized_text(name.casefold().replace("-", " ").replace("_", " "))


def _name(part: str) -> str:
    """The aspect's name in one item of a list; empty where there is none."""
    name = _REMARK.sub("", _BULLET.sub("", part.strip(_AROUND))).strip(_AROUND).lower()
    printable = "".join(c for c in normalized_text(name) if unicodedata.category(c)[0] != "C")
    fits = len(printable) <= MAX_NAME_LENGTH and len(printable.split()) <= MAX_NAME_WORDS
    is_sentence = bool(set("!?.<>|") & set(printable))  # around the list
    return printable if fits and not is_sentence and any(c.isalpha() for c in printable) else ""
