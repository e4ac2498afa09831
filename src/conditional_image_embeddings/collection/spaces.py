"""Spaces: the settings of one source that differ in their condition only.

Vectors of different conditions are never compared with one another; what is asked under several conditions at once
needs a vector of each image under each, made in the same way. This room finds those settings, and says what is missing.
"""

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from ..errors import NotStoredError, OptionError, StoreError, preview
from ..inputs.conditions import checked_condition
from ..methods.registry import METHODS, OF_INSTRUCTIONS, describe
from ..methods.settings import Setting

if TYPE_CHECKING:
    from .storage.store import Store

COMMANDS_OPTIONS = {  # and their defaults
    "prompt_type": "describe", "layer": -1, "token": -1, "embedding_source": "input_last", "image_max_size": 700,
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Space:
    """Settings of one source that differ in their condition only: what can be searched and counted together.

    Attributes:
        shared: What they have in common, without a condition: `shared.method`, `shared.model`, `shared.source`, ...
        settings: By condition; None is "no condition".
    """

    shared: Setting
    settings: Mapping[str | None, Setting]

    @property
    def name(self) -> str:
        """The name of its first setting: `setting=space.name` selects the space, for every condition of it."""
        return min(setting.name for setting in self.settings.values())

    @property
    def conditions(self) -> list[str | None]:
        """Sorted; None, last, is "no condition"."""
        return sorted(self.settings, key=lambda name: (name is None, name or ""))

    def find(self, condition: str | None) -> Setting | None:
        """The setting of a condition, whatever its case."""
        return next((setting for name, setting in self.settings.items() if _folded(name) == _folded(condition)), None)

    def find_all(self, conditions: Sequence[str | None]) -> list[Setting] | None:
        """Their settings; None where one is missing."""
        found = [setting for name in conditions if (setting := self.find(name)) is not None]
        return found if len(found) == len(conditions) else None

    @property
    def is_refined(self) -> bool:
        """Whether its vectors were refined after they were embedded."""
        return "refined" in self.shared.extra


def spaces(store: "Store", pattern: str = "*") -> list[Space]:
    """The spaces of a database, of the settings that a glob selects, sorted by their settings' names."""
    found: dict[str, dict[str | None, Setting]] = {}
    shared: dict[str, Setting] = {}
    for setting in store.settings(pattern):
        common = setting.without_condition
        shared[common.to_json()] = common
        found.setdefault(common.to_json(), {})[setting.condition] = setting
    return [Space(shared[key], settings) for key, settings in found.items()]


def whole_spaces(store: "Store", pattern: str = "*") -> list[Space]:
    """The spaces that have a setting that a glob selects, with all their settings.

    So the name of one setting selects its space. Of settings under one condition, those that the glob selects count.
    """
    every = {space.shared.to_json(): space.settings for space in spaces(store)}
    return [
        Space(space.shared, {**every[space.shared.to_json()], **space.settings}) for space in spaces(store, pattern)
    ]


def choose(store: "Store", conditions: Iterable[str | None], pattern: str = "*") -> dict[str | None, Setting]:
    """The settings of these conditions, all of one space.

    Args:
        store: The database.
        conditions: As they were embedded, whatever their case; None is "no condition".
        pattern: Glob over the settings' names, where several spaces have all of them. If the settings that it selects
            do not, their spaces are looked at whole: the name of one setting is enough to choose its space.

    Returns:
        The settings by condition, as it was given, in the order given.

    Raises:
        StoreError: a condition is missing (the message has the command that would embed it), they are there only in
            spaces that differ, or several spaces have all of them.
    """
    wanted = {condition: checked_condition(condition) for condition in conditions}
    every = spaces(store, pattern)
    if not every:
        there = preview([each.name for each in store.settings()])
        hint = f"no setting of {store.uri} matches {pattern!r}; there are: {there}" if there else None
        raise StoreError(
            hint or f"{store.uri} has no embeddings: make some with `cie embed ... -e {shlex.quote(store.uri)}`"
        )
    fitting = _fitting(every, list(wanted.values()))
    if not fitting:
        every = whole_spaces(store, pattern)
        fitting = _fitting(every, list(wanted.values()))
    plain = {space: found for space, found in fitting.items() if not space.is_refined} or fitting
    if len(plain) == 1:
        return dict(zip(wanted, *plain.values(), strict=True))
    if plain:
        names = preview([found[0].name for found in plain.values()])
        raise StoreError(
            f"{len(plain)} settings fit, which differ in {', '.join(_differing(list(plain)))}: choose with --setting "
            f"(in Python setting=) among {names}"
        )
    raise NotStoredError(_lacking(store, every, list(wanted.values())))


def choose_each(
    store: "Store", conditions: Iterable[str | None], patterns: Mapping[str | None, str]
) -> dict[str | None, Setting]:
    """The settings of these conditions, each of the space that its own glob selects: other models, other methods.

    Args:
        store: The database.
        conditions: As for `choose`.
        patterns: By condition; those that it does not name are looked for in all spaces.

    Raises:
        StoreError: as `choose`, or they are not of the same images.
        OptionError: a pattern for a condition that is not searched.
    """
    wanted = list(conditions)
    if unknown := [name for name in patterns if name not in wanted]:
        raise OptionError(f"setting names {preview([_shown(each) for each in unknown])}, which is not searched under")
    found = {name: choose(store, [name], patterns.get(name, "*"))[name] for name in wanted}
    if len({(each.dataset, each.source) for each in found.values()}) > 1:
        of_each = preview([f"{_shown(name)} of {each.source or each.dataset}" for name, each in found.items()])
        raise StoreError(f"these are of different images, and are not searched together: {of_each}")
    return found


def widest(store: "Store", pattern: str = "*") -> list[str | None]:
    """The conditions of the space that has most, of the settings that a glob selects; [] where there is none.

    A space's own name selects all of it.
    """
    whole = [space for space in spaces(store) if space.name == pattern]
    return max((list(space.settings) for space in whole or spaces(store, pattern)), key=len, default=[])


def embed_command(store: "Store", setting: Setting, conditions: Sequence[str | None]) -> str:
    """The command that embeds the images of a setting under other conditions, in the same way."""
    parts = ["cie", "embed", shlex.quote(store.source_root(setting) or "SOURCE")]
    for condition in conditions if any(conditions) else ():
        parts += ["--no-condition"] if condition is None else ["-c", shlex.quote(condition)]
    parts += ["-m", shlex.quote(setting.model)]
    family = describe(setting.method).model_family
    if setting.method != next((each.name for each in METHODS.values() if each.model_family == family), None):
        parts += ["--method", setting.method]
    for name, default in COMMANDS_OPTIONS.items():
        value = getattr(setting, name)
        if value is not None and value != default:
            parts += [f"--{name.replace('_', '-')}", shlex.quote(str(value))]
    for name in OF_INSTRUCTIONS:
        if (value := setting.extra.get(name)) is not None:
            parts += [f"--{name}", shlex.quote(value if isinstance(value, str) else json.dumps(value))]
    return " ".join([*parts, "-e", shlex.quote(store.uri)])


def _fitting(several: Iterable[Space], wanted: Sequence[str | None]) -> dict[Space, list[Setting]]:
    return {space: found for space in several if (found := space.find_all(wanted)) is not None}


def _folded(condition: str | None) -> str | None:
    return None if condition is None else condition.casefold()


def _lacking(store: "Store", every: Sequence[Space], wanted: Sequence[str | None]) -> str:
    """Why no space has all of these conditions, and what to do."""
    best = max(every, key=lambda space: (sum(space.find(name) is not None for name in wanted), not space.is_refined))
    missing = [name for name in wanted if best.find(name) is None]
    there = [name for name in wanted if name not in missing]
    named = ", ".join(map(_shown, missing))
    other = next((space for space in every if any(space.find(name) is not None for name in missing)), None)
    if other is None:
        what = (
            f"{store.uri} has no vectors under {named} (there are: {preview([_shown(n) for n in best.settings], 20)})"
        )
    else:
        what = (
            f"{named} was embedded with {_made_with(other)}, {', '.join(map(_shown, there))} with {_made_with(best)}: "
            "vectors that were made differently are not searched together"
        )
    # A folder embedded by that command is another source than a benchmark: there, nothing is there yet.
    needed = missing if best.shared.source is not None else wanted
    return f"{what}; embed the images first: {embed_command(store, best.shared, needed)}"


def _made_with(space: Space) -> str:
    return f"{space.shared.method} on {space.shared.model} (source {space.shared.source or space.shared.dataset})"


def _shown(condition: str | None) -> str:
    return "no condition" if condition is None else repr(condition)


def _differing(several: Sequence[Space]) -> list[str]:
    """The fields in which these spaces differ."""
    first = several[0].shared
    return [
        each.name
        for each in fields(Setting)
        if any(getattr(space.shared, each.name) != getattr(first, each.name) for space in several)
    ]
