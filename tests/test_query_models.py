"""Queries that need a model: images that are no file, models loaded and let go of while others search."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from collections_at_hand import Cars
from PIL import Image

import conditional_image_embeddings as cie
from conditional_image_embeddings.collection import query_embedders

CONDITIONS = ["car color", "car model"]


@pytest.fixture(scope="module")
def cars(tmp_path_factory: pytest.TempPathFactory) -> Cars:
    return Cars(tmp_path_factory.mktemp("cars"), 40, *CONDITIONS)


def test_an_image_may_be_bytes_or_pixels(cars: Cars, tmp_path: Path) -> None:
    collection, image_id = cars.collection, sorted(cars.labels["car color"])[3]
    (path,) = (each.path for each in collection.images([image_id], CONDITIONS))
    assert path is not None
    data = Path(path).read_bytes()
    (tmp_path / "copy.png").write_bytes(data)
    expected = collection.search(image=tmp_path / "copy.png", conditions=CONDITIONS, k=5)
    assert expected[0].image_id == image_id
    with Image.open(path) as picture:
        for image in (data, memoryview(data), picture, [data], [(data, 2.0)]):
            hits = collection.search(image=image, conditions=CONDITIONS, k=5)
            assert [hit.image_id for hit in hits] == [hit.image_id for hit in expected]
            np.testing.assert_allclose([hit.score for hit in hits], [hit.score for hit in expected], atol=1e-5)
    other = sorted(cars.labels["car color"])[8]
    stored = collection.compare(image_id, other)
    for a, b, same in ((data, other, False), (other, data, True)):
        for one, two in zip(collection.compare(a, b), stored, strict=True):
            assert one.similarity == pytest.approx(two.similarity, abs=1e-4)
            told = one.words[::-1] if same else one.words
            assert [words[0][0] for words in told] == [words[0][0] for words in two.words]
    with pytest.raises(cie.ImageError, match="image"):
        collection.search(image=b"no image", conditions="car color")


def is_loaded(collection: cie.Collection) -> bool:
    """Asked anew each time: a type checker takes a property for what it was."""
    return collection.models_loaded


def test_models_are_loaded_and_let_go_of(cars: Cars, monkeypatch: pytest.MonkeyPatch) -> None:
    with cie.open(cars.db, device="cpu") as collection:
        collection.search(image_id=min(cars.labels["car color"]), conditions="car color")
        assert not is_loaded(collection)
        collection.unload_models()
        collection.load_models(CONDITIONS)
        assert is_loaded(collection)
        with monkeypatch.context() as patched:
            patched.setattr(query_embedders, "load_for", lambda *_, **__: pytest.fail("a model was loaded"))
            expected = collection.search(text="red", conditions="car color").hits
        collection.unload_models()
        assert not is_loaded(collection)
        assert collection.search(text="red", conditions="car color").hits == expected
        assert is_loaded(collection)
        with pytest.raises(cie.StoreError, match="has no vectors under 'mood'"):
            collection.load_models("mood")


def test_a_search_under_way_ends_while_models_are_let_go_of(cars: Cars) -> None:
    with cie.open(cars.db, device="cpu") as collection:
        expected = collection.search(text="red", conditions=CONDITIONS).hits

        def ask(number: int) -> bool:
            if number % 3 == 0:
                collection.unload_models()
                return True
            return collection.search(text="red", conditions=CONDITIONS).hits == expected

        with ThreadPoolExecutor(4) as threads:
            assert all(threads.map(ask, range(30)))
        collection.unload_models()
        assert not is_loaded(collection)
