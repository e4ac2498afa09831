"""Export and import: what leaves comes back as it was; what other tools made comes in, named and never mixed."""

import base64
import json
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from color_embedder import draw
from color_jobs import counts, run
from commands import cie, error_of
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import conditional_image_embeddings
from conditional_image_embeddings.collection.exchange import neighbors as nearest
from conditional_image_embeddings.collection.exchange.exporting import export
from conditional_image_embeddings.collection.exchange.formats import FORMATS
from conditional_image_embeddings.collection.exchange.importing import import_vectors
from conditional_image_embeddings.collection.exchange.reference_names import name_of, parse
from conditional_image_embeddings.collection.projection import principal_components
from conditional_image_embeddings.collection.refinement import refine
from conditional_image_embeddings.collection.storage.store import Store
from conditional_image_embeddings.errors import OptionError, SettingError, StoreError
from conditional_image_embeddings.methods.request import Request
from conditional_image_embeddings.methods.settings import Setting
from conditional_image_embeddings.vectors import unit

CONDITIONS = Request(conditions=("car color", "shape", None), top_words=1)
LOSSLESS = [each.name for each in FORMATS.values() if each.comes_back]
DIOR = Setting(
    dataset="photos", source="/photos", method="dior", model="owner/model", prompt_type="describe",
    condition="car color", layer=-1, token=-1, embedding_source="input_last",
)  # fmt: skip
PAPERS = "cub200-Qwen_Qwen2.5-VL-7B-Instruct-describe-bird_species-num_layer=-1-num_token=-1-embedsrc=input_last"


@pytest.fixture
def cars(store: Store, folder: Path) -> Store:
    """A dozen pictures under three conditions, with words."""
    run(store, folder, CONDITIONS)
    return store


def target_of(name: str, folder: Path) -> Path:
    suffix = FORMATS[name].suffix
    return folder / f"exported{'' if suffix is None or FORMATS[name].is_folder_too else suffix}"


def content(store: Store) -> dict[str, Any]:
    """All that a database says of its settings."""
    found = {}
    for setting in store.settings():
        ids, vectors = store.read(setting)
        fitted = {name: array.tolist() for name, array in store.fitted(setting).items()}
        found[setting.name] = (
            setting, ids, vectors.tobytes(), store.words(setting), store.information(setting), fitted,
        )  # fmt: skip
    return found


def known(store: Store, setting: Setting) -> dict[str, Any]:
    """What it says of the images, but for their thumbnails."""
    rows = store.image_rows(setting.dataset, setting.source, store.image_ids(setting))
    return {image_id: {**row, "thumbnail": None} for image_id, row in rows.items()}


probabilities = st.floats(0, 1, width=32, allow_subnormal=False)
numbers = st.floats(-(2.0**126), 2.0**126, width=32, allow_subnormal=False)
words = st.none() | st.lists(st.tuples(st.text(max_size=5), probabilities), max_size=3)
rows = st.dictionaries(st.from_regex(r"[\w' \"%-]{1,12}\.jpg", fullmatch=True), words, min_size=1, max_size=6)


