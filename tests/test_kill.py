"""A job killed at any moment, and run again, leaves exactly the rows of an undisturbed one."""

import random
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import color_embedder
import numpy as np
import pytest
from color_embedder import ColorEmbedder, draw

from conditional_image_embeddings.collection.job.embedding_job import run_job
from conditional_image_embeddings.collection.storage.store import Store
from conditional_image_embeddings.inputs.sources import find
from conditional_image_embeddings.methods.request import Request

IMAGES = 120
REQUEST = Request(conditions=("color", "shape"), layers=(1, -1))  # four tables


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = draw(tmp_path_factory.mktemp("kill") / "images", IMAGES)
    (folder / "broken.png").write_bytes(b"not an image")
    return folder


def job(folder: Path, db: Path, moment: str = "never", times: int = 0, top_words: int = 0) -> "subprocess.Popen[str]":
    command = [sys.executable, color_embedder.__file__, str(folder), str(db), moment, str(times), str(top_words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def finish(folder: Path, db: Path) -> None:
    """The same job to its end, and once more; the store must then be as after an undisturbed run."""
    store, source = Store(db), find([folder])[0]
    first = run_job(store, source, ColorEmbedder(), REQUEST)
    assert [each.embedded + each.already_there for each in first.settings] == [IMAGES] * 4
    idle = ColorEmbedder()
    again = run_job(store, source, idle, REQUEST)
    assert [(each.embedded, each.already_there, each.failed) for each in again.settings] == [(0, IMAGES, 1)] * 4
    assert idle.images == 0

    undisturbed = Store(db.parent / "undisturbed")
    run_job(undisturbed, source, ColorEmbedder(), REQUEST)
    assert store.settings() == undisturbed.settings()
    for setting in store.settings():
        ids, vectors = store.read(setting)
        expected_ids, expected = undisturbed.read(setting)
        assert ids == expected_ids
        assert len(set(ids)) == IMAGES
        np.testing.assert_array_equal(vectors, expected)
    assert len(store.thumbnails("images", ids, source=str(folder))) == IMAGES
    assert list(store.failures("images", source=str(folder))) == ["broken.png"]


def test_killed_between_commits(folder: Path, tmp_path: Path) -> None:
    db = tmp_path / "db"
    moments = [
        ("Store.add_images", 1),  # one commit is whole, the next not begun
        ("Store.add_vectors", 2),  # the images are in `images` and in two of four tables
        ("ColorEmbedder.forward_batch", 3),
        ("Store.replace_failures", 0),  # all is embedded
    ]
    for moment in moments:
        process = job(folder, db, *moment)
        process.communicate(timeout=60)
        assert process.returncode == -9, moment
    finish(folder, db)


def test_killed_while_words_are_added(folder: Path, tmp_path: Path) -> None:
    store, source = Store(tmp_path / "db"), find([folder])[0]
    run_job(store, source, ColorEmbedder(), REQUEST)
    before = {setting.name: store.read(setting) for setting in store.settings()}
    for moment in [
        ("Store.add_words", 1),
        ("Store.add_words", 4),
        ("ColorEmbedder.forward_batch", 2),
        ("Store.compact", 0),
    ]:
        process = job(folder, tmp_path / "db", *moment, top_words=5)
        process.communicate(timeout=60)
        assert process.returncode == -9, moment
        for setting in store.settings():
            ids, vectors = store.read(setting)
            assert ids == before[setting.name][0]
            np.testing.assert_array_equal(vectors, before[setting.name][1])
    idle = ColorEmbedder()
    report = run_job(store, source, idle, replace(REQUEST, top_words=5))
    assert [(each.already_there, each.words_added, each.failed) for each in report.settings] == [(IMAGES, 0, 1)] * 4
    assert idle.images == 0

    undisturbed = Store(tmp_path / "undisturbed")
    run_job(undisturbed, source, ColorEmbedder(), replace(REQUEST, top_words=5))
    for setting in store.settings():
        assert store.words(setting) == undisturbed.words(setting)


def test_killed_at_random_moments(folder: Path, tmp_path: Path) -> None:
    db = tmp_path / "db"
    moments = random.Random(1)
    for _ in range(2):
        process = job(folder, db)
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        time.sleep(moments.uniform(0, 0.5))
        process.kill()
        process.communicate(timeout=60)
    finish(folder, db)
