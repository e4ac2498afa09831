"""The texts that make a condition known to a dual encoder: a template, and words that vary in the condition alone.

The benchmarks' conditions have both in `aspect_texts.toml`; for any other the user gives the words.
"""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from ..errors import ConditionError
from .conditions import checked_condition, normalized_text
from .prompts import GENERIC_TEMPLATE

MAX_WORDS = 10_000
MAX_WORD_LENGTH = 200  # characters; a text encoder reads some 300 of them
_MAX_FILE_SIZE = 4 * MAX_WORDS * MAX_WORD_LENGTH  # bytes; UTF-8 has at most 4 a character

_REMEDY = "give words that vary in it (--words red,blue,... or a file with one a line)"


@dataclass(frozen=True)
class WordTemplate:
    """A condition's template, with `{}` where the word goes, and its words."""

    template: str
    words: tuple[str, ...]


@cache
def known() -> Mapping[str, WordTemplate]:
    """The conditions that need no words from the user, in the benchmarks' spelling."""
    table = tomllib.loads(resources.files(__package__).joinpath("aspect_texts.toml").read_text(encoding="utf-8"))
    return {condition: WordTemplate(entry["template"], tuple(entry["words"])) for condition, entry in table.items()}


def texts(condition: str, words: str | Iterable[str] | None = None) -> list[str]:
    """The condition's texts, one a word.

    Conditions are matched whatever their case and white space. The user's words go into the template of a known
    condition; of any other into "a photo of {}", except those of several words, which are taken for whole texts.

    Args:
        condition: Such as "car color".
        words: In place of our own; a text such as "red,blue" or a file's name is read by `parse_words`.

    Raises:
        ConditionError: a condition we have no words for, and none given; or words that cannot be used.
    """
    folded = checked_condition(condition)
    aspect = known().get((folded or "").casefold())
    given = parse_words(words) if isinstance(words, str) else None if words is None else checked_words(words)
    if aspect is not None:
        return [aspect.template.replace("{}", word) for word in (aspect.words if given is None else given)]
    if given is None:
        raise ConditionError(f"no words are known for the condition {folded!r}: {_REMEDY}; known: {', '.join(known())}")
    return [word if " " in word else GENERIC_TEMPLATE.replace("{}", word) for word in given]


def parse_words(text_or_path: str) -> tuple[str, ...]:
    """Words from "red, blue, ..." or from a text file with one word a line, where lines that begin with # are comments.

    What names a file that exists is a file. White space is folded, a word given twice counts once.

    Raises:
        ConditionError: no words, too many (10,000) or too long a one (200 characters), or a file that cannot be read;
            the message names the file's line.
    """
    path = Path(text_or_path)
    try:
        is_file = path.is_file()
    except (OSError, ValueError):  # too long for a file's name, or with a null character
        is_file = False
    if is_file:
        return _read(path)
    if "," not in text_or_path and (path.suffix == ".txt" or len(path.parts) > 1):
        raise ConditionError(f"{text_or_path[:MAX_WORD_LENGTH]}: no such file of words")
    return checked_words(text_or_path.split(","))


def checked_words(words: Iterable[str]) -> tuple[str, ...]:
    """The words with white space folded, empty ones dropped and each once, in the order given.

    Raises:
        ConditionError: see `parse_words`.
    """
    return _checked((f"word {number}", word) for number, word in enumerate(words, 1))


def _read(path: Path) -> tuple[str, ...]:
    try:
        if (size := path.stat().st_size) > _MAX_FILE_SIZE:
            raise ConditionError(f"{path} has {size} bytes; a file of words has at most {_MAX_FILE_SIZE}")
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConditionError(f"{path} cannot be read as words, one a line: {error}") from error
    words = ((f"{path}, line {number}", line) for number, line in enumerate(lines, 1))
    return _checked(((place, line) for place, line in words if not line.lstrip().startswith("#")), f"{path}: ")


def _checked(words: Iterable[tuple[str, str]], source: str = "") -> tuple[str, ...]:
    """The words of (place, word), checked; errors of one word name its place, those of all begin with `source`."""
    unique: dict[str, str] = {}
    for place, word in words:
        if not isinstance(word, str):
            raise ConditionError(f"{place}: a word is a text such as 'red', not {type(word).__name__}")
        folded = normalized_text(word)
        if len(folded) > MAX_WORD_LENGTH:
            raise ConditionError(
                f"{place}: {folded[:40]!r}... has {len(folded)} characters; at most {MAX_WORD_LENGTH} are taken"
            )
        if folded:
            unique.setdefault(folded.casefold(), folded)
        if len(unique) > MAX_WORDS:
            raise ConditionError(f"{source}there are more than {MAX_WORDS} words; give fewer that vary as widely")
    if not unique:
        raise ConditionError(f"{source}there are no words: give them as red,blue,... or as a file with one a line")
    return tuple(unique.values())
