"""Facets: how many images the model says a word of, under each condition and under several at once.

The word that counts is the first, the one that is most probable. Words are read in parts, and counted by Arrow: what is
held are the images' ids and these words.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    from ..methods.settings import Setting
    from .storage.store import Store

SHOWN_IMAGES = 6


@dataclass(frozen=True)
class Facet:
    """Images with the same first word under each condition.

    Attributes:
        words: Word by condition; "" where the model answered nothing, None where no word is stored.
        count: How many images.
        images: Ids of a few of them, those with the most certain words first.
    """

    words: Mapping[str | None, str | None]
    count: int
    images: Sequence[str]

    def to_json(self) -> dict[str, Any]:
        """As `cie words --json` prints it."""
        return {"words": dict(self.words), "count": self.count, "images": list(self.images)}


@dataclass(frozen=True)
class Facets:
    """How often each first word is there; the most frequent come first.

    Attributes:
        settings: Whose words they are, by condition.
        images: How many images were counted; each is in one facet of each list.
        by_condition: For each condition its words.
        crossed: The words under all conditions together: those combinations that are there.
    """

    settings: "Mapping[str | None, Setting]"
    images: int
    by_condition: Mapping[str | None, Sequence[Facet]]
    crossed: Sequence[Facet]


def facets(store: "Store", settings: "Mapping[str | None, Setting]", image_ids: Iterable[str] | None = None) -> Facets:
    """Count first words.

    Args:
        store: The database.
        settings: By condition, of one source, as `words.settings_with_words` finds them.
        image_ids: Of these images only; None is all that have a vector under one of the conditions.

    Raises:
        StoreError: a table is damaged.
    """
    joined = _joined(store, list(settings.values()))
    if image_ids is not None:
        among = pa.table({"image_id": pa.array(list(image_ids), pa.string())})
        joined = joined.join(among, "image_id", join_type="left semi")
    names = list(settings)
    alone = {name: _counted(joined, [index], [name]) for index, name in enumerate(names)}
    crossed = _counted(joined, list(range(len(names))), names) if len(names) > 1 else alone[names[0]]
    return Facets(settings, joined.num_rows, alone, crossed)


def _joined(store: "Store", settings: "Sequence[Setting]") -> pa.Table:
    """One row per image: its id, and `word0`, `probability0`, `word1`, ... of the settings."""
    joined = None
    for index, setting in enumerate(settings):
        schema = pa.schema(
            [("image_id", pa.string()), (f"word{index}", pa.string()), (f"probability{index}", pa.float32())]
        )
        batches = (batch.rename_columns(schema.names) for batch in store.first_words(setting))
        table = pa.Table.from_batches(batches, schema)
        joined = table if joined is None else joined.join(table, "image_id", join_type="full outer")
    return joined


def _counted(joined: pa.Table, chosen: Sequence[int], names: Sequence[str | None]) -> list[Facet]:
    keys = [f"word{index}" for index in chosen]
    certain = [(f"probability{index}", "descending") for index in chosen]
    ordered = joined.sort_by([*certain, ("image_id", "ascending")])
    groups = ordered.group_by(keys, use_threads=False).aggregate([("image_id", "list")])
    counted = [
        Facet(dict(zip(names, words, strict=True)), len(images), images[:SHOWN_IMAGES].to_pylist())
        for *words, images in zip(*(groups.column(key).to_pylist() for key in keys), _lists(groups), strict=True)
    ]
    return sorted(counted, key=lambda facet: (-facet.count, [(word is None, word) for word in facet.words.values()]))


def _lists(groups: pa.Table) -> Iterable[pa.Array]:
    return (each.values for each in groups.column("image_id_list"))
