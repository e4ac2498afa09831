"""The words stored with vectors: which settings tell them, which words explain each image."""

import logging
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import StoreError, preview
from ..inputs.conditions import checked_condition
from ..methods.registry import METHODS, describe
from .spaces import whole_spaces

if TYPE_CHECKING:
    from ..methods.settings import Setting
    from .spaces import Space
    from .storage.store import Store

Reading = tuple[Any, ...]  # layers and tokens of one tell the same words

EMPTY, WITHOUT = "(nothing)", "(no words)"  # what an empty answer is shown as, and that there are no words

logger = logging.getLogger(__name__)


def settings_with_words(
    store: "Store", conditions: Iterable[str | None], pattern: str = "*"
) -> "dict[str | None, Setting]":
    """The settings of these conditions that tell words, all of one reading: of one source, method and model.

    Args:
        store: The database.
        conditions: As they were embedded, whatever their case; None is "no condition".
        pattern: Glob over the settings' names, where several readings of the conditions have words. If the settings
            that it selects lack a condition, their spaces are looked at whole, as `spaces.choose` does.

    Returns:
        The settings by condition, as it was embedded, in the order given.

    Raises:
        StoreError: no setting of a condition, none with words, several that differ in their words, or conditions that
            were read in different ways; for words that can still be stored the message says how. (A warning does where
            some images have theirs.)
    """
    names = list(dict.fromkeys(checked_condition(each) for each in conditions))
    selected = store.settings(pattern)
    if not {*map(_folded, names)} <= {_folded(each.condition) for each in selected}:
        selected = [each for space in whole_spaces(store, pattern) for each in space.settings.values()]
    found = [_readings(store, name, selected, pattern) for name in names]
    common = [reading for reading in found[0] if all(reading in each for each in found)]
    if len(common) == 1:
        chosen = [each[common[0]] for each in found]
        for setting in chosen:
            _warn_of_missing(store, setting)
        return {setting.condition: setting for setting in chosen}
    told = ", ".join(map(repr, names))
    if common:
        several = preview([found[0][reading].name for reading in common])
        raise StoreError(f"several settings tell words under {told}; choose with --setting: {several}")
    several = preview([setting.name for each in found for setting in each.values()])
    raise StoreError(f"{told} tell words in settings of different images or models: {several}")


def words_of(
    store: "Store", setting: "Setting", among: Collection[str] | None = None, first: int | None = None
) -> list[dict[str, Any]]:
    """The words of each image under a condition.

    Args:
        store: The database.
        setting: One that tells words, see `settings_with_words`.
        among: Of these images only.
        first: Of so many images, the first by their ids.

    Returns:
        `{image_id, condition, words: [{word, probability}]}` an image, sorted by id; images whose vector came without
        words are left out.

    Raises:
        StoreError: there is no such setting, or its table is damaged.
    """
    wanted = None if first is None else sorted(store.image_ids(setting) if among is None else among)[:first]
    among = among if wanted is None else set(wanted)
    stored = store.words(setting, wanted)
    return [
        {
            "image_id": image_id,
            "condition": setting.condition,
            "words": [{"word": word, "probability": probability} for word, probability in words],
        }
        for image_id, words in sorted(stored.items())
        if words and (among is None or image_id in among)
    ]


def setting_telling(store: "Store", setting: "Setting") -> "Setting | None":
    """The setting that holds a setting's words: itself, or that which it was refined of; None where none has any."""
    original = setting.without("refined")
    if store.count_words(setting):
        return setting
    return original if original != setting and original in store.settings() and store.count_words(original) else None


@dataclass(frozen=True)
class ConditionCount:
    """A condition of a space: how many images have a vector under it, and whether words tell of them."""

    condition: str | None
    images: int
    has_words: bool


def counts_by_condition(store: "Store", space: "Space") -> list[ConditionCount]:
    """What there is under each condition of a space, in the order of `Space.conditions`."""
    return [
        ConditionCount(name, store.count(setting), has_words=setting_telling(store, setting) is not None)
        for name, setting in ((name, space.settings[name]) for name in space.conditions)
    ]


def _folded(condition: str | None) -> str:
    return (condition or "").casefold()


def _readings(
    store: "Store", name: str | None, selected: "Sequence[Setting]", pattern: str
) -> "dict[Reading, Setting]":
    """The settings of a condition that have words, one per reading."""
    settings = [each for each in selected if _folded(each.condition) == _folded(name)]
    if not settings:
        there = sorted({each.condition or "(none)" for each in selected})
        if not there and pattern != "*":
            every = preview([each.name for each in store.settings()])
            raise StoreError(f"no setting of {store.uri} matches {pattern!r}; there are: {every}")
        if not there:
            raise StoreError(f"{store.uri} has no embeddings: make some with `cie embed ... -e {store.uri}`")
        raise StoreError(f"{store.uri} has nothing under the condition {name!r}; conditions: {preview(there, 20)}")
    found: dict[Reading, Setting] = {}
    for each in settings:
        key = (each.dataset, each.source, each.method, each.model, each.revision, each.prompt_type)
        if key not in found and (source := setting_telling(store, each)) is not None:
            found[key] = source
    if not found:
        without = [each.name for each in settings if _can_have_words(each)]
        telling = " or ".join(method.name for method in METHODS.values() if method.tells)
        how = _command(without) if without else f"embed with method {telling}"
        raise StoreError(f"no words are stored under {name!r}: {how}")
    return found


def _can_have_words(setting: "Setting") -> bool:
    """Whether words that a vector was stored without can still be stored."""
    return describe(setting.method).tells == "words" and "refined" not in setting.extra


def _warn_of_missing(store: "Store", setting: "Setting") -> None:
    images = store.count(setting)
    lacking = images - store.count_words(setting)
    if lacking and _can_have_words(setting):
        logger.warning("%d of %d images have no words yet: %s", lacking, images, _command([setting.name]))


def _command(names: Iterable[str]) -> str:
    return f"run the `cie embed` that made {preview(list(names), 3)} again, with --top-words 5 (its vectors stay)"
