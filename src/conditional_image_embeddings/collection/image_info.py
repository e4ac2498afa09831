"""What a collection knows of its images: their files, sizes and words."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import NotStoredError, OptionError, StoreError, preview
from ..methods.settings import Setting
from .storage.store import Store
from .words import setting_telling


@dataclass(frozen=True)
class ImageInfo:
    """An image of a collection; None is what is not known of it.

    Attributes:
        image_id: Its id in the collection.
        path: Where its file was last seen; None for one that is no file of its own.
        width: In pixels, upright.
        height: In pixels, upright.
        size: Of the file, in bytes.
        modified: When the file was last changed, in nanoseconds since 1970.
        content_hash: SHA-256 of the bytes that were embedded, in hexadecimal.
        words: The words stored with it under each condition, most probable first; [] where there are none.
    """

    image_id: str
    path: str | None
    width: int | None
    height: int | None
    size: int | None
    modified: int | None
    content_hash: str | None
    words: Mapping[str | None, Sequence[tuple[str, float]]]

    def to_json(self) -> dict[str, Any]:
        """As `cie search --json` prints what it has of it; "null" is no condition."""
        words = {
            condition: [{"word": word, "probability": probability} for word, probability in several]
            for condition, several in self.words.items()
        }
        return {**asdict(self), "words": words}


def images(store: Store, settings: Mapping[str | None, Setting], image_ids: Iterable[str]) -> list[ImageInfo]:
    """What is known of these images, in their order.

    Args:
        store: The database.
        settings: Whose words are told, by condition; of one source.
        image_ids: The images.

    Raises:
        OptionError: ids that are none.
        StoreError: an image that is not in the collection, or a table is damaged.
    """
    asked = checked_ids(image_ids)
    first = next(iter(settings.values()))
    rows = store.image_rows(first.dataset, first.source, asked)
    if missing := [each for each in dict.fromkeys(asked) if each not in rows]:
        there = {each for setting in settings.values() for each in store.among(setting, missing)}
        if unknown := [repr(each) for each in missing if each not in there]:
            raise NotStoredError(f"{preview(unknown)} is no image of {store.uri} under {_named(settings)}")
    words = {name: store.words(_telling(store, setting), asked) for name, setting in settings.items()}
    known = ("path", "width", "height", "size", "modified", "content_hash")
    return [
        ImageInfo(
            image_id=image_id,
            words={name: words[name].get(image_id) or [] for name in settings},
            **{name: rows.get(image_id, {}).get(name) for name in known},
        )
        for image_id in asked
    ]


def thumbnails(store: Store, image_ids: Iterable[str], pattern: str = "*") -> dict[str, bytes]:
    """Encoded pictures by image id, of those images that have one; the settings that a glob selects name the source.

    Raises:
        OptionError: ids that are none.
        StoreError: there is no such setting, or there are several sources.
    """
    sources = {(each.dataset, each.source): each.name for each in store.settings(pattern)}
    if not sources:
        raise StoreError(
            f"no setting of {store.uri} fits; there are {preview([each.name for each in store.settings()])}"
        )
    if len(sources) > 1:
        named = preview(list(sources.values()))
        raise StoreError(f"{store.uri} has images of {len(sources)} sources: choose with setting= among {named}")
    ((dataset, source),) = sources
    found = store.thumbnails(dataset, checked_ids(image_ids), source=source)
    return {image_id: picture for image_id, picture in found.items() if picture}


def checked_ids(image_ids: Iterable[str]) -> list[str]:
    """Several ids, each a text."""
    if isinstance(image_ids, str | bytes) or not isinstance(image_ids, Iterable):
        raise OptionError(f"image_ids are several ids, not {type(image_ids).__name__}")
    found = list(image_ids)
    if wrong := [type(each).__name__ for each in found if not isinstance(each, str)]:
        raise OptionError(f"image_ids are several ids, each a text, not {wrong[0]}")
    return found


def _telling(store: Store, setting: Setting) -> Setting:
    return setting_telling(store, setting) or setting if "refined" in setting.extra else setting


def _named(settings: Mapping[str | None, Setting]) -> str:
    return preview(["no condition" if name is None else repr(name) for name in settings])
