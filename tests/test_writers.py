"""Who may write to a directory, and what becomes of two who do: each image has one row, with a lock or without."""

import errno
import os
import shutil
import threading
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pytest
from click.testing import CliRunner
from color_embedder import ColorEmbedder
from color_jobs import counts, run
from filelock import FileLock
from lancedb.index import BTree
from PIL import Image

from conditional_image_embeddings.cli import main
from conditional_image_embeddings.collection.refinement import refine
from conditional_image_embeddings.collection.storage.store import Store
from conditional_image_embeddings.errors import StoreError
from conditional_image_embeddings.methods.request import Request
from conditional_image_embeddings.methods.settings import Setting

SETTING = Setting(dataset="images", source="/images", method="color", model="tiny", condition="color")


@pytest.mark.parametrize("what", ["deleted", "deleted and started anew", "replaced", "lock deleted"])
def test_a_database_deleted_under_a_job_is_left_alone(what: str, store: Store, folder: Path, tmp_path: Path) -> None:
    class Late(ColorEmbedder):
        def forward_batch(self, batch: Any, request: Request) -> Any:
            if not self.images:
                if what == "lock deleted":
                    (Path(store.uri) / ".cie-embed.lock").unlink()
                else:
                    shutil.rmtree(store.uri)
                if what == "deleted and started anew":
                    assert counts(run(Store(store.uri), folder)) == [(12, 0, 0)]
                if what == "replaced":
                    run(Store(tmp_path / "other"), folder)
                    (tmp_path / "other").rename(store.uri)
            return super().forward_batch(batch, request)

    with pytest.raises(StoreError, match="was deleted or replaced while this job was writing to it") as caught:
        run(store, folder, embedder=Late())
    assert "\n" not in str(caught.value)
    if what == "deleted":
        assert not Path(store.uri).exists()
        return
    again = Store(store.uri)
    (report,) = run(again, folder).settings
    assert (report.embedded, report.already_there) == ((12, 0) if what == "lock deleted" else (0, 12))
    ids, _ = again.read(report.setting)
    assert len(ids) == len(set(ids)) == 12


@pytest.mark.parametrize("indexed", [False, True])
def test_commits_at_once_store_each_image_once(indexed: bool, tmp_path: Path) -> None:
    """Whatever becomes of locks and leases: of two merges that insert one key, the later is tried again."""
    uri = (tmp_path / "db").as_uri()
    vectors = np.eye(8, dtype=np.float32)
    Store(uri).add_vectors(SETTING, ["first"], vectors[:1])
    if indexed:
        (name,) = lancedb.connect(uri).list_tables().tables
        lancedb.connect(uri).open_table(name).create_index("image_id", config=BTree())
    together = threading.Barrier(3)

    def write() -> None:
        store = Store(uri)
        for part in range(5):
            together.wait()
            store.add_vectors(SETTING, [f"{part}-{row}" for row in range(8)], vectors)

    writers = [threading.Thread(target=write) for _ in range(3)]
    for each in writers:
        each.start()
    for each in writers:
        each.join()
    ids = Store(uri).image_ids(SETTING)
    assert len(ids) == len(set(ids)) == 41


def read_only(monkeypatch: pytest.MonkeyPatch, code: int = errno.EROFS) -> None:
    """Root may write anywhere: what a read-only place answers to the lock is put in its mouth."""

    def acquire(self: FileLock, *_: Any, **__: Any) -> Any:
        raise OSError(code, os.strerror(code), self.lock_file)

    monkeypatch.setattr(FileLock, "acquire", acquire)


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.EPERM])
def test_a_finished_job_on_a_read_only_database(
    code: int, store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(store, folder)
    os.utime(folder / "00004.png", ns=(1, 1))  # another time, the same content
    before = sorted(Path(store.uri).rglob("*"))
    with monkeypatch.context() as here:
        read_only(here, code)
        assert counts(run(Store(store.uri), folder)) == [(0, 12, 0)]
        Image.new("RGB", (9, 9)).save(folder / "new.png")
        with pytest.raises(StoreError, match=r"db cannot be written: .*: choose another database") as caught:
            run(store, folder)
        (folder / "new.png").unlink()
        Image.new("RGB", (24, 16), "red").save(folder / "00003.png")
        with pytest.raises(StoreError, match="cannot be written"):
            run(store, folder)
    assert "\n" not in str(caught.value)
    assert sorted(Path(store.uri).rglob("*")) == before
    assert counts(run(store, folder)) == [(1, 11, 0)]


def test_what_is_derived_and_refined_on_a_read_only_database(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["embed", str(folder), "-e", store.uri, "-m", "builtin-clip", "--method", "clay", "-c", "color"]
    arguments += ["--words", "red,green,blue"]
    assert CliRunner().invoke(main, arguments).exit_code == 0
    refine(store, store.settings(), dimensions=2)
    read_only(monkeypatch)
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.stderr
    assert "0 embedded, 12 already there" in done.stdout
    assert not any(made for _, made in refine(store, store.settings(), dimensions=2))
    with pytest.raises(StoreError, match="cannot be written"):
        refine(store, store.settings(), dimensions=3)