@settings(max_examples=12)
@pytest.mark.parametrize("name", LOSSLESS)
@given(rows=rows, data=st.data())
def test_what_leaves_comes_back_bit_by_bit(
    name: str, rows: dict[str, Any], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = tmp_path_factory.mktemp("exchange")
    vectors = data.draw(arrays(np.float32, (len(rows), 3), elements=numbers))
    one, other = Store(place / "one"), Store(place / "other")
    one.add_vectors(DIOR, list(rows), vectors, list(rows.values()))
    export(one, target_of(name, place), name)
    report = import_vectors(other, target_of(name, place), name)
    assert not report.bad
    assert content(other) == content(one)


@pytest.mark.parametrize("name", ["npy", "parquet", "jsonl"])  # the paper's folders know the paper's methods only
def test_all_conditions_and_what_is_known_of_images_come_back(name: str, tmp_path: Path, cars: Store) -> None:
    export(cars, target_of(name, tmp_path), name)
    other = Store(tmp_path / "other")
    report = import_vectors(other, target_of(name, tmp_path), name)
    assert [(each.imported, each.already_there) for each in report.settings] == [(12, 0)] * 3
    assert content(other) == content(cars)
    assert known(other, other.settings()[0]) == known(cars, cars.settings()[0])
    again = import_vectors(other, target_of(name, tmp_path), name)
    assert [(each.imported, each.already_there) for each in again.settings] == [(0, 12)] * 3


def test_a_job_finds_an_imported_collection_finished(tmp_path: Path, cars: Store, folder: Path) -> None:
    export(cars, tmp_path / "exported", "parquet")
    other = Store(tmp_path / "other")
    import_vectors(other, tmp_path / "exported", "parquet")
    assert counts(run(other, folder, CONDITIONS)) == [(0, 12, 0)] * 3
    assert other.thumbnails("images", ["00000.png"], source=str(folder)) == cars.thumbnails(
        "images", ["00000.png"], source=str(folder)
    )


@pytest.mark.parametrize("name", ["parquet", "jsonl", "npy"])
def test_what_vectors_were_fitted_with_comes_along(name: str, tmp_path: Path, cars: Store) -> None:
    refine(cars, cars.settings("*car_color*"), whiten=True, dimensions=3)
    export(cars, target_of(name, tmp_path), name, setting="*refined*")
    other = Store(tmp_path / "other")
    import_vectors(other, target_of(name, tmp_path), name)
    (setting,) = other.settings()
    assert content(other) == {setting.name: content(cars)[setting.name]}
    assert other.fitted(setting).keys() == {"mean", "matrix", "dimensions"}


def test_fitted_arrays_that_would_be_unpickled_or_unpacked_are_refused(tmp_path: Path, cars: Store) -> None:
    refine(cars, cars.settings("*car_color*"))
    export(cars, tmp_path / "exported", "parquet", setting="*refined*")
    (file,) = (tmp_path / "exported").glob("*.npz")
    np.savez(file, mean=np.array([{}], object))
    with pytest.raises(OptionError, match=r"fitted-\w+\.npz cannot be read"):
        import_vectors(Store(tmp_path / "other"), tmp_path / "exported", "parquet")
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mean.npy", b"\0" * 10_000_000)
    with pytest.raises(OptionError, match="no file of fitted arrays"):
        import_vectors(Store(tmp_path / "other"), tmp_path / "exported", "parquet")


def test_conditions_settings_and_a_filter_choose(tmp_path: Path, cars: Store, folder: Path) -> None:
    done = export(cars, tmp_path / "one.jsonl", "jsonl", conditions=["CAR color", None], where="image_id < '00003.png'")
    assert [(each.condition, done.vectors[each.name]) for each in done.settings] == [("car color", 3), (None, 3)]
    told = [json.loads(line) for line in (tmp_path / "one.jsonl").read_text().splitlines()]
    assert [(each["condition"], each["image_id"]) for each in told[:4]] == [
        ("car color", "00000.png"), ("car color", "00001.png"), ("car color", "00002.png"), (None, "00000.png"),
    ]  # fmt: skip
    assert told[0]["path"] == str(folder / "00000.png")
    with pytest.raises(StoreError, match=r"no vectors under 'fabric'.*cie embed"):
        export(cars, tmp_path / "two.jsonl", "jsonl", conditions=["car color", "fabric"])
    with pytest.raises(OptionError, match="no image fits"):
        export(cars, tmp_path / "two.jsonl", "jsonl", where="width > 5000")


def test_a_parquet_file_holds_one_setting_and_opens_anywhere(tmp_path: Path, cars: Store) -> None:
    with pytest.raises(OptionError, match="a Parquet file holds one setting, and 3 are chosen"):
        export(cars, tmp_path / "cars.parquet", "parquet")
    with conditional_image_embeddings.open(cars.uri) as collection:
        collection.export(tmp_path / "cars.parquet", "parquet", conditions="car color")
        collection.export(tmp_path / "all", "parquet")
    table = pq.read_table(tmp_path / "cars.parquet")
    assert table.column_names[:4] == ["image_id", "condition", "vector", "words"]
    assert table.schema.field("vector").type == pa.list_(pa.float32(), 8)
    assert {path.name for path in (tmp_path / "all").iterdir()} == {
        "car_color.parquet",
        "shape.parquet",
        "none.parquet",
    }


def test_a_target_is_whole_or_not_there_and_nothing_else_is_removed(tmp_path: Path, cars: Store) -> None:
    place = tmp_path / "exports" / "npy"
    export(cars, place, "npy", conditions=["shape"])
    with pytest.raises(OptionError, match="is there already"):
        export(cars, place, "npy", conditions=["car color"])
    export(cars, place, "npy", conditions=["car color"], overwrite=True)
    (place / "notes.txt").write_text("mine")
    with pytest.raises(OptionError, match=r"holds what this export does not write \(notes.txt\)"):
        export(cars, place, "npy", conditions=["shape"], overwrite=True)
    assert (place / "notes.txt").read_text() == "mine"
    with pytest.raises(OptionError, match="the paper's code has no such vectors"):
        export(cars, tmp_path / "exports" / "reference", "reference")
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(OptionError, match="is a folder"):
        export(cars, tmp_path / "folder.jsonl", "jsonl", overwrite=True)
    assert [path.name for path in (tmp_path / "exports").iterdir()] == ["npy"]


def test_bad_rows_are_named_by_file_and_line_and_the_rest_comes_in(tmp_path: Path) -> None:
    good = {"vector": [1.0, 2.0], "condition": "color"}
    lines = [
        json.dumps({"image_id": "a.jpg", **good}),
        "{",
        json.dumps({"image_id": "b.jpg", "vector": [1.0, float("nan")], "condition": "color"}),
        json.dumps({"image_id": "c.jpg", "vector": [1.0, 2.0, 3.0], "condition": "color"}),
        json.dumps(good),
        json.dumps({"image_id": "a.jpg", **good}),
        json.dumps({"image_id": "d.jpg", "vector": ["x"], "condition": "color"}),
        json.dumps({"image_id": "e.jpg", "vector": [1e300, 0.0], "condition": "color"}),
        json.dumps({"image_id": "f.jpg", "condition": "color"}),
        "[1]",
        json.dumps({"image_id": 'it\'s "quoted".jpg', **good}),
    ]
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(lines))
    finished = cie("import", file, "--format", "jsonl", "-e", tmp_path / "db", "-m", "their/model")
    said = error_of(finished, 3)
    for number, reason in (
        (2, "is no JSON"), (3, "NaN or infinity"), (4, "has 3 dimensions"), (5, "no image id"),
        (6, "'a.jpg' is there twice"),
        (7, "no list of numbers"), (8, "NaN or infinity"), (9, "has no vector"), (10, "no JSON object"),
    ):  # fmt: skip
        assert any(f"rows.jsonl, line {number}: " in line and reason in line for line in said.splitlines()), number
    store = Store(tmp_path / "db")
    (setting,) = store.settings()
    assert (setting.method, setting.model, setting.condition) == ("imported", "their/model", "color")
    assert store.read(setting)[0] == ["a.jpg", 'it\'s "quoted".jpg']
    listed = json.loads(
        cie("import", file, "--format", "jsonl", "-e", tmp_path / "db", "-m", "their/model", "--json").stdout
    )
    assert len(listed["bad"]) == 9
    assert listed["settings"] == [{"setting": setting.name, "imported": 0, "already_there": 2}]


