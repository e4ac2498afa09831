"""Collections on an object store: every command that works on a directory, and who may write."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import color_embedder
import httpx2
import lancedb
import numpy as np
import pytest
from color_embedder import ColorEmbedder, draw
from color_jobs import COLOR, counts, run
from commands import cie, error_of
from explorer_at_hand import exploring
from object_store_at_hand import environment, object_store
from test_object_store import Refusing

from conditional_image_embeddings.collection.collection import Collection
from conditional_image_embeddings.collection.job.embedding_job import run_job
from conditional_image_embeddings.collection.storage import database, lease
from conditional_image_embeddings.collection.storage.database import BusyError
from conditional_image_embeddings.collection.storage.lease import HeldError, Lease
from conditional_image_embeddings.collection.storage.store import Store
from conditional_image_embeddings.errors import StoreError
from conditional_image_embeddings.inputs.sources import find
from conditional_image_embeddings.methods.request import Request

pytestmark = pytest.mark.usefixtures("checked_once")

HOLD = """
import sys, time, lancedb
from conditional_image_embeddings.collection.storage import lease
lease.Lease(lancedb.connect(sys.argv[1]))
print("held", flush=True)
time.sleep(600)
"""

DB = "s3://pictures/deep/db"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos") / "photos"
    for name in ("cat", "dog"):
        draw(folder / name, 6)
    return folder


@pytest.fixture(scope="module", autouse=True)
def s3() -> Iterator[Any]:
    with object_store() as client:
        yield client


@pytest.fixture(scope="module")
def db(photos: Path) -> str:
    """A collection that `cie embed` made."""
    assert embed(photos) == {"embedded": 12, "already_there": 0, "failed": 0}
    return DB


@pytest.fixture
def local(tmp_path: Path) -> str:
    """A URI of this machine's disk, which is held by a lease as an object store is."""
    return (tmp_path / "db").as_uri()


