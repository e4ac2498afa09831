"""Rows of images that are gone: removed where that is asked for, and never because a disk is not there."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tiny_dual_encoders
from color_embedder import ColorEmbedder, draw
from color_jobs import COLOR, run
from commands import cie, error_of
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from conditional_image_embeddings import load
from conditional_image_embeddings.collection.job.embedding_job import JobReport, run_job
from conditional_image_embeddings.collection.job.pruning import Missing, missing
from conditional_image_embeddings.collection.refinement import refine
from conditional_image_embeddings.collection.storage.store import Store
from conditional_image_embeddings.errors import NoImagesError, SourceError, StoreError
from conditional_image_embeddings.inputs.sources import find
from conditional_image_embeddings.methods.request import Request

BOTH = Request(conditions=("color", "shape"), top_words=2)


def prune(store: Store, *paths: Path, request: Request = COLOR) -> JobReport:
    (source,) = find(paths)
    return run_job(store, source, ColorEmbedder(), request, prune=True)


def ids(store: Store) -> list[str]:
    (setting,) = store.settings()
    return store.read(setting)[0]


def assert_same(store: Store, other: Store, source: Path) -> None:
    """What is in two databases of one folder."""
    assert store.settings() == other.settings()
    for setting in store.settings():
        (one, vectors), (two, expected) = store.read(setting), other.read(setting)
        assert one == two
        np.testing.assert_array_equal(vectors, expected)
        assert store.words(setting) == other.words(setting)
    for each in (store, other):
        assert sorted(each.stored_images(source.name, str(source))) == one
    assert store.content_hashes(source.name, str(source), one) == other.content_hashes(source.name, str(source), one)
    assert store.failures(source.name, source=str(source)) == other.failures(source.name, source=str(source))


def refuse_below(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that nobody may look into, root neither."""

    def refusing(called: Any) -> Any:
        def refuse(path: Any, *arguments: Any, **options: Any) -> Any:
            if Path(path).is_relative_to(folder):
                raise PermissionError(13, "Permission denied")
            return called(path, *arguments, **options)

        return refuse

    monkeypatch.setattr(os, "scandir", refusing(os.scandir))
    monkeypatch.setattr(Path, "lstat", refusing(Path.lstat))


NAMES = st.sampled_from([b"a.png", b"b/a.png", b"b/c/a.png", b"it's.png", b"b/%.png", b"\xff.png", rb"\xff.png"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["write", "break", "remove"]), NAMES, st.integers(0, 255)),
        st.tuples(st.just("move"), NAMES, NAMES),
        st.just(("embed", None, None)),
    ),
    max_size=12,
)


