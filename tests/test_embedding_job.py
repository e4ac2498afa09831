import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from color_embedder import ColorEmbedder, draw
from color_jobs import COLOR, counts, run
from PIL import Image

from conditional_image_embeddings.collection.job import pending_rows
from conditional_image_embeddings.collection.job.embedding_job import run_job
from conditional_image_embeddings.collection.storage.store import Store
from conditional_image_embeddings.datasets import Benchmark
from conditional_image_embeddings.errors import ModelError
from conditional_image_embeddings.inputs.sources import find
from conditional_image_embeddings.methods import load
from conditional_image_embeddings.methods.request import Embedded, Request


def test_each_image_once_under_each_condition_and_layer(store: Store, folder: Path) -> None:
    embedder, request = ColorEmbedder(), Request(conditions=("color", None), layers=(1, 2))
    report = run(store, folder, request, embedder)
    assert counts(report) == [(12, 0, 0)] * 4
    assert [(each.setting.condition, each.setting.layer) for each in report.settings] == [
        ("color", 1), ("color", 2), (None, 1), (None, 2),
    ]  # fmt: skip
    files = sorted(folder.iterdir())
    for index, each in enumerate(report.settings):
        ids, vectors = store.read(each.setting)
        assert ids == [file.name for file in files]
        for file, vector in zip(files, vectors, strict=True):
            expected = embedder.one(embedder.prepare(Image.open(file), request), request).reshape(4, 8)[index]
            np.testing.assert_array_equal(vector, expected)


def test_the_images_are_described(store: Store, folder: Path) -> None:
    turned = Image.new("RGB", (40, 20), "red")
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(folder / "turned.jpg", exif=exif)
    run(store, folder)
    import lancedb

    row = lancedb.connect(store.uri).open_table("images").search().where("image_id = 'turned.jpg'").to_list()[0]
    assert (row["width"], row["height"]) == (20, 40)
    assert (row["dataset"], row["source"], row["path"]) == ("images", str(folder), str(folder / "turned.jpg"))
    assert store.thumbnails("images", ["turned.jpg"], source=str(folder)) == {"turned.jpg": row["thumbnail"]}


def test_a_finished_job_does_not_touch_the_model(store: Store, folder: Path) -> None:
    class NoModel(ColorEmbedder):
        def prepare(self, image: object, request: object) -> object:  # type: ignore[override]
            raise AssertionError

    run(store, folder)
    assert counts(run(store, folder, embedder=NoModel())) == [(0, 12, 0)]


def test_only_what_is_missing_is_embedded(store: Store, folder: Path) -> None:
    run(store, folder)
    draw(folder / "new", 3)
    embedder = ColorEmbedder()
    report = run(store, folder, Request(conditions=("color", "shape")), embedder)
    assert counts(report) == [(3, 12, 0), (15, 0, 0)]
    assert {request.conditions for request in embedder.requests} == {("shape",), ("color", "shape")}
    assert embedder.images == 15
    for each in report.settings:
        assert len(set(store.read(each.setting)[0])) == len(store.read(each.setting)[0]) == 15


def test_words_are_added_to_what_was_stored_without(store: Store, folder: Path) -> None:
    told = replace(COLOR, top_words=2)
    (setting,) = (each.setting for each in run(store, folder).settings)
    before = store.read(setting)
    draw(folder / "new", 3)
    (folder / "00000.png").unlink()
    (folder / "00000.png").write_bytes(b"")  # its vector goes, as what it was of is gone
    (folder / "broken.png").write_bytes(b"")
    embedder = ColorEmbedder()
    (report,) = run(store, folder, told, embedder).settings
    assert (report.embedded, report.already_there, report.words_added, report.failed) == (3, 11, 11, 2)
    assert embedder.images == 14
    ids, vectors = store.read(setting)
    assert len(ids) == len(set(ids)) == 14
    np.testing.assert_array_equal(vectors[:11], before[1][1:])
    words = store.words(setting)
    for image_id in ids:
        ((word, brightness),) = words[image_id]
        mean = embedder.prepare(Image.open(folder / image_id), told).mean()
        assert (word, round(brightness, 2)) == ("bright" if mean > 0.5 else "dark", round(float(mean), 2))
    idle = ColorEmbedder()
    for request in (told, COLOR, replace(told, top_words=9)):  # words that are there stay
        (again,) = run(store, folder, request, idle).settings
        assert (again.embedded, again.already_there, again.words_added) == (0, 14, 0)
    assert idle.images == 0