def clip_retrieval(place: Path, vectors: Any, paths: Sequence[str | None]) -> Path:
    """A folder as clip-retrieval writes it."""
    for folder in ("img_emb", "metadata"):
        (place / folder).mkdir(parents=True, exist_ok=True)
    np.save(place / "img_emb" / "img_emb_0.npy", vectors)
    pq.write_table(pa.table({"image_path": paths}), place / "metadata" / "metadata_0.parquet")
    return place


def test_folders_of_clip_retrieval_come_in_under_the_model_that_is_named(tmp_path: Path) -> None:
    vectors = np.arange(6, dtype=np.float16).reshape(3, 2)
    place = clip_retrieval(tmp_path / "laion", vectors, ["/x/a.jpg", "/x/b.jpg", None])
    with pytest.raises(OptionError, match="does not say which model made its vectors: name it with --model"):
        import_vectors(Store(tmp_path / "db"), place, "npy")
    report = import_vectors(Store(tmp_path / "db"), place, "npy", model="ViT-L/14", method="clip")
    assert report.bad == [f"{place}/metadata/metadata_0.parquet, row 3: has no image id"]
    store = Store(tmp_path / "db")
    (setting,) = store.settings()
    assert setting == Setting(
        dataset="laion", source=str(place), method="clip", model="ViT-L/14", extra={"imported": "npy"}
    )
    ids, stored = store.read(setting)
    assert (ids, stored.tolist()) == (["/x/a.jpg", "/x/b.jpg"], [[0, 1], [2, 3]])
    assert store.image_paths("laion", ids, source=str(place)) == {"/x/a.jpg": "/x/a.jpg", "/x/b.jpg": "/x/b.jpg"}


