"""The words stored with vectors: which words explain each image, and how often each is the first."""

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import StoreError, preview
from ..inputs.conditions import checked_condition
from ..methods.registry import METHODS, describe

if TYPE_CHECKING:
    from .storage.store import Store

EMPTY = "(nothing)"

logger = logging.getLogger(__name__)


def words_by_image(store: "Store", condition: str | None, pattern: str = "*") -> list[dict[str, Any]]:
    """The words of each image under a condition, of the one setting that has any.

    Args:
        store: The database.
        condition: As it was embedded, whatever its case.
        pattern: Glob over the settings' names, where several settings of the condition have words.

    Returns:
        `{image_id, condition, words: [{word, probability}]}` an image, sorted by id; images whose vector came without
        words are left out.

    Raises:
        StoreError: no setting of the condition, none with words, or several that differ in their words; for words that
            can still be stored the message says how. (A warning does where some images have theirs.)
    """
    name = checked_condition(condition)
    wanted = (name or "").casefold()
    settings = [each for each in store.settings(pattern) if (each.condition or "").casefold() == wanted]
    if not settings:
        there = sorted({each.condition or "(none)" for each in store.settings(pattern)})
        if not there and pattern != "*":
            every = preview([each.name for each in store.settings()])
            raise StoreError(f"no setting of {store.uri} matches {pattern!r}; there are: {every}")
        if not there:
            raise StoreError(f"{store.uri} has no embeddings: make some with `cie embed ... -e {store.uri}`")
        raise StoreError(f"{store.uri} has nothing under the condition {name!r}; conditions: {preview(there, 20)}")
    found: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    names: dict[tuple[Any, ...], str] = {}
    without: dict[str, int] = {}  # by setting: images whose words can still be stored
    for setting in settings:
        # Layers and tokens of one reading tell the same words.
        key = (setting.dataset, setting.source, setting.method, setting.model, setting.revision, setting.prompt_type)
        if key in found:
            continue
        stored = store.words(setting)
        if describe(setting.method).tells == "words" and "refined" not in setting.extra and None in stored.values():
            without[setting.name] = list(stored.values()).count(None)
        rows = [
            {
                "image_id": image_id,
                "condition": setting.condition,
                "words": [{"word": word, "probability": probability} for word, probability in words],
            }
            for image_id, words in sorted(stored.items())
            if words
        ]
        if rows:
            found[key], names[key] = rows, setting.name
    if not found:
        telling = " or ".join(method.name for method in METHODS.values() if method.tells)
        how = _command(without) if without else f"embed with method {telling}"
        raise StoreError(f"no words are stored under {name!r}: {how}")
    if len(found) > 1:
        raise StoreError(
            f"several settings tell words under {name!r}; choose with --setting: {preview(list(names.values()))}"
        )
    ((key, rows),) = found.items()
    if names[key] in without:
        lacking = without[names[key]]
        logger.warning("%d of %d images have no words yet: %s", lacking, lacking + len(rows), _command([names[key]]))
    return rows


def _command(names: Iterable[str]) -> str:
    return f"run the `cie embed` that made {preview(list(names), 3)} again, with --top-words 5 (its vectors stay)"


def histogram(rows: Sequence[dict[str, Any]]) -> list[tuple[str, int]]:
    """How many images have each word as their first, the most frequent first."""
    return Counter(row["words"][0]["word"] or EMPTY for row in rows).most_common()
