import json
import subprocess
import sys
from pathlib import Path

import lancedb
import numpy as np
import pytest

from conditional_image_embeddings.errors import StoreError
from conditional_image_embeddings.settings import Setting
from conditional_image_embeddings.store import METADATA_KEY, ImageRecord, Place, Store


def setting(**changes: object) -> Setting:
    return Setting(**{"dataset": "cars", "method": "dior", "model": "some/Model", "condition": "car color", **changes})


def record(image_id: str, path: str | None = None) -> ImageRecord:
    return ImageRecord(
        image_id=image_id, width=4, height=3, content_hash="0", place=Place(path, 1, 2), thumbnail=image_id.encode()
    )


def test_vectors_come_back_sorted_by_id_whatever_the_commits(tmp_path: Path) -> None:
    store, vectors = Store(tmp_path), np.arange(12, dtype=np.float32).reshape(4, 3)
    store.add_vectors(setting(), ["d", "b"], vectors[[3, 1]])
    store.add_vectors(setting(), ["a", "c"], vectors[[0, 2]])
    ids, read = Store(tmp_path, create=False).read(setting())
    assert ids == ["a", "b", "c", "d"]
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, vectors)


def test_the_whole_setting_is_in_the_tables_metadata_and_survives_compaction(tmp_path: Path) -> None:
    store, it = Store(tmp_path), setting(condition="Größe \"of\" 'it'", extra={"a": [1]})
    for number in range(25):
        store.add_vectors(it, [str(number)], np.ones((1, 2), np.float32))
    store.compact([it])
    table = lancedb.connect(tmp_path).open_table(it.name)
    assert table.stats()["fragment_stats"]["num_fragments"] == 1
    assert json.loads(table.schema.metadata[METADATA_KEY])["condition"] == it.condition
    assert table.schema.names == ["image_id", "vector", "words"]
    assert store.settings() == [it]
    assert len(store.read(it)[0]) == 25


def test_settings_by_pattern(tmp_path: Path) -> None:
    store = Store(tmp_path)
    every = [setting(), setting(dataset="birds"), setting(revision="2"), setting(condition=None)]
    for each in every:
        store.add_vectors(each, ["x"], np.ones((1, 2), np.float32))
    store.add_images("cars", None, [record("x")])
    assert store.settings() == sorted(every, key=lambda each: each.name)
    assert store.settings("birds-*") == [every[1]]
    assert store.settings("nothing*") == []


def test_a_setting_never_reads_or_writes_anothers_table(tmp_path: Path) -> None:
    Store(tmp_path).add_vectors(setting(), ["x"], np.ones((1, 2), np.float32))
    database = lancedb.connect(tmp_path)
    other = setting(revision="2")
    (tmp_path / f"{setting().name}.lance").rename(tmp_path / f"{other.name}.lance")
    assert database.open_table(other.name).count_rows() == 1
    for use in (Store(tmp_path).read, Store(tmp_path).ids):
        with pytest.raises(StoreError, match="holds another setting"):
            use(other)


def test_vectors_of_another_dimension_are_refused(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.add_vectors(setting(), ["x"], np.ones((1, 2), np.float32))
    with pytest.raises(StoreError, match="vectors of 2 dimensions, not of 3"):
        store.add_vectors(setting(), ["y"], np.ones((1, 3), np.float32))


NASTY = ["it's", 'a"b', "new\nline", "ünï/コ.png", "' OR '1'='1", "--;%_\\"]


def test_names_that_would_break_a_query(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.add_images("it's", "/a'b", [record(name) for name in NASTY])
    store.add_images("it's", "/other", [record("it's")])
    assert store.thumbnails("it's", NASTY, source="/a'b") == {name: name.encode() for name in NASTY}
    assert store.thumbnails("it's", NASTY, source="/other") == {"it's": b"it's"}
    assert store.thumbnails("it's", ["' OR TRUE --"], source="/a'b") == {}
    store.replace_failures("it's", "/a'b", dict.fromkeys(NASTY, "why's"))
    store.replace_failures("it's", "/other", {"x": "y"})
    assert store.failures("it's", source="/a'b") == dict.fromkeys(NASTY, "why's")
    store.replace_failures("it's", "/a'b", {})
    assert store.failures("it's", source="/a'b") == {}
    assert store.failures("it's", source="/other") == {"x": "y"}


def test_forget_takes_an_image_from_its_source_only(tmp_path: Path) -> None:
    store, here, there = Store(tmp_path), setting(source="/here"), setting(source="/there")
    for each in (here, there):
        store.add_vectors(each, NASTY, np.ones((len(NASTY), 2), np.float32))
        store.add_images("cars", each.source, [record(name) for name in NASTY])
    store.forget("cars", "/here", NASTY[:2])
    assert store.read(here)[0] == sorted(NASTY[2:])
    assert store.read(there)[0] == sorted(NASTY)
    assert set(store.thumbnails("cars", NASTY, source="/here")) == set(NASTY[2:])


def test_source_root(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.source_root(setting(source="/photos")) == "/photos"
    assert store.source_root(setting()) is None
    store.add_images("cars", None, [record("a/b.png", "/data/cars/a/b.png")])
    assert store.source_root(setting()) == "/data/cars"


def test_two_writers(tmp_path: Path) -> None:
    with Store(tmp_path).writing():
        with pytest.raises(StoreError, match="another job is writing"), Store(tmp_path).writing():
            pass
        assert Store(tmp_path).settings() == []
    with Store(tmp_path).writing():
        pass


def test_bad_places(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="is a file"):
        Store(tmp_path / "file")
    with pytest.raises(StoreError, match="there is no database"):
        Store(tmp_path / "missing", create=False)
    assert not (tmp_path / "missing").exists()
    with pytest.raises(StoreError, match="cannot be opened"):
        Store("/proc/nowhere/db")
    with pytest.raises(StoreError, match=f"has no setting {setting().name}"):
        Store(tmp_path).read(setting())


@pytest.mark.parametrize("part", ["_versions", "data"])
def test_a_damaged_table_is_one_line(tmp_path: Path, part: str) -> None:
    Store(tmp_path).add_vectors(setting(), ["x"], np.ones((1, 2), np.float32))
    for file in (tmp_path / f"{setting().name}.lance" / part).iterdir():
        file.write_bytes(b"garbage")
    with pytest.raises(StoreError, match=setting().name) as error:
        Store(tmp_path).read(setting())
    assert "\n" not in str(error.value)
    assert ".rs:" not in str(error.value)


def test_a_disk_that_takes_no_more_keeps_what_was_committed(tmp_path: Path) -> None:
    """A limit on the size of files stands for a full disk: writes fail in the middle of a commit."""
    program = """
import resource, signal, sys
import numpy as np
from test_store import Store, StoreError, setting
store = Store(sys.argv[1])
store.add_vectors(setting(), ["x"], np.ones((1, 2), np.float32))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    store.add_vectors(setting(), [str(i) for i in range(100_000)], np.random.rand(100_000, 2).astype(np.float32))
except StoreError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
        timeout=120,
        check=True,
    )
    assert setting().name in done.stdout
    assert len(done.stdout.splitlines()) == 1
    assert Store(tmp_path).read(setting())[0] == ["x"]