@pytest.mark.parametrize(
    ("vectors", "reason"),
    [
        (np.array([{}, {}], object), "cannot be read"),
        (np.zeros((3, 2), np.float32), "has 3 rows and .* 2"),
        (np.zeros(2, np.float32), "no rows of floating-point numbers"),
        (np.zeros((2, 2), np.int64), "no rows of floating-point numbers"),
    ],
)
def test_arrays_that_are_no_vectors_of_these_images_are_refused(vectors: Any, reason: str, tmp_path: Path) -> None:
    place = clip_retrieval(tmp_path / "laion", vectors, ["a.jpg", "b.jpg"])
    with pytest.raises(OptionError, match=reason):
        import_vectors(Store(tmp_path / "db"), place, "npy", model="m")


def test_parts_are_numbered_as_clip_retrieval_numbers_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: Store
) -> None:
    monkeypatch.setattr("conditional_image_embeddings.collection.exchange.npy.PART_BYTES", 2 * 4 * 2)
    vectors = np.arange(42, dtype=np.float32).reshape(21, 2)
    store.add_vectors(DIOR, [f"{row:02}.jpg" for row in range(21)], vectors)
    export(store, tmp_path / "npy", "npy")
    names = sorted(path.name for path in (tmp_path / "npy" / "img_emb").iterdir())
    assert names == [f"img_emb_{number:02}.npy" for number in range(11)]
    import_vectors(Store(tmp_path / "other"), tmp_path / "npy", "npy")
    assert content(Store(tmp_path / "other")) == content(store)


layers = st.fixed_dictionaries(
    {
        "method": st.just("dior"),
        "prompt_type": st.sampled_from(["describe", "describe_unconstraint", "convey"]),
        "condition": st.sampled_from([None, "bird species", "movie's production country", "self-made"]),
        "layer": st.integers(-40, 40),
        "token": st.integers(-9, 9),
        "embedding_source": st.sampled_from(["input_last", "first_output", "mean_output"]),
    }
)


@given(told=layers, model=st.sampled_from(["Qwen/Qwen2.5-VL-7B-Instruct", "builtin", "a/describe-red_one-b"]))
def test_a_name_of_the_papers_folders_says_what_the_setting_says(told: dict[str, Any], model: str) -> None:
    setting = Setting(dataset="cub200", model=model, **told)
    read = parse(name_of(setting))
    assert read is not None
    spelt = {**told, "condition": told["condition"] and told["condition"].replace("_", " ")}
    assert {name: read.get(name) for name in spelt} == spelt
    assert read["model"] == model


def papers(place: Path, name: str, files: dict[str, Any], **keys: Any) -> Path:
    """A folder as the paper's code writes it."""
    folder = place / name
    folder.mkdir(parents=True)
    for stem, vector in files.items():
        (folder / f"{stem}.json").write_text(json.dumps({"embedding": vector, **keys}) + "\n")
    return folder


def test_folders_of_the_papers_code_become_settings_of_their_own(tmp_path: Path) -> None:
    place = tmp_path / "embeddings"
    one = {"a": [1.0, 2.0], "b": [3.0, 4.0]}
    papers(place, PAPERS, one, prompt='Describe this image in one word regarding bird species: "', source="input_last")
    papers(place, "cub200-openai_clip-vit-large-patch14-embedsrc=clip", {"a": [[1.0, 0.0]]}, source="clip")
    papers(
        place, "movie_posters-Qwen_Q-express-movie's_production_country-embedsrc=generative-sentence-transformers_"
        "all-MiniLM-L6-v2-max_tokens=16-sample-temp=0.70", one, text_encoder="sentence-transformers/all-MiniLM-L6-v2",
        prompt="Express this image in one word in terms of movie's production country: \"",
    )  # fmt: skip
    papers(
        place, "cub200-own_er_clip-indirect-bird_species-num_components=128", one,
        clip_model="own_er/clip", aspect="bird species", source="indirect",
    )  # fmt: skip
    store = Store(tmp_path / "db")
    assert not import_vectors(store, place, "reference").bad
    found = {each.method: each for each in store.settings()}
    assert {name: store.read(each)[0] for name, each in found.items()} == {
        "dior": ["a", "b"], "clip": ["a"], "generative": ["a", "b"], "indirect": ["a", "b"],
    }  # fmt: skip
    dior, generative, indirect = found["dior"], found["generative"], found["indirect"]
    assert (dior.dataset, dior.source, dior.model) == ("cub200", None, "Qwen/Qwen2.5-VL-7B-Instruct")
    assert (dior.prompt_type, dior.condition, dior.layer, dior.token) == ("describe", "bird species", -1, -1)
    assert (dior.dtype, dior.extra) == ("bfloat16", {"image_reading": "reference", "imported": "reference"})
    assert generative.condition == "movie's production country"
    assert (generative.extra["text_encoder"], generative.extra["temperature"]) == (
        "sentence-transformers/all-MiniLM-L6-v2", 0.7,
    )  # fmt: skip
    assert (indirect.model, indirect.extra["components"]) == ("own_er/clip", 128)
    with (
        conditional_image_embeddings.open(tmp_path / "db") as collection,
        pytest.raises(SettingError, match="was imported from 'reference': another tool made its vectors"),
    ):
        collection.embedder("bird species", setting="*describe*")


