"""A row as a JSON object, which the line formats and the paper's folders share; numbers come back as they were."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ConditionError, OptionError, SettingError
from .incoming import Incoming, Origin
from .provenance import Provenance
from .selection import Block

IMAGE_COLUMNS = ("path", "width", "height", "content_hash", "size", "modified")  # of `images`, but the thumbnail
LONGEST = 32 << 20  # characters of a row


def as_object(block: Block, index: int, vector: str = "vector") -> dict[str, Any]:
    """A row of a block, its vector under this key."""
    words = block.words[index]
    known = block.images[index]
    return {
        "image_id": block.image_ids[index],
        **{name: known[name] for name in IMAGE_COLUMNS if known.get(name) is not None},
        vector: block.vectors[index].tolist(),
        "words": words and [{"word": word, "probability": probability} for word, probability in words],
    }


class Rows:
    """Reads such objects.

    Args:
        format: Its name.
        folder: Where the arrays of fitted settings are.
        origin: What the user says of rows that name no setting.
    """

    def __init__(self, format: str, folder: Path, origin: Origin) -> None:  # noqa: A002
        self._format, self._folder, self._origin = format, folder, origin
        self._known: dict[str, Provenance] = {}

    def read(self, text: str, place: str, said: Callable[[dict[str, Any]], dict[str, Any]] | None = None) -> Incoming:
        """The row of a JSON text.

        `said`: for a row that names no setting, what is known of it besides, such as by a folder's name.
        """
        if len(text) > LONGEST:
            return Incoming(place, problem=f"is longer than {LONGEST:,} characters")
        try:
            told = json.loads(text)
        except (ValueError, RecursionError) as error:
            return Incoming(place, problem=f"is no JSON ({error})")
        if not isinstance(told, dict):
            return Incoming(place, problem="is no JSON object")
        vector = next((told[name] for name in ("vector", "embedding", "token_embedding") if name in told), None)
        if isinstance(vector, list) and vector and isinstance(vector[0], list):
            vector = vector[0]  # the paper's code nests those of CLIP
        try:
            values = None if vector is None else np.asarray(vector, np.float64)
            words = words_of(told.get("words"))
        except (TypeError, ValueError, OverflowError):
            return Incoming(place, problem="its vector is no list of numbers, or its words are none")
        try:
            made = self._provenance(told, said)
        except (SettingError, OptionError, ConditionError) as error:
            raise OptionError(f"{place}: {error}") from error
        return Incoming(
            place,
            made,
            told.get("image_id"),
            values if values is None else as_float32(values),
            words,
            {name: told.get(name) for name in IMAGE_COLUMNS},
        )

    def _provenance(self, told: dict[str, Any], said: Callable[[dict[str, Any]], dict[str, Any]] | None) -> Provenance:
        if "setting" in told:
            of_row = {name: told.get(name) for name in ("setting", "information")}
        elif said is None:
            of_row = {"condition": told.get("condition")}
        else:
            of_row = said(told)
        key = json.dumps(of_row, sort_keys=True)
        if key not in self._known:
            exported = "setting" in told
            self._known[key] = (
                Provenance.from_dict(told, self._folder)
                if exported
                else self._origin.provenance(self._format, **of_row)
            )
        return self._known[key]


def words_of(told: Any) -> list[tuple[str, float]] | None:
    """Words as rows have them: objects of word and probability.

    Raises:
        ValueError: they are something else.
    """
    if told is None:
        return None
    if not isinstance(told, list) or not all(isinstance(each, Mapping) and "word" in each for each in told):
        raise ValueError(f"words are objects of word and probability, not {str(told)[:60]}")  # caught: a bad row
    return [(str(each["word"]), float(each.get("probability", np.nan))) for each in told]


def as_float32(values: Any) -> Any:
    """Numbers as stored; what does not fit becomes infinite, which the import names."""
    with np.errstate(over="ignore"):
        return np.asarray(values).astype(np.float32)


def dump(told: Mapping[str, Any]) -> str:
    """One line of JSON.

    Raises:
        OptionError: it holds what JSON does not.
    """
    try:
        return json.dumps(told, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise OptionError(f"{str(told.get('image_id'))[:80]} cannot be written as JSON: {error}") from error
