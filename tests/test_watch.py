"""`cie embed --watch` as a process of its own, over real files; what happens is waited for, and no time is judged."""

import io
import json
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import watchfiles
from color_embedder import ColorEmbedder, draw
from color_jobs import COLOR
from commands import cie, error_of
from PIL import Image

from conditional_image_embeddings.collection.job.embedding_job import run_job
from conditional_image_embeddings.collection.storage.store import Store
from conditional_image_embeddings.inputs.sources import find

PATIENCE = 120.0  # seconds, on a machine that is busy with other things
COMMAND = (sys.executable, "-m", "conditional_image_embeddings")
# Nothing here computes with torch; without its import a process begins in one second instead of five.
LIGHT = """
import sys, time, types
sys.modules["torch"] = types.SimpleNamespace(OutOfMemoryError=MemoryError, get_num_threads=lambda: 1)
from conditional_image_embeddings.cli import main
"""
SLOW = """
from conditional_image_embeddings.methods.pixels import Pixels
embed, done = Pixels.forward_batch, []
def slow(self, *arguments):
    if done:
        print("embedding", flush=True)
        time.sleep(600)
    done.append(1)
    return embed(self, *arguments)
Pixels.forward_batch = slow
"""
MAIN = "main(sys.argv[1:])"


class Watching:
    """The process, and what it says."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self._lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def line(self) -> str:
        line = self._lines.get(timeout=PATIENCE)
        assert line is not None, self.process.communicate(timeout=PATIENCE)[1]
        return line

    def round(self, expected: Callable[[dict[str, Any]], bool] = lambda _: True) -> dict[str, Any]:
        """The next round whose only source is as expected."""
        while True:
            (source,) = json.loads(self.line())["sources"]
            if expected(source):
                return source

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Its status and what it wrote to stderr."""
        self.process.send_signal(number)
        return self.ended()

    def ended(self) -> tuple[int, str]:
        assert self.process.stderr is not None
        said = self.process.stderr.read()
        return self.process.wait(timeout=PATIENCE), said

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)