def test_a_folder_whose_name_says_nothing_is_imported_by_itself_with_options(tmp_path: Path) -> None:
    folder = papers(tmp_path / "embeddings", "mine", {"a": [1.0, 2.0]})
    finished = cie("import", folder, "--format", "reference", "-e", tmp_path / "db")
    assert "not named as the paper's code names folders" in error_of(finished, 1)
    options = ("--dataset", "photos", "--method", "dior", "-m", "owner/model", "-c", "fabric")
    assert cie("import", folder, "--format", "reference", "-e", tmp_path / "db", *options).returncode == 0
    (setting,) = Store(tmp_path / "db").settings()
    assert (setting.dataset, setting.model, setting.condition) == ("photos", "owner/model", "fabric")


def test_ids_are_looked_up_in_the_images_and_a_job_leaves_what_was_imported(tmp_path: Path, folder: Path) -> None:
    draw(folder / "inner", 1)  # images/inner/00000.png: 00000 is two images now
    place = tmp_path / "embeddings"
    papers(place, "photos-m-describe-color-num_layer=-1-num_token=-1-embedsrc=input_last",
           {stem: [1.0, 2.0] for stem in ("00000", "00001", "00002", "gone")}, source="input_last")  # fmt: skip
    store = Store(tmp_path / "db")
    report = import_vectors(store, place, "reference", images=folder, dataset="images")
    assert [line.rpartition(": ")[2] for line in report.bad] == [
        "2 images are called '00000'", "no image 'gone' in --images",
    ]  # fmt: skip
    (imported,) = store.settings()
    assert (imported.source, store.read(imported)[0]) == (str(folder), ["00001.png", "00002.png"])
    assert all(row["content_hash"] and row["thumbnail"] for row in known_rows(store, imported))
    run(store, folder)
    assert store.read(imported)[0] == ["00001.png", "00002.png"]


def test_what_was_imported_is_searched_and_scored(tmp_path: Path, folder: Path) -> None:
    place = tmp_path / "embeddings"
    vectors = {f"{number:05}": [1.0, number / 100] if number < 6 else [number / 100, 1.0] for number in range(12)}
    name = "images-m-describe-color-num_layer=-1-num_token=-1-embedsrc=input_last"
    papers(place, name, vectors, source="input_last")
    import_vectors(Store(tmp_path / "db"), place, "reference", images=folder, dataset="images")
    with conditional_image_embeddings.open(tmp_path / "db") as collection:
        hits = collection.search(image_id="00000.png", conditions="color", k=1)
        assert [hit.image_id for hit in hits] == ["00001.png"]
        with pytest.raises(SettingError, match="was imported from 'reference'"):
            collection.search(text="red", conditions="color")
    labels = "".join(f"{stem}.png,{'red' if stem < '00006' else 'blue'}\n" for stem in vectors)
    (tmp_path / "labels.csv").write_text(f"image_id,color\n{labels}")
    scored = cie("evaluate", tmp_path / "db", "--labels", tmp_path / "labels.csv", "--json")
    assert scored.returncode == 0, scored.stderr
    assert [row["precision_at_1"] for row in json.loads(scored.stdout)] == [1.0]


def known_rows(store: Store, setting: Setting) -> list[dict[str, Any]]:
    return list(store.image_rows(setting.dataset, setting.source, store.image_ids(setting)).values())


