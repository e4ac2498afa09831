import json
import re
import subprocess
import sys
from pathlib import Path

import lancedb
import numpy as np
import pytest

from conditional_image_embeddings.collection.storage.store import METADATA_KEY, ImageRecord, Store
from conditional_image_embeddings.errors import StoreError
from conditional_image_embeddings.inputs.encoded import FileStat
from conditional_image_embeddings.methods.settings import Setting


def setting(**changes: object) -> Setting:
    return Setting(**{"dataset": "cars", "method": "dior", "model": "some/Model", "condition": "car color", **changes})


def record(image_id: str, path: str | None = None) -> ImageRecord:
    return ImageRecord(
        image_id=image_id, width=4, height=3, content_hash="0", place=FileStat(path, 1, 2), thumbnail=image_id.encode()
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


QWEN = "Qwen/Qwen2.5-VL-7B-Instruct"
LAYER = {"layer": -1, "token": -1, "embedding_source": "input_last", "prompt_type": "describe", "model": QWEN}
ANSWERS = {
    "text_encoder": "sentence-transformers/sentence-t5-base", "text_encoder_revision": "1", "max_new_tokens": 16
}  # fmt: skip
CLIP = "openai/clip-vit-large-patch14"
PAPERS = {  # the folders of the paper's code, and what they are here
    "cub200-Qwen_Qwen2.5-VL-7B-Instruct-describe-bird_species-num_layer=-1-num_token=-1-embedsrc=input_last": setting(
        dataset="cub200", condition="bird species", **LAYER
    ),
    "movie_posters-Qwen_Qwen2.5-VL-7B-Instruct-describe-movie's_production_country-num_layer=-1-num_token=-1"
    "-embedsrc=mean_output-gen_max_new_tokens=16-sample-temp=0.70": setting(
        dataset="movie_posters", condition="movie's production country",
        **{**LAYER, "embedding_source": "mean_output"}, extra={"max_new_tokens": 16, "temperature": 0.7, "seed": 42},
    ),
    "cub200-Qwen_Qwen2.5-VL-7B-Instruct-describe-None-embedsrc=generative-sentence-transformers_sentence-t5-base"
    "-max_tokens=16": setting(
        dataset="cub200", condition=None, method="generative", model=QWEN, prompt_type="describe", extra=ANSWERS
    ),
    "cub200-openai_clip-vit-large-patch14-indirect-bird_species-num_components=128": setting(
        dataset="cub200", condition="bird species", method="indirect", model=CLIP,
        extra={"components": 128, "solver": "adam", "seed": 42, "texts": "2, ab"},
    ),
    "cub200-openai_clip-vit-large-patch14-*embedsrc=clip": setting(
        dataset="cub200", condition=None, method="clip", model=CLIP
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("papers"))
    for each in PAPERS.values():
        store.add_vectors(each, ["x"], np.ones((1, 2), np.float32))
    return store


@pytest.mark.parametrize("folder", PAPERS)
def test_the_papers_folders_find_their_settings(papers: Store, folder: str) -> None:
    assert papers.settings(folder) == [PAPERS[folder]]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*num_layer=-1*", 2), ("*num_layer=*-embedsrc=input_last", 1), ("*-None-*", 2), ("*None*", 2),
        ("*-max_tokens=16", 1), ("*num_components=128", 1), ("*components_64*", 0),
        ("*movie's production country*", 1), ("cub200-*", 4), ("cub200-openai/*", 2), ("*sentence-t5*", 1),
    ],
)  # fmt: skip
def test_patterns_may_be_written_as_the_papers(papers: Store, pattern: str, found: int) -> None:
    assert len(papers.settings(pattern)) == found


def first_name(it: Setting) -> str:
    """What tables were called before names said components and token limits."""
    parts = [it.dataset, it.model, *([it.method] if it.method not in {"dior", "clip"} else [])]
    parts += [it.extra["text_encoder"]] if "text_encoder" in it.extra else []
    parts += [it.prompt_type] if it.prompt_type else []
    parts.append("none" if it.condition is None else it.condition)
    parts += [f"num_layer_{it.layer}", f"num_token_{it.token}", f"embedsrc_{it.embedding_source}"] if it.layer else []
    return "-".join(re.sub(r"[^A-Za-z0-9_.-]+", "_", part) for part in parts)[:160] + f"-{it.digest}"