@contextmanager
def watching(*arguments: object, command: tuple[str, ...] = (sys.executable, "-c", LIGHT + MAIN)) -> Iterator[Watching]:
    given = ["embed", *map(str, arguments), "--method", "pixels", "--watch", "--json"]
    with subprocess.Popen([*command, *given], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield Watching(process)
        finally:
            process.kill()


def stored(db: Path) -> set[str]:
    store = Store(db)
    (setting,) = store.settings()
    return set(store.image_ids(setting))


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return draw(tmp_path / "photos", 3)


def test_files_that_come_change_move_and_go(folder: Path) -> None:
    """The database lies among the photographs, as it does by default in the current folder."""
    db = folder / "embeddings"
    (folder / "private").mkdir()
    with watching(folder, "-e", db, "--exclude", "private", command=COMMAND) as watch:
        first = watch.round()
        assert (first["embedded"], first["failed"], first["gone"]) == (3, 0, 0)
        assert [(each["embedded"], each["already_there"], each["failed"]) for each in first["settings"]] == [(3, 0, 0)]

        new = folder / "new" / "folder" / "a.png"
        new.parent.mkdir(parents=True)
        for path in (folder / "private" / "b.png", folder / ".c.png", folder / "d.txt", new):
            shutil.copy(folder / "00000.png", path)
        assert watch.round()["embedded"] == 1
        assert stored(db) == {"00000.png", "00001.png", "00002.png", "new/folder/a.png"}

        before = Store(db).read(Store(db).settings()[0])[1][1]
        Image.new("RGB", (9, 9), "red").save(folder / "00001.png")
        assert watch.round(lambda source: source["embedded"] == 1)["gone"] == 0
        assert (Store(db).read(Store(db).settings()[0])[1][1] != before).any()

        (folder / "00002.png").rename(folder / "moved.png")
        assert watch.round(lambda source: source["embedded"] == 1)["gone"] == 1
        shutil.rmtree(folder / "new")
        assert watch.round(lambda source: source["gone"] == 2)["embedded"] == 0
        assert {"00002.png", "new/folder/a.png", "moved.png"} <= stored(db)  # --prune was not asked for

        again = cie("embed", folder, "--exclude", "private", "--method", "pixels", "-e", db, "--prune")  # it only waits
        assert "0 embedded, 3 already there, 0 failed, 2 pruned" in again.stdout, again.stderr
        status, said = watch.end()
        assert status == 0, said
        assert "ended: " in said
        assert "Traceback" not in said
    assert stored(db) == {"00000.png", "00001.png", "moved.png"}


def test_with_prune_what_is_gone_goes_and_a_lost_mount_wipes_nothing(folder: Path, tmp_path: Path) -> None:
    with watching(folder, "-e", tmp_path / "db", "--prune") as watch:
        watch.round()
        (folder / "00001.png").unlink()
        assert watch.round()["pruned"] == 1
        assert stored(tmp_path / "db") == {"00000.png", "00002.png"}
        folder.rename(tmp_path / "elsewhere")
        assert "does not exist" in watch.round()["problem"]
        folder.mkdir()
        assert "no images" in watch.round()["problem"]
        assert stored(tmp_path / "db") == {"00000.png", "00002.png"}
        folder.rmdir()
        (tmp_path / "elsewhere").rename(folder)
        draw(folder / "new", 1)
        watch.round(lambda source: source["problem"] is None)
        until(lambda: "new/00000.png" in stored(tmp_path / "db"))
        assert watch.end(signal.SIGINT)[0] in {0, 130}  # it may not be through with it


def test_a_file_that_is_being_written_is_not_listed_as_failed(folder: Path, tmp_path: Path) -> None:
    whole = io.BytesIO()
    Image.effect_noise((300, 200), 90).save(whole, "JPEG")
    data = whole.getvalue()
    with watching(folder, "-e", tmp_path / "db") as watch:
        watch.round()
        with (folder / "slow.jpg").open("wb", buffering=0) as file:
            file.write(data[: len(data) // 2])
            shutil.copy(folder / "00000.png", folder / "beside.png")
            assert watch.round(lambda source: source["embedded"] == 1)["failed"] == 0
            file.write(data[len(data) // 2 :])
        until(lambda: "slow.jpg" in stored(tmp_path / "db"))
        until(lambda: not Store(tmp_path / "db").failures("photos", source=str(folder)))

        (folder / "broken.jpg").write_bytes(data[: len(data) // 2])  # and stays so
        watch.round(lambda source: source["failed"] == 1)
        status, said = watch.end()
        assert status == 3
        assert said.count("failed: ") == 1
        assert "broken.jpg" in said
        assert "1 failed" in said.splitlines()[-1]


def test_a_folder_that_is_empty_yet_a_glob_and_a_file(folder: Path, tmp_path: Path) -> None:
    inbox, named = tmp_path / "inbox", tmp_path / "named" / "one.png"
    inbox.mkdir()
    named.parent.mkdir()
    shutil.copy(folder / "00000.png", named)
    with watching(inbox, folder / "*.webp", named, "-e", tmp_path / "db") as watch:
        sources = json.loads(watch.line())["sources"]
        assert [each["embedded"] for each in sources] == [1, 0, 0]
        assert sum("no image" in (each["problem"] or "") for each in sources) == 2
        shutil.copy(folder / "00000.png", inbox)
        Image.new("RGB", (9, 9)).save(folder / "new.webp")
        Image.new("RGB", (9, 9), "red").save(named.with_name("part.png"))
        named.with_name("part.png").replace(named)
        embedded = 0
        while embedded < 3:
            embedded += sum(each["embedded"] for each in json.loads(watch.line())["sources"])
        assert watch.end()[0] == 0
    assert {each.dataset for each in Store(tmp_path / "db").settings()} == {"inbox", "photos", "named"}


def test_looking_now_and_then_where_the_system_does_not_tell(folder: Path, tmp_path: Path) -> None:
    with watching(folder, "-e", tmp_path / "db", "--poll", "0.2") as watch:
        watch.round()
        draw(folder / "new", 2)
        until(lambda: len(stored(tmp_path / "db")) == 5)
        assert watch.end()[0] in {0, 130}  # it looks so often that it may be at it


def test_a_database_that_is_deleted_under_it_ends_it_with_one_line(folder: Path, tmp_path: Path) -> None:
    with watching(folder, "-e", tmp_path / "db") as watch:
        watch.round()
        (tmp_path / "db").rename(tmp_path / "trash")
        (tmp_path / "db").mkdir()
        status, said = watch.ended()
        assert status == 1
        assert said.splitlines()[-1].startswith(f"error: {tmp_path / 'db'} was deleted or replaced")
        assert "Traceback" not in said
    assert not list((tmp_path / "db").iterdir())


def test_ended_while_it_embeds_it_keeps_what_was_embedded(folder: Path, tmp_path: Path) -> None:
    command = (sys.executable, "-c", LIGHT + SLOW + MAIN)
    with watching(folder, "-e", tmp_path / "db", "--batch-size", "1", command=command) as watch:
        assert watch.line() == "embedding\n"
        status, said = watch.end()
    assert status == 130, said
    assert "interrupted: 0 rounds" in said
    assert "Traceback" not in said
    assert len(stored(tmp_path / "db")) == 1


def test_another_job_is_waited_for(folder: Path, tmp_path: Path) -> None:
    with ExitStack() as other, watching(folder, "-e", tmp_path / "db") as watch:
        other.enter_context(Store(tmp_path / "db").writing())
        assert "another job is writing" in watch.round()["problem"]
        other.close()
        assert watch.round()["embedded"] == 3
        assert watch.end()[0] == 0


def test_poll_without_watch_is_wrong_usage(folder: Path, tmp_path: Path) -> None:
    done = cie("embed", folder, "--method", "pixels", "-e", tmp_path / "db", "--poll", "5")
    assert "--poll takes --watch" in error_of(done, 2)
    for arguments in (("--poll", "nan"), ("--poll", "0")):
        error_of(cie("embed", folder, "--method", "pixels", "-e", tmp_path / "db", "--watch", *arguments), 2)


def test_a_place_that_does_not_exist_is_not_waited_for(tmp_path: Path) -> None:
    done = cie("embed", tmp_path / "none", "--method", "pixels", "-e", tmp_path / "db", "--watch")
    assert "does not exist" in error_of(done, 1)


def test_a_look_that_finds_nothing_to_do_shows_no_bar(
    folder: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    for is_shown in (True, False):
        run_job(store, find([folder])[0], ColorEmbedder(), COLOR, show_progress_bar=True)
        assert ("image" in capsys.readouterr().err) is is_shown


def test_a_system_that_tells_no_changes_is_told_how_to_do_without(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> Iterator[set[str]]:
        raise OSError('OS file watch limit reached. about ["/photos"]')

    monkeypatch.setattr(watchfiles, "watch", full)
    done = cie("embed", folder, "--method", "pixels", "-e", tmp_path / "db", "--watch")
    said = error_of(done, 1)
    assert "OS file watch limit reached" in said
    assert "--poll 60" in said
    assert said.count("\n") == 1