def test_a_job_forgets_no_imported_vectors_of_images_that_it_did_not_know(tmp_path: Path, folder: Path) -> None:
    store = Store(tmp_path / "db")
    imported = replace(DIOR, dataset="images", source=str(folder), extra={"imported": "reference"})
    store.add_vectors(imported, ["00000.png"], np.ones((1, 2), np.float32))
    run(store, folder)
    assert store.read(imported)[0] == ["00000.png"]


def test_vectors_of_another_picture_of_that_name_are_left_out(tmp_path: Path, cars: Store, folder: Path) -> None:
    export(cars, tmp_path / "cars.jsonl", "jsonl", conditions=["shape"])
    lines = (tmp_path / "cars.jsonl").read_text().splitlines()
    told = {**json.loads(lines[0]), "content_hash": "0" * 64}
    (tmp_path / "cars.jsonl").write_text("\n".join([json.dumps(told), *lines[1:]]))
    other = Store(tmp_path / "other")
    run(other, folder)
    report = import_vectors(other, tmp_path / "cars.jsonl", "jsonl")
    assert [(each.imported, len(report.bad)) for each in report.settings] == [(11, 1)]
    assert "line 1: '00000.png' is another picture in" in report.bad[0]


@pytest.mark.parametrize("name", [each.name for each in FORMATS.values() if not each.comes_back])
def test_formats_that_are_written_only_say_so(name: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=f"{name} is written only; npy, parquet, jsonl, reference are read too"):
        import_vectors(Store(tmp_path / "db"), tmp_path, name)


@pytest.mark.parametrize("name", LOSSLESS)
def test_a_source_that_is_none_of_the_format_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    (tmp_path / "wrong").mkdir()
    (tmp_path / "wrong" / "x.parquet").write_bytes(b"PAR1 nothing")
    file = tmp_path / "wrong" / "x.parquet"
    for source in (tmp_path / "wrong", file, tmp_path / "gone"):
        finished = cie("import", source, "--format", name, "-e", tmp_path / "db")
        assert error_of(finished, 3 if (name, source) == ("jsonl", file) else 1).count("\n") == 1


@given(count=st.integers(1, 40), seed=st.integers(0, 5))
def test_neighbors_are_those_of_all_pairs(count: int, seed: int) -> None:
    vectors = unit(np.random.default_rng(seed).normal(size=(count, 5)))
    ids, distances = nearest.neighbors(vectors, 4)
    apart = 1 - vectors @ vectors.T
    np.fill_diagonal(apart, -1)
    expected = np.argsort(apart, axis=1, kind="stable")[:, :4]
    assert ids[:, 0].tolist() == list(range(count))
    exact = np.maximum(np.take_along_axis(apart, expected, 1), 0)
    np.testing.assert_allclose(distances, exact, atol=1e-6)


def test_neighbors_do_not_depend_on_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = unit(np.random.default_rng(0).normal(size=(100, 5)))
    whole = nearest.neighbors(vectors)
    monkeypatch.setattr(nearest, "BLOCK", 3)
    np.testing.assert_array_equal(nearest.neighbors(vectors)[0], whole[0])
    np.testing.assert_allclose(principal_components(vectors, 2).var(axis=0).sum(), _pca(vectors), rtol=1e-5)


def _pca(vectors: Any) -> float:
    spread = np.linalg.eigvalsh(np.cov(vectors.T, bias=True))
    return float(spread[-2:].sum())