def test_only_settings_without_words_get_them(store: Store, folder: Path) -> None:
    told = replace(COLOR, top_words=2)
    run(store, folder, told)
    report = run(store, folder, Request(conditions=("shape",)))
    run(store, folder, replace(told, conditions=("size",)))
    embedder = ColorEmbedder()
    three = run(store, folder, replace(told, conditions=("color", "shape", "size", "age")), embedder).settings
    assert [(each.embedded, each.words_added) for each in three] == [(0, 0), (0, 12), (0, 0), (12, 0)]
    assert {request.conditions for request in embedder.requests} == {("shape", "age")}
    assert None not in store.words(report.settings[0].setting).values()


def test_words_added_before_an_error_are_kept(store: Store, folder: Path) -> None:
    class Fails(ColorEmbedder):
        def forward_batch(self, batch: object, request: Request) -> list[Embedded]:  # type: ignore[override]
            if self.images >= 6:
                raise KeyboardInterrupt
            return super().forward_batch(batch, request)  # type: ignore[arg-type]

    (setting,) = (each.setting for each in run(store, folder).settings)
    told = replace(COLOR, top_words=2)
    with pytest.raises(KeyboardInterrupt):
        run_job(store, find([folder])[0], Fails(), told, batch_size=3)
    assert sum(words is not None for words in store.words(setting).values()) == 6
    (report,) = run(store, folder, told).settings
    assert (report.embedded, report.already_there, report.words_added) == (0, 12, 6)


def test_an_embedder_without_words_is_not_asked_for_them(store: Store, folder: Path) -> None:
    class Silent(ColorEmbedder):
        has_words = False

    run(store, folder)
    idle = Silent()
    assert counts(run(store, folder, replace(COLOR, top_words=2), idle)) == [(0, 12, 0)]
    assert idle.images == 0


def test_a_condition_given_twice_is_one(store: Store, folder: Path) -> None:
    assert counts(run(store, folder, Request(conditions=("color", "color"), layers=(1, 1)))) == [(12, 0, 0)]
    assert len(store.read(store.settings()[0])[0]) == 12


def test_unreadable_images_are_listed_and_tried_again(store: Store, folder: Path) -> None:
    (folder / "bad.png").write_bytes(b"no image")
    (folder / "gone.png").symlink_to("nowhere")
    report = run(store, folder)
    assert counts(report) == [(12, 0, 2)]
    assert set(report.failures) == {"bad.png", "gone.png"}
    assert store.failures("images", source=str(folder)) == report.failures
    assert all("\n" not in reason for reason in report.failures.values())
    Image.new("RGB", (5, 5)).save(folder / "bad.png")
    report = run(store, folder)
    assert counts(report) == [(1, 12, 1)]
    assert set(store.failures("images", source=str(folder))) == {"gone.png"}


def test_a_heic_without_its_extra_is_listed_and_the_rest_is_done(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pillow_heif

    pillow_heif.from_pillow(Image.new("RGB", (64, 48), "red")).save(folder / "a.heic")
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "pillow_heif", None)
        report = run(store, folder)
    assert counts(report) == [(12, 0, 1)]
    assert "pip install 'conditional-image-embeddings[heif]'" in report.failures["a.heic"]
    assert counts(run(store, folder)) == [(1, 12, 0)]
    import lancedb

    row = lancedb.connect(store.uri).open_table("images").search().where("image_id = 'a.heic'").to_list()[0]
    assert (row["width"], row["height"]) == (64, 48)


def test_changed_files_are_embedded_again_under_every_setting(store: Store, folder: Path) -> None:
    both = Request(conditions=("color", "shape"))
    before = run(store, folder, both)
    Image.new("RGB", (24, 16), "red").save(folder / "00003.png")
    os.utime(folder / "00004.png", ns=(1, 1))  # another time, the same content
    embedder = ColorEmbedder()
    assert counts(run(store, folder, COLOR, embedder)) == [(1, 11, 0)]
    color, shape = (each.setting for each in before.settings)
    assert len(store.read(color)[0]) == 12
    assert "00003.png" not in store.read(shape)[0]  # a vector of what the file was would be wrong
    assert counts(run(store, folder, both)) == [(0, 12, 0), (1, 11, 0)]
    assert counts(run(store, folder, both)) == [(0, 12, 0)] * 2


def test_folders_of_one_name_are_kept_apart(store: Store, tmp_path: Path) -> None:
    first = run(store, draw(tmp_path / "a" / "images", 2))
    second = run(store, draw(tmp_path / "b" / "images", 3))
    assert (counts(first), counts(second)) == ([(2, 0, 0)], [(3, 0, 0)])
    assert first.settings[0].setting.name != second.settings[0].setting.name


