"""What callers pass besides images and words: counts, indices and keywords, each checked in one place."""

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping, Set
from functools import wraps
from numbers import Integral
from typing import Any, ParamSpec, TypeVar

from ..errors import OptionError, UnknownOptionError

P = ParamSpec("P")
R = TypeVar("R")


def checked_count(name: str, value: Any, *, least: int = 1) -> int:
    """A whole number, Python's or numpy's, as an int; True is none, nor is 2.0.

    Args:
        name: What the caller calls it.
        value: What was given.
        least: The smallest that makes sense.

    Raises:
        OptionError: something else, or less.
    """
    if not _is_integer(value):
        raise OptionError(f"{name} is {value!r}; a whole number is needed")
    if value < least:
        raise OptionError(f"{name} is {value}; it must be at least {least}")
    return int(value)


def optional_count(name: str, value: Any, *, least: int = 1) -> int | None:
    """As `checked_count`; None, which leaves the choice to the embedder, stays None."""
    return None if value is None else checked_count(name, value, least=least)


def checked_indices(name: str, values: Any) -> tuple[int, ...]:
    """One index or several, negative ones too, as a tuple of ints.

    Raises:
        OptionError: none, something that is no whole number, or a set, which has no order.
    """
    plain = _plain(values)
    indices = in_order(name, plain) if isinstance(plain, Iterable) else (plain,)
    if not indices or not all(map(_is_integer, indices)):
        raise OptionError(f"{name} is {values!r}; a whole number is needed, or several")
    return tuple(map(int, indices))


def is_index(value: Any) -> bool:
    """Whether this is one index rather than several."""
    return not isinstance(_plain(value), Iterable)


def in_order(name: str, values: Any) -> tuple[Any, ...]:
    """Several values, in the order given.

    Raises:
        OptionError: a set or a dict, whose order is nobody's choice, or no collection at all.
    """
    if isinstance(values, Set | Mapping | str | bytes) or not isinstance(values, Iterable):
        raise OptionError(f"{name} comes as a list, which has an order, not as {type(values).__name__}")
    return tuple(values)


def check_keywords(given: Iterable[str], known: Collection[str], *, of: str = "") -> None:
    """Refuse unknown keywords.

    Args:
        given: Those of the call.
        known: Those that there are.
        of: The function that takes them, for the message.

    Raises:
        UnknownOptionError: the message lists the known ones.
    """
    if unknown := [name for name in given if name not in known]:
        there = f"{of} takes" if of else "known here"
        raise UnknownOptionError(f"unknown option {', '.join(unknown)}; {there}: {', '.join(known)}")


def lists_keywords(function: Callable[P, R]) -> Callable[P, R]:
    """The function, which tells the known keywords where one is unknown: Python names only the unknown one."""
    known = [name for name in inspect.signature(function).parameters if name != "self"]

    @wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        check_keywords(kwargs, known, of=function.__name__)
        return function(*args, **kwargs)

    return checked


def _plain(value: Any) -> Any:
    """Python's own numbers or lists for numpy's and torch's."""
    return value.tolist() if hasattr(value, "tolist") else value


def _is_integer(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)