def test_embedding_atlas_gets_a_map_with_words_neighbors_and_pictures(
    tmp_path: Path, cars: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    color, _, shape = cars.settings()
    cars.remove(shape, ["00003.png"])
    lines = export(cars, tmp_path / "atlas.parquet", "embedding-atlas", conditions=["car color", "shape"]).lines
    assert "--x x_shape --y y_shape --neighbors neighbors_shape --text words_shape" in lines[1]
    rows = pq.read_table(tmp_path / "atlas.parquet").to_pylist()
    assert [row["image_id"] for row in rows] == [f"{number:05}.png" for number in range(12)]
    assert rows[3]["x_shape"] is rows[3]["neighbors_shape"] is rows[3]["words_shape"] is None
    assert all(3 not in row["neighbors_shape"]["ids"] for row in rows if row["neighbors_shape"])
    assert rows[0]["image"].startswith("data:image/webp;base64,")
    assert rows[4]["neighbors_car_color"]["ids"][0] == 4
    _, vectors = cars.read(color)
    near = np.argsort(-(unit(vectors) @ unit(vectors)[4]))[:5]
    assert rows[4]["neighbors_car_color"]["ids"][:5] == near.tolist()
    assert rows[0]["word_car_color"] in {"bright", "dark"}


def test_hugging_faces_datasets_opens_what_is_written_for_it(tmp_path: Path, cars: Store) -> None:
    datasets = pytest.importorskip("datasets")
    cars.remove(cars.settings("*-shape-*")[0], ["00003.png"])
    export(cars, tmp_path / "hf", "huggingface")
    opened = datasets.load_dataset(str(tmp_path / "hf"), split="train", cache_dir=str(tmp_path / "cache"))
    assert set(opened.column_names) >= {"image_id", "image_path", "vector_car_color", "vector_none", "words_shape"}
    ids, vectors = cars.read(cars.settings("*car_color*")[0])
    assert opened["image_id"][:] == ids
    np.testing.assert_array_equal(np.array(opened["vector_car_color"][:], np.float32), vectors)
    assert opened[3]["vector_shape"] is None
    card = (tmp_path / "hf" / "README.md").read_text()
    assert '"condition": "car color"' in card


def test_fiftyone_gets_samples_with_vectors_words_and_an_index_per_condition(
    tmp_path: Path, cars: Store, folder: Path
) -> None:
    export(cars, tmp_path / "fiftyone", "fiftyone", conditions=["car color", "shape"])
    metadata = json.loads((tmp_path / "fiftyone" / "metadata.json").read_text())
    samples = json.loads((tmp_path / "fiftyone" / "samples.json").read_text())["samples"]
    assert [sample["filepath"] for sample in samples] == [str(folder / f"{number:05}.png") for number in range(12)]
    stored = zlib.decompress(base64.b64decode(samples[5]["vector_shape"]["$binary"]["base64"]))
    _, vectors = cars.read(cars.settings("*-shape-*")[0])
    np.testing.assert_array_equal(np.load(BytesIO(stored), allow_pickle=False), vectors[5])
    assert samples[5]["words_shape"]["label"] in {"bright", "dark"}
    described = {field["name"]: field["description"] for field in metadata["sample_fields"]}
    assert described["vector_shape"] == "color on tiny, under the condition 'shape'"
    for key, run_of in metadata["brain_methods"].items():
        assert run_of["config"]["embeddings_field"] == key.replace("similar", "vector")
        assert (tmp_path / "fiftyone" / "brain" / f"{key}.json").is_file()


def test_the_commands_say_what_was_done(tmp_path: Path, cars: Store) -> None:
    done = cie("export", cars.uri, "-o", tmp_path / "cars.jsonl", "--format", "jsonl", "-c", "shape", "--no-condition")
    assert done.stdout.count("12 vectors") == 2
    listed = cie("export", cars.uri, "-o", tmp_path / "c.jsonl", "--format", "jsonl", "-c", "shape", "--json")
    assert [(each["condition"], each["vectors"]) for each in json.loads(listed.stdout)] == [("shape", 12)]
    brought = cie("import", tmp_path / "cars.jsonl", "--format", "jsonl", "-e", tmp_path / "other")
    assert brought.stdout.count("12 imported, 0 already there") == 2
    refused = cie("export", cars.uri, "-o", tmp_path / "cars.csv", "--format", "jsonl")
    assert "jsonl writes one file: name it *.jsonl" in error_of(refused, 1)
    for each in FORMATS:
        assert each in cie("export", "--help").stdout


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ({"dataset": "d", "method": "dior", "model": "m", "source": 5}, "its setting is damaged"),
        ({"dataset": "d", "method": "dior", "model": "m", "extra": {"refined": 1}}, "its setting is damaged"),
        ({"dataset": "d", "method": "dior", "model": "m", "later": 1}, "has later, which"),
        ({"method": "dior"}, "has None as dataset"),
        ("text", "no JSON object"),
    ],
)
def test_a_setting_that_is_none_is_refused_with_its_line(setting: Any, reason: str, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps({"image_id": "a.jpg", "vector": [1.0], "setting": setting}))
    with pytest.raises(OptionError, match=f"rows.jsonl, line 1: .*{reason}"):
        import_vectors(Store(tmp_path / "db"), file, "jsonl")