def test_a_benchmark_is_the_same_wherever_it_lies(store: Store, folder: Path) -> None:
    def benchmark(root: Path) -> Benchmark:
        return Benchmark(name="cars", root=str(root), images={p.name: p for p in root.iterdir()}, labels={})

    report = run_job(store, benchmark(folder), ColorEmbedder(), COLOR)
    assert report.settings[0].setting.source is None
    assert store.source_root(report.settings[0].setting) == str(folder)
    moved = folder.rename(folder.with_name("moved"))
    assert counts(run_job(store, benchmark(moved), ColorEmbedder(), COLOR)) == [(0, 12, 0)]
    assert store.source_root(report.settings[0].setting) == str(moved)


def test_hard_names_and_same_stems(store: Store, tmp_path: Path) -> None:
    names = ["it's.png", "a b.png", "new\nline.png", 'q".png', "ü.png", "a.png", "a.jpg", "sub/a.png"]
    for name in names:
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "in" / name)
    assert counts(run(store, tmp_path / "in")) == [(8, 0, 0)]
    assert counts(run(store, tmp_path / "in")) == [(0, 8, 0)]
    assert store.read(store.settings()[0])[0] == sorted(names)


def test_a_table_of_images(store: Store, folder: Path, tmp_path: Path) -> None:
    data = [file.read_bytes() for file in sorted(folder.iterdir())]
    pq.write_table(pa.table({"id": range(13), "image": [*data, None]}), tmp_path / "t.parquet")
    report = run(store, tmp_path / "t.parquet")
    assert counts(report) == [(12, 0, 1)]
    assert list(report.failures) == ["12"]
    assert counts(run(store, tmp_path / "t.parquet")) == [(0, 12, 1)]
    np.testing.assert_array_equal(
        store.read(report.settings[0].setting)[1][0], store.read(run(store, folder).settings[0].setting)[1][0]
    )


def test_values_that_are_not_finite_are_not_stored(store: Store, folder: Path) -> None:
    class Overflow(ColorEmbedder):
        def forward_batch(self, batch: object, request: Request) -> list[Embedded]:  # type: ignore[override]
            return [Embedded(each.vectors * np.float32(np.nan)) for each in super().forward_batch(batch, request)]  # type: ignore[arg-type]

    with pytest.raises(ModelError, match="not finite"):
        run(store, folder, embedder=Overflow())
    assert store.settings() == []


def test_what_was_made_before_an_error_is_kept(store: Store, folder: Path) -> None:
    class Fails(ColorEmbedder):
        def forward_batch(self, batch: object, request: Request) -> list[Embedded]:  # type: ignore[override]
            if self.images >= 6:
                raise KeyboardInterrupt
            return super().forward_batch(batch, request)  # type: ignore[arg-type]

    with pytest.raises(KeyboardInterrupt):
        run_job(store, find([folder])[0], Fails(), COLOR, batch_size=3)
    assert counts(run(store, folder)) == [(6, 6, 0)]


def test_rows_are_committed_in_bounded_pieces(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits in memory does not depend on how many images there are: here 500, never drawn all at once."""

    class Endless:
        dataset, root = "many", "/many"

        def references(self) -> Iterator[tuple[str, int]]:
            return ((str(index), index) for index in range(500))

        def open(self, references: Iterable[tuple[str, int]]) -> Iterator[tuple[str, Image.Image]]:
            for image_id, index in references:
                drawn.append(index)
                yield image_id, Image.new("RGB", (8, 8), (index % 256, 0, 0))

        def stat(self, reference: int) -> None:
            return None

    drawn: list[int] = []
    pieces: list[tuple[int, int]] = []
    add_vectors = Store.add_vectors

    def watched(self: Store, setting: object, image_ids: list[str], vectors: object, **words: object) -> None:
        pieces.append((len(image_ids), len(drawn)))
        add_vectors(self, setting, image_ids, vectors, **words)  # type: ignore[arg-type]

    monkeypatch.setattr(pending_rows, "COMMIT_ROWS", 50)
    monkeypatch.setattr(Store, "add_vectors", watched)
    assert counts(run_job(store, Endless(), ColorEmbedder(), COLOR)) == [(500, 0, 0)]
    assert [size for size, _ in pieces] == [50] * 10
    assert pieces[0][1] < 400  # no more than a group is drawn ahead


@pytest.mark.parametrize("model", ["builtin", "builtin-clip", "pixels"])
def test_what_is_stored_is_what_encode_gives(store: Store, folder: Path, model: str) -> None:
    embedder = load(model)
    conditions = ("car color", None) if embedder.conditional else (None,)
    (source,) = find([folder])
    report = run_job(store, source, embedder, Request(conditions=conditions))
    files = sorted(folder.iterdir())
    expected = embedder.encode(files, conditions if embedder.conditional else None)
    for index, each in enumerate(report.settings):
        ids, vectors = store.read(each.setting)
        assert ids == [file.name for file in files]
        np.testing.assert_allclose(vectors, expected[:, index] if embedder.conditional else expected, atol=1e-5)
