"""What is searched for: images, images of the collection, texts, each with a weight; and its vectors."""

import difflib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import NotStoredError, OptionError, preview
from ...inputs.conditions import normalized_text
from ...inputs.encoded import read_encoded
from ...methods.bound import encode_under
from ...methods.options import is_one_image
from ...methods.settings import Setting
from ...vectors import unit
from ..query_embedders import QueryEmbedders
from ..storage.store import Store

MOST_PARTS = 1000
MOST_COMPARED = 20_000  # ids that a misspelt one is held against
LONGEST_TEXT = 10_000  # characters


@dataclass(frozen=True)
class Query:
    """Several things to be near to at once: the mean of their unit vectors, each times its weight.

    Attributes:
        images: With their weights.
        image_ids: Images of the collection, with their weights.
        texts: With their weights.
    """

    images: Sequence[tuple[Any, float]] = ()
    image_ids: Sequence[tuple[str, float]] = ()
    texts: Sequence[tuple[str, float]] = ()

    @classmethod
    def of(cls, *, image: Any = None, image_id: Any = None, text: Any = None) -> "Query":
        """As a user gives it: one, several, or a mapping or pairs with weights.

        Raises:
            OptionError: nothing is given, more than 1,000, a text that is none, or a weight that is zero or no number.
        """
        images: list[tuple[Any, float]] = []
        if image is not None:
            given = [image] if is_one_image(image) else list(image)
            images = [(each[0], _weight(each[1])) if _is_pair(each) else (each, 1.0) for each in given]
        query = cls(images, _weighted("image_id", image_id), _weighted("text", text))
        parts = len(query.images) + len(query.image_ids) + len(query.texts)
        if not parts:
            raise OptionError("nothing to search for: give an image, the id of one of the collection, or a text")
        if parts > MOST_PARTS:
            raise OptionError(f"{parts} things to be near to at once; at most {MOST_PARTS} are taken")
        return query

    @property
    def has_text(self) -> bool:
        """Whether a text is part of it."""
        return bool(self.texts)

    def known_to(self, store: Store, setting: Setting) -> "Query":
        """The same, with images whose very file is in the collection as images of it: they need no model.

        Raises:
            ImageError: a file that is not there or cannot be read.
        """
        others: list[tuple[Any, float]] = []
        found = list(self.image_ids)
        for image, weight in self.images:
            if isinstance(image, str | os.PathLike):
                encoded = read_encoded(image)
                path = str(Path(os.fspath(image)).absolute())
                image_id = store.image_at(setting.dataset, setting.source, path, encoded.sha256)
                if image_id is not None and store.among(setting, [image_id]):
                    found.append((image_id, weight))
                    continue
            others.append((image, weight))
        return Query(others, found, self.texts)

    def vectors(
        self, store: Store, settings: Sequence[Setting], embedders: QueryEmbedders
    ) -> list[NDArray[np.float32]]:
        """The query's unit vector, float32 (d,), under each setting. A model is loaded only for what has no vector.

        Args:
            store: The database.
            settings: Of one model and method.
            embedders: Where the model comes from.

        Raises:
            StoreError: an image that is not in the collection.
            ImageError: an image that cannot be read.
            ModelError: the model cannot be loaded, or reads no text.
            OptionError: the parts cancel each other.
        """
        parts: list[list[NDArray[np.float32]]] = [[] for _ in settings]
        weights = [weight for several in (self.image_ids, self.images, self.texts) for _, weight in several]
        if self.image_ids:
            for found, setting in zip(parts, settings, strict=True):
                found.append(_stored(store, setting, [image_id for image_id, _ in self.image_ids]))
        if self.images or self.texts:
            with embedders.using(settings) as bound:
                if self.images:
                    of_images = encode_under(bound, images=[image for image, _ in self.images])
                    for found, vectors in zip(parts, of_images, strict=True):
                        found.append(vectors)
                if self.texts:
                    of_texts = encode_under(bound, texts=[text for text, _ in self.texts])
                    for found, vectors in zip(parts, of_texts, strict=True):
                        found.append(vectors)
        return [_mean(np.concatenate(found), weights, setting) for found, setting in zip(parts, settings, strict=True)]


def _mean(vectors: NDArray[Any], weights: Sequence[float], setting: Setting) -> NDArray[np.float32]:
    total = np.asarray(weights) @ unit(vectors, np.float64)
    if not np.linalg.norm(total) > 1e-6 * np.abs(weights).sum():
        raise OptionError(
            f"what is searched for has no direction under {setting.condition!r}: its parts cancel each other"
        )
    return np.asarray(unit(total, np.float64), np.float32)


def _stored(store: Store, setting: Setting, image_ids: Sequence[str]) -> NDArray[np.float32]:
    there, vectors = store.vectors_of(setting, image_ids)
    if missing := [each for each in image_ids if each not in set(there)]:
        known = store.image_ids(setting) if store.count(setting) <= MOST_COMPARED else []
        close = difflib.get_close_matches(missing[0], known, n=3)
        hint = f"; similar: {', '.join(map(repr, close))}" if close else ""
        named = preview([repr(each) for each in missing])
        raise NotStoredError(f"{named} has no vector under {setting.condition!r} in {store.uri}{hint}")
    return vectors


def _weighted(name: str, given: Any) -> list[tuple[str, float]]:
    """Text to weight, of one text, several, or a mapping."""
    if given is None:
        return []
    if isinstance(given, str):
        given = [given]
    if isinstance(given, Mapping):
        given = list(given.items())
    elif not isinstance(given, Iterable):
        raise OptionError(f"{name} is a text, several, or a mapping to weights, not {type(given).__name__}")
    found: list[tuple[str, float]] = []
    for each in given:
        text, weight = (each[0], _weight(each[1])) if _is_pair(each) else (each, 1.0)
        if not isinstance(text, str) or not text.strip() or len(text) > LONGEST_TEXT:
            raise OptionError(f"{name} {str(text)[:40]!r} is no text of 1 to {LONGEST_TEXT} characters")
        found.append((normalized_text(text) if name == "text" else text, weight))
    return found


def _is_pair(each: Any) -> bool:
    return isinstance(each, tuple) and len(each) == 2 and isinstance(each[1], int | float)


def _weight(given: float) -> float:
    if isinstance(given, bool) or not isfinite(given) or not given:
        raise OptionError(f"a weight is a number other than zero, not {given!r}")
    return float(given)