def test_tables_with_an_older_name_are_found_continued_and_never_doubled(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for number, each in enumerate(PAPERS.values()):
        store.add_vectors(each, ["x"], np.full((1, 2), number, np.float32))
        if each.name != first_name(each):
            (tmp_path / f"{each.name}.lance").rename(tmp_path / f"{first_name(each)}.lance")
    older = set(lancedb.connect(tmp_path).list_tables().tables)
    assert len(older - {each.name for each in PAPERS.values()}) >= 3
    store = Store(tmp_path)
    assert len(store.settings()) == len(PAPERS)
    for number, (folder, each) in enumerate(PAPERS.items()):
        assert store.settings(folder) == store.settings(first_name(each)) == [each]
        assert store.read(each)[1].tolist() == [[number, number]]
        assert len(store.ids(each)) == 1
        store.add_vectors(each, ["y"], np.ones((1, 2), np.float32), words=[None])
        store.add_words(each, ["y"], [[("red", 0.5)]])
        assert store.words(each) == {"x": None, "y": [("red", 0.5)]}
    store.compact(PAPERS.values())
    store.forget("cub200", None, ["x"])
    first = next(iter(PAPERS.values()))
    assert store.read(first)[0] == ["y"]
    store.replace_vectors(first, iter([(["z"], np.ones((1, 2), np.float32))]))
    assert store.read(first)[0] == ["z"]
    assert set(lancedb.connect(tmp_path).list_tables().tables) == older


def test_a_digest_alone_is_no_setting(tmp_path: Path) -> None:
    """Another setting's table that ends in this one's digest is another's."""
    store = Store(tmp_path)
    store.add_vectors(setting(revision="2"), ["x"], np.ones((1, 2), np.float32))
    (tmp_path / f"{setting(revision='2').name}.lance").rename(tmp_path / f"cars-{setting().digest}.lance")
    assert len(Store(tmp_path).ids(setting())) == 0


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
import os, resource, signal, sys
import numpy as np
from test_store import Store, StoreError, setting
store = Store(sys.argv[1])
store.add_vectors(setting(), ["x"], np.ones((1, 2), np.float32))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    store.add_vectors(setting(), [str(i) for i in range(100_000)], np.random.rand(100_000, 2).astype(np.float32))
except StoreError as error:
    print(error, flush=True)
os._exit(0)  # threads of lance may still let go of what they were given: not while Python ends (seen: an abort)
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


def test_what_vectors_were_fitted_with_comes_back_as_it_was(tmp_path: Path) -> None:
    store, generator = Store(tmp_path), np.random.default_rng(0)
    fitted = {"mean": generator.normal(size=5), "matrix": generator.normal(size=(2, 5)).astype(np.float32)}
    for each in (setting(), setting(condition="shape")):
        store.replace_vectors(each, iter([(["x"], np.ones((1, 2), np.float32))]), fitted=fitted)
    store.add_vectors(setting(condition=None), ["x"], np.ones((1, 2), np.float32), fitted={"scale": np.float32(2)})
    store.add_vectors(setting(revision="2"), ["x"], np.ones((1, 2), np.float32))
    for each in (setting(), setting(condition="shape")):
        read = Store(tmp_path).fitted(each)
        assert {name: array.dtype for name, array in read.items()} == {"mean": np.float64, "matrix": np.float32}
        for name, array in read.items():
            np.testing.assert_array_equal(array, fitted[name])
    assert store.fitted(setting(condition=None)) == {"scale": np.float32(2)}
    assert store.fitted(setting(revision="2")) == {}
    assert store.settings("*") == sorted(store.settings(), key=lambda each: each.name)
    for other in ({}, {"mean": fitted["mean"] + 1, "matrix": fitted["matrix"]}):
        with pytest.raises(StoreError, match="fitted on something else"):
            store.add_vectors(setting(), ["y"], np.ones((1, 2), np.float32), fitted=other)
    store.add_vectors(setting(), ["y"], np.ones((1, 2), np.float32), fitted=fitted)
    assert store.read(setting())[0] == ["x", "y"]


def test_arrays_that_nothing_was_fitted_with_any_more_are_removed(tmp_path: Path) -> None:
    store, rows = Store(tmp_path), (["x"], np.ones((1, 2), np.float32))
    with store.writing():
        for number in range(4):
            store.replace_vectors(setting(), iter([rows]), fitted={"mean": np.full(3, number)})
            store.replace_vectors(setting(condition="shape"), iter([rows]), fitted={"mean": np.zeros(3)})
    assert lancedb.connect(tmp_path).open_table("fitted").count_rows() == 2
    np.testing.assert_array_equal(store.fitted(setting())["mean"], np.full(3, 3))
    store._db.drop_table("fitted")
    with pytest.raises(StoreError, match="what it was fitted with is not in the table"):
        store.fitted(setting())


def test_a_table_says_with_which_versions_it_was_begun(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.add_vectors(setting(), ["x"], np.ones((1, 2), np.float32))
    store.replace_vectors(setting(condition=None), iter([(["x"], np.ones((1, 2), np.float32))]))
    for each in store.settings():
        assert store.information(each).keys() == {"conditional-image-embeddings", "transformers", "torch", "pillow"}
    lancedb.connect(tmp_path).create_table(
        setting(revision="1").name,
        schema=store._table_to_read(setting()).schema.with_metadata(
            {METADATA_KEY: setting(revision="1").to_json().encode()}
        ),
    )
    assert store.information(setting(revision="1")) == {}  # an older table does not know
