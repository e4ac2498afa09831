"""What is known of images: in the order asked for, with the words that are stored, one line for what is not there."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from collections_at_hand import add, names, setting

import conditional_image_embeddings as cie
from conditional_image_embeddings.collection.storage import tables
from conditional_image_embeddings.collection.storage.store import Store
from conditional_image_embeddings.collection.storage.tables import ImageRecord
from conditional_image_embeddings.inputs.encoded import FileStat

IDS = names(12)
WORDS = [[(f"word {index}", 0.5), ("é", 0.25)] for index in range(12)]


@pytest.fixture
def photos(store: Store) -> Store:
    add(store, setting("color"), IDS, np.ones((12, 2), np.float32), words=WORDS)
    add(store, setting(None), IDS[:6], np.ones((6, 2), np.float32))
    return store


@pytest.mark.parametrize("most", [0, 10])
def test_images_are_told_of_in_the_order_asked(photos: Store, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MOST_FILTERS", most)
    with cie.open(photos.uri) as collection:
        found = collection.images([IDS[8], IDS[2], IDS[8]], ["Color", None])
        assert [each.image_id for each in found] == [IDS[8], IDS[2], IDS[8]]
        first = found[0]
        assert (first.path, first.width, first.height) == (f"/photos/{IDS[8]}", 18, 10)
        assert (first.size, first.modified, first.content_hash) == (8, 8, f"{8:064d}")
        assert first.words == {"Color": WORDS[8], None: []}
        told = json.loads(json.dumps(first.to_json()))
        assert told["words"] == {
            "Color": [{"word": "word 8", "probability": 0.5}, {"word": "é", "probability": 0.25}], "null": [],
        }  # fmt: skip
        assert set(told) == {"image_id", "path", "width", "height", "size", "modified", "content_hash", "words"}
        assert list(collection.images(IDS[:1])[0].words) == ["color", None]
        assert collection.images([], "color") == []


def test_images_that_are_not_there(photos: Store, tmp_path: Path) -> None:
    photos.add_vectors(setting("color"), ["without a row.png"], np.ones((1, 2), np.float32), words=[WORDS[0]])
    with cie.open(photos.uri) as collection:
        (found,) = collection.images(["without a row.png"], "color")
        assert (found.path, found.width, found.words) == (None, None, {"color": WORDS[0]})
        with pytest.raises(cie.StoreError, match=r"'\.\./x', 'y' is no image of .* under 'color'"):
            collection.images(["../x", IDS[0], "y"], "color")
        with pytest.raises(cie.StoreError, match="has no vectors under 'mood'"):
            collection.images(IDS, "mood")
        wrong: Any
        for wrong in ("00000.png", 3, [3]):
            with pytest.raises(cie.OptionError, match="image_ids are several ids"):
                collection.images(wrong, "color")
    Store(tmp_path / "empty")
    with cie.open(tmp_path / "empty") as collection, pytest.raises(cie.StoreError, match="has no embeddings"):
        collection.images(IDS)


def test_thumbnails_are_of_one_source(photos: Store) -> None:
    record = ImageRecord(
        image_id="pictured.png", width=1, height=1, content_hash="", place=FileStat(), thumbnail=b"WEBP"
    )
    photos.add_images("photos", "/photos", [record])
    with cie.open(photos.uri) as collection:
        assert collection.thumbnails(["pictured.png", IDS[0], "unknown"]) == {"pictured.png": b"WEBP"}
        add(photos, setting("color", source="/others"), IDS, np.ones((12, 2), np.float32))
        with pytest.raises(cie.StoreError, match="has images of 2 sources: choose with setting="):
            collection.thumbnails(IDS)
        assert collection.thumbnails(["pictured.png"], setting=setting("color").name) == {"pictured.png": b"WEBP"}
        with pytest.raises(cie.StoreError, match=r"no setting of .* fits; there are photos-"):
            collection.thumbnails(IDS, setting="nothing*")
