"""Files that change before, under and after a job: a vector is of the picture that `images` tells of."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pytest
from color_embedder import ColorEmbedder, draw
from color_jobs import COLOR, counts, run
from PIL import Image

from conditional_image_embeddings.collection.job.embedding_job import run_job
from conditional_image_embeddings.collection.storage import digests
from conditional_image_embeddings.collection.storage.store import Store
from conditional_image_embeddings.inputs import encoded, images
from conditional_image_embeddings.inputs.sources import find
from conditional_image_embeddings.methods.request import Request

BOTH = Request(conditions=("color", "shape"))


def assert_of_the_files(store: Store, folder: Path, request: Request = COLOR) -> None:
    """Each vector is the one of its file as it is now."""
    embedder = ColorEmbedder()
    for setting in store.settings():
        ids, vectors = store.read(setting)
        assert ids == sorted(str(file.relative_to(folder)) for file in folder.rglob("*.png"))
        own = Request(conditions=(setting.condition,))
        for image_id, vector in zip(ids, vectors, strict=True):
            expected = embedder.one(embedder.prepare(Image.open(folder / image_id), own), own)[0, 0]
            np.testing.assert_array_equal(vector, expected)


def when_reading_begins(then: Callable[[], Any]) -> ColorEmbedder:
    class Late(ColorEmbedder):
        def stream(self, *arguments: Any, **options: Any) -> Any:
            then()
            return super().stream(*arguments, **options)

    return Late()


def when_it_is_decoded(monkeypatch: pytest.MonkeyPatch, then: Callable[[], Any]) -> None:
    """Do it once, while the first image is decoded: its bytes were read, and its hash may not be known yet."""
    decode, waiting = images.load_8_bit, [then]

    def decode_and(image: Image.Image) -> Image.Image:
        if waiting:
            waiting.pop()()
        return decode(image)

    monkeypatch.setattr(images, "load_8_bit", decode_and)


def test_a_file_that_is_replaced_while_it_is_read_is_embedded_again(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = draw(tmp_path / "one", 1)
    when_it_is_decoded(monkeypatch, lambda: Image.new("RGB", (24, 16), "red").save(folder / "00000.png"))
    assert counts(run(store, folder)) == [(1, 0, 0)]
    assert counts(run(store, folder)) == [(1, 0, 0)]
    assert_of_the_files(store, folder)
    assert counts(run(store, folder)) == [(0, 1, 0)]


def test_a_file_that_is_removed_while_it_is_read_was_read(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = draw(tmp_path / "two", 2)
    when_it_is_decoded(monkeypatch, (folder / "00000.png").unlink)
    assert counts(run_job(store, find([folder])[0], ColorEmbedder(), COLOR, workers=1)) == [(2, 0, 0)]
    assert counts(run(store, folder)) == [(0, 1, 0)]


@pytest.mark.parametrize("how", ["file", "folder", "root", "becomes a folder", "link"])
def test_what_is_gone_when_its_turn_comes_is_a_failed_image(
    how: str, store: Store, folder: Path, tmp_path: Path
) -> None:
    draw(folder / "inner", 3)
    (folder / "link.png").symlink_to(tmp_path / "elsewhere.png")
    shutil.copy(folder / "00000.png", tmp_path / "elsewhere.png")

    def go() -> None:
        if how == "root":
            shutil.rmtree(folder)
        elif how == "folder":
            shutil.rmtree(folder / "inner")
        elif how == "link":
            (tmp_path / "elsewhere.png").unlink()
        else:
            (folder / "00005.png").unlink()
        if how == "becomes a folder":
            (folder / "00005.png").mkdir()

    report = run(store, folder, embedder=when_reading_begins(go))
    ((embedded, there, _),) = counts(report)
    assert there == 0
    assert embedded == {"file": 15, "folder": 13, "root": 0, "becomes a folder": 15, "link": 15}[how]
    assert all("\n" not in reason and reason for reason in report.failures.values())
    if how != "root":
        assert counts(run(store, folder))[0][:2] == (0, embedded)


def test_a_file_that_may_not_be_read_any_more_is_a_failed_image(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = encoded._open

    def refuse(path: str, flags: int) -> int:
        if str(path).endswith("00007.png"):
            raise PermissionError(13, "Permission denied")
        return opened(path, flags)

    with monkeypatch.context() as changed:
        changed.setattr(encoded, "_open", refuse)
        report = run(store, folder)
    assert counts(report) == [(11, 0, 1)]
    assert "00007.png' cannot be read: permission denied" in report.failures["00007.png"]
    assert counts(run(store, folder)) == [(1, 11, 0)]
    assert_of_the_files(store, folder)


def test_a_known_file_that_changes_after_the_job_looked_waits_for_the_next(store: Store, folder: Path) -> None:
    """Its vectors of two settings would be of two pictures."""
    run(store, folder)
    late = when_reading_begins(lambda: Image.new("RGB", (24, 16), "red").save(folder / "00003.png"))
    report = run(store, folder, BOTH, late)
    assert counts(report) == [(0, 12, 0), (11, 0, 1)]
    assert "00003.png' changed while the job ran: run the same command again" in report.failures["00003.png"]
    assert counts(run(store, folder, BOTH)) == [(1, 11, 0), (1, 11, 0)]
    assert_of_the_files(store, folder)


def test_images_whose_row_is_gone_are_embedded_anew(store: Store, folder: Path) -> None:
    """Removing a damaged `images` is its natural repair; of what pictures the vectors are is not known any more."""
    run(store, folder, BOTH)
    shutil.rmtree(Path(store.uri) / "images.lance")
    Image.new("RGB", (24, 16), "red").save(folder / "00003.png")
    assert counts(run(store, folder)) == [(12, 0, 0)]
    color, shape = sorted(store.settings(), key=lambda each: str(each.condition))
    assert len(store.read(color)[0]) == 12
    assert len(store.read(shape)[0]) == 0  # a setting that this job was not asked for has no such vectors either
    assert counts(run(store, folder, BOTH)) == [(0, 12, 0), (12, 0, 0)]
    assert_of_the_files(store, folder)


def test_rows_that_are_gone_one_by_one(store: Store, folder: Path) -> None:
    run(store, folder, BOTH)
    lancedb.connect(store.uri).open_table("images").delete("image_id IN ('00003.png', '00007.png')")
    Image.new("RGB", (24, 16), "red").save(folder / "00003.png")
    other = run(store, folder, Request(conditions=("size",)))  # a setting that has nothing yet
    assert counts(other) == [(12, 0, 0)]
    assert counts(run(store, folder, BOTH)) == [(2, 10, 0), (2, 10, 0)]
    assert_of_the_files(store, folder)


def test_a_subset_leaves_what_it_does_not_list(store: Store, folder: Path) -> None:
    run(store, folder)
    shutil.rmtree(Path(store.uri) / "images.lance")
    (source,) = find([folder / "00000.png", folder / "00001.png"])
    assert counts(run_job(store, source, ColorEmbedder(), COLOR)) == [(2, 0, 0)]
    assert len(store.ids(store.settings()[0])) == 12
    assert counts(run(store, folder)) == [(10, 2, 0)]


@pytest.fixture
def few_digests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each digest stands for several ids."""
    plain = digests.digest

    def digest(text: str) -> int:
        return plain(text) if "\0" in text else plain(text) % 5  # an image's place is told apart

    for room in ("storage.digests", "job.lacking"):
        monkeypatch.setattr(f"conditional_image_embeddings.collection.{room}.digest", digest)