@settings(max_examples=25)
@given(STEPS)
def test_after_whatever_happened_a_pruned_database_is_that_of_a_fresh_job(steps: list[tuple]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        folder, store = Path(directory) / "photos", Store(Path(directory) / "db")
        draw(folder, 1)
        for what, name, value in steps:
            path = folder / os.fsdecode(name or b"")
            path.parent.mkdir(parents=True, exist_ok=True)
            if what == "write":
                Image.new("RGB", (8, 8), (value, 0, 0)).save(path)
            elif what == "break":
                path.write_bytes(b"none")
            elif what == "embed":
                run(store, folder, BOTH)
            elif path.exists():
                if what == "remove":
                    path.unlink()
                else:
                    target = folder / os.fsdecode(value)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    path.rename(target)
        for emptied in (folder / "b/c", folder / "b"):
            if emptied.is_dir() and not any(emptied.iterdir()):
                emptied.rmdir()
        prune(store, folder, request=BOTH)
        fresh = Store(Path(directory) / "fresh")
        run(fresh, folder, BOTH)
        assert_same(store, fresh, folder)
        assert missing(store, find([folder])[0]) == Missing()


def test_nothing_is_removed_unless_it_is_asked_for(store: Store, folder: Path) -> None:
    run(store, folder)
    (folder / "00003.png").unlink()
    report = run(store, folder)
    assert report.pruned is None
    assert len(ids(store)) == 12
    report = prune(store, folder)
    assert report.pruned == Missing(gone=["00003.png"])
    assert "00003.png" not in ids(store)


def test_what_is_gone_goes_from_every_setting_of_the_source_and_of_no_other(store: Store, tmp_path: Path) -> None:
    here, elsewhere = draw(tmp_path / "here" / "photos", 3), draw(tmp_path / "elsewhere" / "photos", 3)
    for folder in (here, elsewhere):
        run(store, folder, BOTH)
        run(store, folder, Request(conditions=("size",)))
        (folder / "00001.png").unlink()
    prune(store, here)  # under one condition
    assert {len(store.read(each)[0]) for each in store.settings() if each.source == str(here)} == {2}
    assert {len(store.read(each)[0]) for each in store.settings() if each.source == str(elsewhere)} == {3}


def test_a_vector_whose_row_in_images_is_gone_too(store: Store, folder: Path) -> None:
    run(store, folder)
    shutil.rmtree(Path(store.uri) / "images.lance")
    (folder / "00003.png").unlink()
    prune(store, folder)
    assert len(ids(store)) == 11


def test_a_killed_removal_is_finished_by_the_next(store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(store, folder, BOTH)
    (folder / "00003.png").unlink()
    removed, left = Store.remove, [1]

    def killed(self: Store, *arguments: object) -> None:
        if not left.pop():
            raise KeyboardInterrupt
        left.append(0)
        removed(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "remove", killed)
        with pytest.raises(KeyboardInterrupt):
            prune(store, folder, request=BOTH)
    assert sorted(len(store.read(each)[0]) for each in store.settings()) == [11, 12]
    prune(store, folder, request=BOTH)
    assert [len(store.read(each)[0]) for each in store.settings()] == [11, 11]


@pytest.mark.parametrize("how", ["no folder", "empty", "no image", "empty below", "dangling link", "not readable"])
def test_a_lost_mount_wipes_nothing(
    how: str, store: Store, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(tmp_path / "elsewhere", 3)
    (folder / "mounted").mkdir()
    draw(folder / "mounted", 3)
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    run(store, folder)
    before = ids(store)
    assert len(before) == 18
    source = find([folder])[0]
    if how in {"no folder", "empty", "no image"}:
        shutil.rmtree(folder)
        if how != "no folder":
            folder.mkdir()
        if how == "no image":
            (folder / "README").write_text("not mounted")
        with pytest.raises(SourceError, match="does not exist" if how == "no folder" else "no images"):
            prune(store, folder)
        with pytest.raises(NoImagesError):  # it was there when the command began
            run_job(store, source, ColorEmbedder(), COLOR, prune=True)
        done = cie("embed", folder, "--method", "pixels", "-e", store.uri, "--prune")
        assert error_of(done, 1).count("\n") == 1
    else:
        if how == "empty below":
            shutil.rmtree(folder / "mounted")
            (folder / "mounted").mkdir()
        elif how == "dangling link":
            shutil.rmtree(tmp_path / "elsewhere")
        else:
            refuse_below(folder / "mounted", monkeypatch)
        assert prune(store, folder).pruned == Missing(out_of_reach=3)
    assert ids(store) == before


def test_a_folder_that_was_removed_is_gone_with_what_was_in_it(store: Store, folder: Path) -> None:
    draw(folder / "a" / "b", 3)
    run(store, folder)
    shutil.rmtree(folder / "a")
    (folder / "a").write_text("a file has its name")
    assert len(prune(store, folder).pruned.gone) == 3
    assert len(ids(store)) == 12


def test_a_file_that_is_there_but_not_taken_is_not_gone(store: Store, folder: Path) -> None:
    draw(folder / "raw", 2)
    run(store, folder)
    (folder / "00003.png").unlink()
    (excluding,) = find([folder], exclude=["raw"])
    run_job(store, excluding, ColorEmbedder(), COLOR, prune=True)
    prune(store, folder / "0000[0-5].png")
    prune(store, folder / "00000.png", folder / "00001.png")  # named files: their folder is the source
    assert len(ids(store)) == 13


def test_rows_of_a_table(store: Store, folder: Path, tmp_path: Path) -> None:
    def write(names: list[str], *, with_ids: bool = True) -> Path:
        rows = {"image": [(folder / name).read_bytes() for name in names]}
        pq.write_table(pa.table({**rows, "id": names} if with_ids else rows), tmp_path / "photos.parquet")
        return tmp_path / "photos.parquet"

    names = sorted(path.name for path in folder.iterdir())
    run(store, write(names))
    assert prune(store, write(names[3:])).pruned == Missing(gone=names[:3])
    assert ids(store) == names[3:]
    with pytest.raises(SourceError, match="no column of ids"):
        prune(store, write(names[5:], with_ids=False))
    assert ids(store) == names[3:]


def test_a_map_of_the_collection_is_made_anew_of_what_is_left(
    store: Store, folder: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Its rows went with the others, so that only what it was made of tells."""
    model = str(tiny_dual_encoders.save("clip", tmp_path_factory.mktemp("clip")))
    (source,) = find([folder])

    def clay(into: Store, *, prune: bool = False) -> None:
        embedder = load(model, method="clay", device="cpu", words={"mood": "happy,sad,angry"}, components=3)
        run_job(into, source, embedder, Request(conditions=("mood",)), prune=prune)
        refine(into, into.settings("*none*"))

    clay(store)
    (folder / "00003.png").unlink()
    run_job(store, source, load(model, device="cpu"), Request(), prune=True)
    assert {len(store.ids(each)) for each in store.settings()} == {11}  # another method's job removed them
    clay(store)
    fresh = Store(tmp_path / "fresh")
    clay(fresh)
    assert [setting.name for setting in store.settings()] == [setting.name for setting in fresh.settings()]
    for setting in store.settings():
        np.testing.assert_allclose(store.read(setting)[1], fresh.read(setting)[1], atol=1e-6)


def test_a_database_that_may_only_be_read(store: Store, folder: Path) -> None:
    run(store, folder)
    mode = Path(store.uri).stat().st_mode
    prune(store, folder)
    (folder / "00003.png").unlink()
    if os.geteuid() == 0:
        with store.writing(), pytest.raises(StoreError, match="another job is writing"):
            prune(Store(store.uri), folder)
        return
    Path(store.uri).chmod(0o555)
    try:
        with pytest.raises(StoreError, match="cannot be written"):
            prune(store, folder)
    finally:
        Path(store.uri).chmod(mode)


def test_the_command_says_what_it_removed(folder: Path, tmp_path: Path) -> None:
    command = ("embed", folder, "--method", "pixels", "-e", tmp_path / "db")
    draw(folder / "mounted", 2)
    assert cie(*command).returncode == 0
    (folder / "00003.png").unlink()
    shutil.rmtree(folder / "mounted")
    (folder / "mounted").mkdir()
    done = cie(*command, "--prune")
    assert "0 embedded, 11 already there, 0 failed, 1 pruned" in done.stdout
    assert "2 images kept: their folder is empty" in done.stderr
    assert '"pruned": 0' in cie(*command, "--prune", "--json").stdout
    assert "pruned" not in cie(*command, "--json").stdout