def embed(folder: Path, *arguments: object, uri: str = DB) -> dict[str, int]:
    done = cie("embed", folder, "-m", "builtin", "-c", "car color", "-e", uri, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return {name: json.loads(done.stdout)[0][name] for name in ("embedded", "already_there", "failed")}


def test_a_finished_job_embeds_nothing(db: str, photos: Path) -> None:
    assert embed(photos) == {"embedded": 0, "already_there": 12, "failed": 0}


def test_commands_answer_as_over_a_directory(db: str, photos: Path, tmp_path: Path) -> None:
    """The same images embedded into both; what is printed is the same."""
    local = tmp_path / "db"
    embed(photos, uri=str(local))
    for command, *arguments in [
        ("search", "--id", "cat/00000.png", "-c", "car color", "--json"),
        ("search", "--text", "red", "-c", "car color", "--where", "width > 3", "--json"),
        ("words", "-c", "car color", "--json"),
        ("cluster", "-c", "car color", "-n", "2", "--json"),
        ("duplicates", "-c", "car color", "--json"),
        ("evaluate", "--folders", photos, "--json"),
        ("index",),
        ("refine",),
    ]:
        there, here = (cie(command, where, *arguments) for where in (db, local))
        assert (there.returncode, here.returncode) == (0, 0), there.stderr
        assert there.stdout.replace(db, str(local)) == here.stdout
    compared = cie("compare", db, "cat/00000.png", "dog/00001.png")
    assert "car color" in compared.stdout, compared.stderr


def test_export_and_import(db: str, tmp_path: Path) -> None:
    name = next(each.name for each in Store(db).settings() if "refined" not in each.name)
    for format, target in (("parquet", "a.parquet"), ("jsonl", "a.jsonl"), ("npy", "npy")):  # noqa: A001
        done = cie("export", db, "-o", tmp_path / target, "--format", format, "--setting", name)
        assert done.returncode == 0, done.stderr
    done = cie("import", tmp_path / "a.parquet", "--format", "parquet", "-e", "s3://pictures/imported")
    assert done.returncode == 0, done.stderr
    one, two = Store(db), Store("s3://pictures/imported")
    (setting,) = two.settings()
    assert one.read(setting)[0] == two.read(setting)[0]
    np.testing.assert_array_equal(one.read(setting)[1], two.read(setting)[1])


def test_the_page_and_python_open_it(db: str) -> None:
    with Collection(db) as collection:
        assert collection.conditions == ["car color"]
        hits = collection.search(text="red", conditions="car color", k=2)
        assert len(collection.thumbnails([hit.image_id for hit in hits])) == 2
    with exploring(db) as address:
        answer = httpx2.get(f"{address}api/collections")
        assert [each["name"] for each in answer.json()["collections"]] == ["db"]


def test_images_that_go_are_pruned(photos: Path, tmp_path: Path) -> None:
    uri = "s3://pictures/pruned"
    folder = draw(tmp_path / "more", 4)
    run(Store(uri), folder)
    (folder / "00002.png").unlink()
    report = run_job(Store(uri), find([folder])[0], ColorEmbedder(), COLOR, prune=True)
    assert report.pruned is not None
    assert report.pruned.gone == ["00002.png"]
    assert counts(report) == [(0, 3, 0)]


# Who may write.


def test_another_job_is_refused_while_one_writes(photos: Path) -> None:
    uri = "s3://pictures/held"
    with Store(uri).writing():
        line = error_of(cie("embed", photos, "--method", "pixels", "-e", uri), 1)
        assert f"another job is writing to {uri} (process " in line
        assert line.count("\n") == 1
        with pytest.raises(BusyError):
            run(Store(uri), photos)
    assert counts(run(Store(uri), photos)) == [(12, 0, 0)]


@pytest.mark.parametrize("where", ["s3", "local"])
def test_of_many_that_ask_at_once_one_gets_the_lease(where: str, local: str) -> None:
    uri = local if where == "local" else "s3://pictures/race"
    for _ in range(3):
        held: list[Lease] = []
        refused: list[str] = []
        together = threading.Barrier(4)

        def ask(held: list[Lease] = held, refused: list[str] = refused, together: threading.Barrier = together) -> None:
            connection = lancedb.connect(uri)
            together.wait()
            try:
                held.append(Lease(connection))
            except HeldError as error:
                refused.append(str(error))

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert (len(held), len(refused)) == (1, 3), refused
        held[0].release()


def test_several_processes_store_each_image_once(tmp_path: Path, s3: Any) -> None:
    """Those that find the database held say so; one more run finishes what is left."""
    folder, uri = draw(tmp_path / "images", 60), "s3://pictures/several"
    command = [sys.executable, color_embedder.__file__, str(folder), uri, "never", "0", "2"]
    jobs = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    ended = [(job.communicate(timeout=300)[1], job.returncode) for job in jobs]
    assert any(status == 0 for _, status in ended), ended
    assert [said for said, status in ended if status and "another job is writing" not in said] == []
    store = Store(uri)
    run(store, folder, Request(conditions=("color", "shape"), layers=(1, -1)))
    for setting in store.settings():
        ids, _ = store.read(setting)
        assert len(ids) == len(set(ids)) == 60
    assert lancedb.connect(uri).open_table("images").count_rows() == 60


def test_the_lease_of_a_killed_job_ends(local: str, folder: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, local], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        holder.kill()
    with pytest.raises(BusyError, match=f"process {holder.pid} on .*, whose lease lasts until"):
        run(Store(local), folder)
    table = lancedb.connect(local).open_table(lease.TABLE)
    (row,) = table.to_arrow().to_pylist()
    assert 0 < row["until"] - time.time() <= lease.LASTS
    table.update(where="true", values={"until": row["until"] - lease.LASTS})  # so much later
    assert counts(run(Store(local), folder)) == [(12, 0, 0)]


def test_a_lease_is_renewed_while_the_job_runs(local: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {"LASTS": 1.5, "RENEWED": 0.1, "MARGIN": 0.1, "VERSIONS": 10}.items():
        monkeypatch.setattr(lease, name, seconds)
    held = Lease(lancedb.connect(local))
    end = time.monotonic() + 2.5
    while time.monotonic() < end:
        with pytest.raises(HeldError):
            Lease(lancedb.connect(local)).release()
        time.sleep(0.3)
    assert held.is_held()
    held.release()
    Lease(lancedb.connect(local)).release()


def test_who_lost_the_lease_writes_nothing_more(local: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a machine that slept: its lease ended, and another job has it."""
    monkeypatch.setattr(lease, "CONFIRMED", 0.0)
    taken: list[Lease] = []

    class Slept(ColorEmbedder):
        def forward_batch(self, batch: Any, request: Request) -> Any:
            if not taken:
                connection = lancedb.connect(local)
                connection.open_table(lease.TABLE).update(where="true", values={"until": 0.0})
                taken.append(Lease(connection))
            return super().forward_batch(batch, request)

    store = Store(local)
    with pytest.raises(StoreError, match=r"the lease on .* was lost while this job was writing to it .*: nothing more"):
        run(store, folder, embedder=Slept())
    assert store.settings() == []
    with pytest.raises(HeldError):  # it did not give back what was another's
        Lease(lancedb.connect(local))
    taken[0].release()


def test_a_lease_whose_table_is_gone_is_lost(local: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {"LASTS": 1.0, "RENEWED": 0.1, "MARGIN": 0.1}.items():
        monkeypatch.setattr(lease, name, seconds)
    connection = lancedb.connect(local)
    held = Lease(connection)
    connection.drop_table(lease.TABLE)
    end = time.monotonic() + 60
    while held.is_held():
        assert time.monotonic() < end
        time.sleep(0.1)
    held.release()


def test_a_finished_job_where_nothing_may_be_written(
    db: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Lance says it of a bucket that may only be read: it ends well, and one with work says why it cannot."""

    def refuse(_: Any) -> Any:
        raise RuntimeError("lance error: LanceError(IO): The operation lacked the necessary privileges to complete")

    monkeypatch.setattr(database, "Lease", refuse)
    assert embed(photos) == {"embedded": 0, "already_there": 12, "failed": 0}
    done = cie("embed", photos, "-m", "builtin", "-c", "car model", "-e", db)
    assert f"{db} cannot be written: access is denied: choose another database with -e" in error_of(done, 1)


def test_what_may_not_be_written_is_one_line(photos: Path, tmp_path: Path) -> None:
    assert "there is no such bucket" in error_of(cie("words", "s3://nowhere-at-all/db", "-c", "x"), 1)
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with environment(f"http://127.0.0.1:{server.server_port}"):
            line = error_of(cie("words", "s3://pictures/x", "-c", "x"), 1)
            assert (
                line == "error: s3://pictures/x cannot be opened: access is denied: see what the credentials may do\n"
            )
        server.shutdown()