def test_ids_of_one_digest_lose_no_image(few_digests: None, store: Store, folder: Path) -> None:
    assert counts(run(store, folder)) == [(12, 0, 0)]
    assert counts(run(store, folder)) == [(0, 12, 0)]
    draw(folder / "new", 9)
    Image.new("RGB", (24, 16), "red").save(folder / "00003.png")
    report = run(store, folder, BOTH)
    assert sum(counts(report)[0]) == 21
    assert counts(report)[1] == (21, 0, 0)
    assert_of_the_files(store, folder)
    assert counts(run(store, folder, BOTH)) == [(0, 21, 0)] * 2


def test_a_new_image_with_the_digest_of_one_that_is_gone(few_digests: None, store: Store, folder: Path) -> None:
    for number in range(1, 12):
        (folder / f"{number:05d}.png").unlink()
    run(store, folder)
    (folder / "00000.png").unlink()
    twin = next(name for name in map("{}.png".format, range(99)) if digests.digest(name) == digests.digest("00000.png"))
    Image.new("RGB", (24, 16), "red").save(folder / twin)
    assert counts(run(store, folder)) == [(1, 0, 0)]
    assert set(store.read(store.settings()[0])[0]) == {"00000.png", twin}


def test_ids_have_the_same_digest_in_every_process(store: Store, folder: Path) -> None:
    import subprocess
    import sys

    run(store, folder)
    program = "import sys; from conditional_image_embeddings.collection.storage.store import Store\n"
    program += "s = Store(sys.argv[1]); print(s.ids(s.settings()[0]).tolist())"
    said = {
        subprocess.run(
            [sys.executable, "-c", program, store.uri],
            capture_output=True, text=True, check=True, env={**os.environ, "PYTHONHASHSEED": seed}, timeout=120,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert said == {f"{store.ids(store.settings()[0]).tolist()}\n"}
