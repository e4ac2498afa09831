"""Images on an object store: a server of this machine that speaks S3, and one that refuses."""

import io
import json
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import lancedb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import cie, error_of
from object_store_at_hand import SECRET, environment, object_store
from shards_at_hand import pack, picture, samples

from conditional_image_embeddings.collection.storage.store import Store
from conditional_image_embeddings.errors import ImageError
from conditional_image_embeddings.inputs.encoded import read_encoded
from conditional_image_embeddings.inputs.lookup import Lookup
from conditional_image_embeddings.inputs.references import select
from conditional_image_embeddings.inputs.sources import find

OPEN = """
import pickle, sys
source, references = pickle.load(sys.stdin.buffer)
for image_id, image in source.open(references):
    print(image_id, image().sha256)
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    with object_store() as client:
        yield client


@pytest.fixture
def s3(server: Any) -> Any:
    """The client, and nothing in the bucket."""
    for each in server.list_objects_v2(Bucket="pictures").get("Contents", []):
        server.delete_object(Bucket="pictures", Key=each["Key"])
    return server


def put(s3: Any, key: str, data: bytes) -> None:
    s3.put_object(Bucket="pictures", Key=key, Body=data)


def embed(db: Path, *arguments: object, status: int = 0) -> dict[str, int]:
    done = cie("embed", *arguments, "--method", "pixels", "-e", db, "--json")
    assert done.returncode == status, done.stderr
    (row,) = json.loads(done.stdout)
    return {name: row[name] for name in ("embedded", "already_there", "failed")}


def refused(tmp_path: Path, *arguments: object) -> str:
    """The one line of error."""
    line = error_of(cie("embed", *arguments, "--method", "pixels", "-e", tmp_path / "db"), 1)
    assert line.count("\n") == 1
    return line


ODD = ["a b.png", "c#1?.png", "100%.png", "ü.png", "+&=.png", "it's.png"]


def test_what_is_found_below_a_prefix(s3: Any) -> None:
    names = ["b/c/2.PNG", "b/1.png", "z.webp", *ODD]
    for name in [*names, ".hidden.png", "@eaDir/1.png", "b/.x/1.png", "raw/9.png", "text.txt"]:
        put(s3, f"cars/{name}", name.encode())
    put(s3, "cars.png", b"beside")
    put(s3, "cars2/1.png", b"beside")
    for named in ("s3://pictures/cars", "s3://pictures/cars/"):
        (source,) = find([named], exclude=["raw"])
        assert (source.dataset, source.root) == ("cars", "s3://pictures/cars")
        assert [image_id for image_id, _ in source.references()] == sorted(names)
        assert {image_id: image().data for image_id, image in source} == {name: name.encode() for name in names}  # type: ignore[operator, union-attr]
    (source,) = find(["s3://pictures/cars"], include_hidden=True)
    assert len(list(source.references())) == len(names) + 4
    (source,) = find(["s3://pictures"])
    assert (source.dataset, source.root) == ("pictures", "s3://pictures")
    assert "cars/raw/9.png" in dict(source.references())


def test_single_objects_are_one_source_whatever_their_suffix(s3: Any) -> None:
    for name in ("a/b/1.png", "a/b/2.bin", "a/c/3.png", "a/c/4.png"):
        put(s3, name, name.encode())
    (source,) = find([f"s3://pictures/a/{name}" for name in ("b/1.png", "b/2.bin", "c/3.png")])
    assert (source.dataset, source.root) == ("a", "s3://pictures/a")
    assert {image_id: image().data for image_id, image in source} == {  # type: ignore[operator, union-attr]
        name: f"a/{name}".encode() for name in ("b/1.png", "b/2.bin", "c/3.png")
    }


def test_a_job_over_a_prefix(s3: Any, tmp_path: Path) -> None:
    db = tmp_path / "db"
    for index in range(6):
        put(s3, f"cars/{index}.png", picture(index))
    put(s3, "cars/broken.png", b"none")
    assert embed(db, "s3://pictures/cars", status=3) == {"embedded": 6, "already_there": 0, "failed": 1}
    put(s3, "cars/broken.png", picture(7))
    put(s3, "cars/1.png", b"\xff" + picture(8))  # of another size: its time has seconds only
    put(s3, "cars/1.png", picture(8) + b"\0")
    put(s3, "cars/deep/9.png", picture(9))
    assert embed(db, "s3://pictures/cars") == {"embedded": 3, "already_there": 5, "failed": 0}
    s3.delete_object(Bucket="pictures", Key="cars/2.png")
    assert embed(db, "s3://pictures/cars", "--exclude", "deep", "--prune")["already_there"] == 6
    store = Store(db)
    (setting,) = store.settings()
    ids, _ = store.read(setting)
    assert ids == sorted([*(f"{index}.png" for index in (0, 1, 3, 4, 5)), "broken.png", "deep/9.png"])
    row = store.image_rows(setting.dataset, setting.source, ["1.png"])["1.png"]
    assert (row["path"], row["size"], row["width"]) == ("s3://pictures/cars/1.png", len(picture(8)) + 1, 24)
    for index in ("0.png", "1.png", "3.png", "4.png", "5.png", "broken.png", "deep/9.png"):
        s3.delete_object(Bucket="pictures", Key=f"cars/{index}")
    put(s3, "cars/text.txt", b"x")
    assert "has no images" in refused(tmp_path, "s3://pictures/cars", "--prune")
    assert store.count(setting) == 7


def test_tables_on_a_store(s3: Any, tmp_path: Path) -> None:
    rows = {"id": [str(row) for row in range(90)], "image": [picture(row) for row in range(90)]}
    buffer = io.BytesIO()
    pq.write_table(pa.table(rows), buffer, row_group_size=40)
    put(s3, "tables/t.parquet", buffer.getvalue())
    lancedb.connect("s3://pictures/tables").create_table("l", pa.table(rows))
    for name, dataset in (("t.parquet", "t"), ("l.lance", "l")):
        (source,) = find([f"s3://pictures/tables/{name}"])
        assert (source.dataset, source.root) == (dataset, f"s3://pictures/tables/{name}")
        again = pickle.loads(pickle.dumps(source))  # noqa: S301
        assert list(select(again, {"3", "41", "89"}.__contains__)) == [(str(row), picture(row)) for row in (3, 41, 89)]
        assert embed(tmp_path / dataset, f"s3://pictures/tables/{name}")["embedded"] == 90
    buffer = io.BytesIO()
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pq.write_table(pa.table({"image": pa.array([{"bytes": None, "path": "a.png"}], kind)}), buffer)
    put(s3, "tables/f.parquet", buffer.getvalue())
    (source,) = find(["s3://pictures/tables/f.parquet"], allow_outside=True)
    with pytest.raises(ImageError, match=r"names a file; on s3:// only encoded images are read"):
        dict(source)["a.png"]()  # type: ignore[operator]


def put_shard(s3: Any, tmp_path: Path, number: int, files: dict[str, Any]) -> None:
    put(s3, f"cars/{number:03}.tar", pack(tmp_path / f"{number:03}.tar", files).read_bytes())


def test_shards_on_a_store(s3: Any, tmp_path: Path) -> None:
    for number in range(3):
        put_shard(s3, tmp_path, number, samples(4, seed=10 * number))
    ids = [f"{shard:03d}/{key:04d}" for shard in range(3) for key in range(4)]
    singly = [f"s3://pictures/cars/{each:03}.tar" for each in range(3)]
    for named in (["s3://pictures/cars/*.tar"], ["s3://pictures/cars/{000..002}.tar"], singly):
        (source,) = find(named)
        assert (source.dataset, source.root) == ("cars", "s3://pictures/cars/**/*.tar")
        again = pickle.loads(pickle.dumps(source))  # noqa: S301
        read = {image_id: image().data for image_id, image in again.open(source.references())}
        assert list(read) == ids
        assert list(read.values()) == [picture(10 * shard + key) for shard in range(3) for key in range(4)]
    db = tmp_path / "db"
    assert embed(db, singly[0]) == {"embedded": 4, "already_there": 0, "failed": 0}
    assert embed(db, "s3://pictures/cars/*.tar") == {"embedded": 8, "already_there": 4, "failed": 0}
    # Another picture in one, less in another, and a shard that is cut off.
    put_shard(s3, tmp_path, 1, samples(4, seed=10) | {"0002.png": picture(99) + b"\0"})
    put_shard(s3, tmp_path, 2, samples(2, seed=20))
    put(s3, "cars/003.tar", pack(tmp_path / "003.tar", samples(4, seed=30)).read_bytes()[:3000])
    images: dict[str, Any] = dict(source)
    lookup = Lookup(["s3://pictures/cars/*.tar"])
    time.sleep(1.1)  # a store's times have seconds only
    put_shard(s3, tmp_path, 0, samples(4))
    with pytest.raises(ImageError, match=r"of 's3://pictures/cars/000\.tar' changed while the job ran: run the same"):
        images["000/0001"]()
    s3.delete_object(Bucket="pictures", Key="cars/000.tar")
    with pytest.raises(ImageError, match=r"of 's3://pictures/cars/000\.tar' cannot be read: "):
        images["000/0001"]()
    ((there,), problems) = lookup.look()
    assert (len(list(there.references())), problems) == (8, {})
    counted = embed(db, "s3://pictures/cars/*.tar", "--prune", status=3)
    assert counted == {"embedded": 2, "already_there": 5, "failed": 1}
    store = Store(db)
    (setting,) = store.settings()
    assert store.read(setting)[0] == [*(f"001/{key:04}" for key in range(4)), "002/0000", "002/0001", "003/0000"]
    (failed,) = store.failures(setting.dataset, source=setting.source).values()
    assert "s3://pictures/cars/003.tar is damaged or cut off after byte" in failed


def test_another_process_opens_what_this_one_listed(s3: Any) -> None:
    for index in range(5):
        put(s3, f"cars/{index}.png", picture(index))
    (source,) = find(["s3://pictures/cars"])
    next(iter(source))[1]()  # type: ignore[operator]  # it has connected
    given = pickle.dumps((source, list(source.references())[::2]))
    assert SECRET.encode() not in given
    done = subprocess.run([sys.executable, "-c", OPEN], input=given, capture_output=True, check=True)
    expected = [f"{index}.png {read_encoded(picture(index)).sha256}" for index in (0, 2, 4)]
    assert done.stdout.decode().splitlines() == expected


def test_objects_that_go_or_are_too_large_fail_image_by_image(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for index in range(3):
        put(s3, f"cars/{index}.png", picture(index))
    (source,) = find(["s3://pictures/cars"])
    images: dict[str, Any] = dict(source)
    s3.delete_object(Bucket="pictures", Key="cars/1.png")
    with pytest.raises(ImageError, match=r"'s3://pictures/cars/1\.png' is not there|cannot be read"):
        images["1.png"]()
    put(s3, "cars/2.png", b"")
    with pytest.raises(ImageError, match=r"'s3://pictures/cars/2\.png' is empty"):
        images["2.png"]()
    monkeypatch.setattr("conditional_image_embeddings.inputs.encoded.MAX_BYTES", 100)
    with pytest.raises(ImageError, match=r"has \d+ bytes; at most 100 are read"):
        images["0.png"]()


def test_what_a_watch_looks_at(s3: Any) -> None:
    lookup = Lookup(["s3://pictures/cars"])
    assert lookup.folders == lookup.files == []
    assert "does not exist" in str(lookup.look()[1]["s3://pictures/cars"])
    put(s3, "cars/1.png", picture(1))
    (source,), problems = lookup.look()
    assert (len(list(source.references())), problems) == (1, {})


def test_what_is_not_there_is_one_line(s3: Any, tmp_path: Path) -> None:
    put(s3, "texts/a.txt", b"x")
    put(s3, "shards/a.tar", b"none" * 500)
    put(s3, "broken.parquet", b"none")
    assert "s3://nowhere-at-all/x cannot be listed: there is no such bucket" in refused(
        tmp_path, "s3://nowhere-at-all/x"
    )
    assert "s3://pictures/none does not exist" in refused(tmp_path, "s3://pictures/none")
    assert "s3://pictures/texts has no images (looked for suffixes" in refused(tmp_path, "s3://pictures/texts")
    assert "s3://pictures/shards/a.tar is damaged or cut off" in refused(tmp_path, "s3://pictures/shards/a.tar")
    assert "b.tar does not exist: name shards that are there" in refused(tmp_path, "s3://pictures/shards/{a,b}.tar")
    assert "name its WebDataset shards instead (s3://pictures/shards/*.tar)" in refused(
        tmp_path, "s3://pictures/shards"
    )
    assert "no shard matches s3://pictures/none/*.tar" in refused(tmp_path, "s3://pictures/none/*.tar")
    assert "a.tar.gz is compressed" in refused(tmp_path, "s3://pictures/shards/a.tar.gz")
    assert "broken.parquet cannot be read as a table" in refused(tmp_path, "s3://pictures/broken.parquet")
    assert "none.parquet cannot be read as a table" in refused(tmp_path, "s3://pictures/none.parquet")
    assert "names no bucket" in refused(tmp_path, "s3://")
    for url in ("http://pictures/a.png", "https://pictures/a.png", "gs://pictures/a", "file:///etc"):
        assert "is a URL" in refused(tmp_path, url)
    assert not (tmp_path / "db").exists()


class Refusing(BaseHTTPRequestHandler):
    """Says the same to everybody."""

    status, code = 403, "AccessDenied"

    def do_GET(self) -> None:
        body = f"<Error><Code>{self.code}</Code><Message>no</Message><RequestId>1</RequestId></Error>".encode()
        self.send_response(self.status)
        self.send_header("Content-Length", str(0 if self.command == "HEAD" else len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *arguments: object) -> None: ...


@pytest.fixture
def refusing() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with environment(f"http://127.0.0.1:{server.server_port}"):
            yield server
        server.shutdown()


def test_access_that_is_denied_is_one_line(refusing: ThreadingHTTPServer, tmp_path: Path) -> None:
    for named in ("s3://pictures/cars", "s3://pictures"):
        assert "access is denied: see that credentials are there (AWS_*, a profile)" in refused(tmp_path, named)
    assert "access is denied" in refused(tmp_path, "s3://pictures/t.parquet")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("AWS_ACCESS_KEY_ID")
        patch.delenv("AWS_SECRET_ACCESS_KEY")
        assert "see that credentials are there" in refused(tmp_path, "s3://pictures/cars")


def test_a_store_that_cannot_be_reached_is_one_line(tmp_path: Path) -> None:
    """The SDK tries again for some seconds."""
    with environment("http://127.0.0.1:9"):
        assert "it cannot be reached: see the network, and AWS_ENDPOINT_URL" in refused(tmp_path, "s3://pictures/cars")
