"""Filters: which images a search, a count, groups or a list are made of.

A filter says what an image has to be: what is known of its file, the words that are stored with it, its id. Each part
narrows; which images pass is answered from the database, as sets of ids.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ..errors import OptionError, preview
from ..inputs.conditions import checked_condition
from ..methods.settings import Setting
from .storage.store import Store
from .words import setting_telling, settings_with_words


@dataclass(frozen=True)
class Not:
    """Any first word but this one: `facets={"car model": Not("pickup")}`, or several with or without."""

    word: str | None


Word = str | Not | None
FacetWords = Mapping[str | None, Word | Sequence[Word]]


@dataclass(frozen=True)
class Filter:
    """What an image has to be. All parts have to hold; none at all lets every image pass.

    Attributes:
        where: An expression over the columns of `images`, in SQL.
        word: One of the words stored with it, under one of the conditions at hand, whatever its case.
        facets: By condition its first word, or several of which it is one, as `Collection.facets` counts them: "" is an
            empty answer, None that no word is stored. `Not(word)` is a word that it is not.
        among: The ids that it may have.
    """

    where: str | None = None
    word: str | None = None
    facets: Mapping[str | None, Sequence[Word]] = field(default_factory=dict)
    among: Collection[str] | None = None

    @classmethod
    def of(
        cls,
        *,
        where: str | None = None,
        word: str | None = None,
        facets: FacetWords | None = None,
        among: Iterable[str] | None = None,
    ) -> "Filter":
        """As a user gives it: a facet may be one word or several, ids any iterable.

        Raises:
            OptionError: facets or ids that are none.
            ConditionError: a facet's condition that is unusable.
        """
        if word is not None:
            _checked_texts("word", [word])
        return cls(where, word, _facets({} if facets is None else facets), None if among is None else _ids(among))

    def __bool__(self) -> bool:
        return self != EVERY

    def __str__(self) -> str:
        parts = [self.where, None if self.word is None else f"word {self.word!r}"]
        parts += [
            f"{name or 'no condition'} is {preview(list(map(_said, words)))}" for name, words in self.facets.items()
        ]
        parts += [None if self.among is None else f"{len(self.among)} given ids"]
        return ", ".join(each for each in parts if each is not None)

    def image_ids(self, store: Store, settings: Mapping[str | None, Setting]) -> set[str] | None:
        """The images that pass, of those that have a vector or a row of `images`; None where all do.

        Args:
            store: The database.
            settings: What is asked, by condition, of one space. A facet's condition need not be among them; it is
                looked up in the same space.

        Raises:
            OptionError: `where` is no filter.
            StoreError: a facet's condition is not in the space or without words, or a table is damaged.
        """
        if not self:
            return None
        first = next(iter(settings.values()))
        passing = [set(self.among)] if self.among is not None else []
        if self.where is not None:
            passing.append(set(store.image_ids_where(first.dataset, first.source, self.where)))
        if self.word is not None:
            passing.append(set().union(*(store.image_ids_with_word(each, self.word) for each in settings.values())))
        for condition, words in self.facets.items():
            passing.append(_by_first_word(store, settings, _telling(store, settings, condition), words))
        return set.intersection(*passing)


def facet_words(several: Iterable[tuple[str | None, Iterable[str], bool]]) -> dict[str | None, list[Word]]:
    """Facets of conditions, words, and whether these are excluded, as `Filter.of` takes them."""
    found: dict[str | None, list[Word]] = {}
    for condition, words, excluded in several:
        found.setdefault(condition, []).extend(map(Not, words) if excluded else words)
    return found


EVERY = Filter()


def _telling(store: Store, settings: Mapping[str | None, Setting], condition: str | None) -> Setting:
    """The setting with the words of a facet's condition, in the space of these."""
    folded = (condition or "").casefold()
    asked = next((each for each in settings.values() if (each.condition or "").casefold() == folded), None)
    found = None if asked is None else setting_telling(store, asked)
    if found is None:
        (found,) = settings_with_words(store, [condition], next(iter(settings.values())).name).values()
    return found


def _by_first_word(
    store: Store, settings: Mapping[str | None, Setting], telling: Setting, words: Sequence[Word]
) -> set[str]:
    """The images whose first word is one of these, or, if all are `Not`, any; and none of the `Not`."""
    unwanted = {word.word for word in words if isinstance(word, Not)}
    wanted = {word for word in words if not isinstance(word, Not)}
    every = not wanted
    found: set[str] = set()
    having: set[str] = set()
    for batch in store.first_words(telling):
        ids, said = batch.column("image_id"), batch.column("word")
        telling_words = sorted(word for word in (unwanted if every else wanted - unwanted) if word is not None)
        fits = pc.is_in(said, value_set=pa.array(telling_words, pa.string()))
        found.update(ids.filter(pc.and_(said.is_valid(), pc.invert(fits)) if every else fits).to_pylist())
        having.update(ids.filter(said.is_valid()).to_pylist())
    if None not in unwanted and (every or None in wanted):
        # No word is that of images too that were embedded under the other conditions only.
        found |= set().union(*(store.image_ids(each) for each in (*settings.values(), telling))) - having
    return found


def _said(word: Word) -> str:
    return f"not {word.word!r}" if isinstance(word, Not) else repr(word)


def _facets(given: Any) -> dict[str | None, tuple[Word, ...]]:
    if not isinstance(given, Mapping):
        raise OptionError(f"facets are words by condition, such as {{'car color': 'red'}}, not {type(given).__name__}")
    found: dict[str | None, tuple[Word, ...]] = {}
    for condition, words in given.items():
        several = (words,) if words is None or isinstance(words, str | Not) else words
        if not isinstance(several, Iterable) or isinstance(several, Mapping):
            raise OptionError(f"the facet {condition!r} is a word or several, not {type(words).__name__}")
        chosen = tuple(several)
        if not chosen:
            raise OptionError(f"the facet {condition!r} has no word: give one, or leave the condition out")
        plain = [word.word if isinstance(word, Not) else word for word in chosen]
        _checked_texts(f"the facet {condition!r}", [word for word in plain if word is not None])
        found[checked_condition(condition)] = chosen
    return found


def _ids(given: Any) -> frozenset[str]:
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        raise OptionError(f"among is several image ids, not {type(given).__name__}")
    found = list(given)
    _checked_texts("among", found)
    return frozenset(found)


def _checked_texts(name: str, given: Sequence[Any]) -> None:
    if wrong := [type(each).__name__ for each in given if not isinstance(each, str)]:
        raise OptionError(f"{name} is of texts, not {wrong[0]}")
    try:
        "".join(given).encode()
    except UnicodeEncodeError:
        raise OptionError(f"{name} holds what is no text: a lone surrogate") from None
