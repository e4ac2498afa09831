"""Downloads against a server on loopback that does everything wrong, and archives that mean harm."""

import hashlib
import io
import math
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import miniatures as mini
import pytest
import web_server
from commands import cie
from filelock import FileLock

from conditional_image_embeddings import datasets
from conditional_image_embeddings.datasets.archives import unpack
from conditional_image_embeddings.datasets.download import Archive, download, steps
from conditional_image_embeddings.datasets.transfer import fetch
from conditional_image_embeddings.errors import DatasetError, OptionError

BODY = bytes(range(256)) * 4096  # 1 MB: more than what the sockets hold
MD5 = hashlib.md5(BODY).hexdigest()  # noqa: S324
FAST = {"timeout": 20, "backoff": 0.01, "attempts": 3}


@pytest.fixture
def server() -> Iterator[web_server.Server]:
    with web_server.serving() as running:
        running.files["/file"] = BODY
        yield running


def get(server: web_server.Server, target: Path, path: str = "/file", **given: object) -> bool:
    return fetch(f"{server.base}{path}", target, **(FAST | given))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        *(({"timeout": value}, "timeout is .*: give seconds above 0") for value in (math.inf, math.nan, 0, -1, 1e10)),
        *(({"attempts": value}, "attempts is .*: give a number of at least 1") for value in (0, -3)),
        *(({"backoff": value}, "backoff is .*: give seconds of at least 0") for value in (math.inf, math.nan, -0.5)),
    ],
)
def test_patience_that_is_no_number_is_refused(
    server: web_server.Server, tmp_path: Path, given: dict[str, float], message: str
) -> None:
    """Before anything is asked for, also where nothing would be downloaded."""
    for begin in (
        lambda: get(server, tmp_path / "file", **given),
        lambda: download("cub200", tmp_path, **given),  # type: ignore[arg-type]
        lambda: download("cars196", tmp_path, **given),  # type: ignore[arg-type]
    ):
        with pytest.raises(OptionError, match=message) as error:
            begin()
        assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "faults",
    [
        [],
        ["cut"],
        ["stall"],
        ["reset"],
        [503, 429],
        ["cut", "whole"],
        ["cut", "elsewhere"],
        ["cut", 416],
        ["cut", 500, 503, "cut", 502, 504, "cut", "reset", "cut"],  # each cut brings something: the attempts start over
    ],
    ids=str,
)
def test_the_file_arrives_whole_in_spite_of(server: web_server.Server, tmp_path: Path, faults: list[int | str]) -> None:
    server.faults = list(faults)
    assert get(server, tmp_path / "a" / "file", md5=MD5, timeout=0.5 if "stall" in faults else 20)
    assert (tmp_path / "a" / "file").read_bytes() == BODY
    assert not server.faults
    assert not list(tmp_path.rglob("*.part"))


def test_only_the_rest_is_asked_for(server: web_server.Server, tmp_path: Path) -> None:
    server.faults = ["cut", 503]
    with pytest.raises(DatasetError, match=r"1 attempts\); [\d,]+ bytes are in .*file\.part: the same command goes on"):
        get(server, tmp_path / "file", attempts=1)
    have = (tmp_path / "file.part").stat().st_size
    assert 0 < have < len(BODY)
    assert get(server, tmp_path / "file", md5=MD5)
    assert server.ranges == [None, *[f"bytes={have}-"] * 2]
    assert not get(server, tmp_path / "file", md5=MD5)  # it is there
    assert len(server.ranges) == 3


def test_a_part_that_is_whole_already_is_taken(server: web_server.Server, tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(BODY)
    assert get(server, tmp_path / "file", md5=MD5)
    assert (tmp_path / "file").read_bytes() == BODY


@pytest.mark.parametrize("begun", [b"of another file", BODY + b"longer"])
def test_a_part_of_another_file_is_begun_anew(server: web_server.Server, tmp_path: Path, begun: bytes) -> None:
    (tmp_path / "file.part").write_bytes(begun)
    assert get(server, tmp_path / "file", md5=MD5)
    assert (tmp_path / "file").read_bytes() == BODY


def test_redirects_are_followed(server: web_server.Server, tmp_path: Path) -> None:
    server.redirects = {"/old": "/older", "/older": f"{server.base}/file?download=1", "/loop": "/loop"}
    assert get(server, tmp_path / "file", "/old", md5=MD5)
    with pytest.raises(DatasetError, match=r"/loop cannot be downloaded: .*redirect"):
        get(server, tmp_path / "other", "/loop")


@pytest.mark.parametrize(
    ("faults", "given", "message"),
    [
        ([404], {}, r"/file answered 404 Not Found: the file may have moved"),
        ([403], {}, r"answered 403"),
        ([503, 503, 503], {}, r"answered 503 Service Unavailable \(3 attempts\)$"),
        ([], {"md5": "0" * 32}, r"has the MD5 .*, not 0{32}: it is broken"),
        ([], {"max_bytes": 1000}, r"has 1,048,576 bytes, more than 1,000"),
        (["unsized"], {"max_bytes": 1000}, r"is larger than 1,000 bytes"),
    ],
)
def test_what_cannot_be_had_is_said_in_one_line(
    server: web_server.Server, tmp_path: Path, faults: list[int | str], given: dict[str, object], message: str
) -> None:
    server.faults = list(faults)
    with pytest.raises(DatasetError, match=message) as raised:
        get(server, tmp_path / "file", **given)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "file").exists()
    assert not server.faults  # a 404 is not asked for again


def test_places_that_cannot_serve(tmp_path: Path, server: web_server.Server) -> None:
    with pytest.raises(DatasetError, match=r"ftp://.* cannot be downloaded"):
        fetch("ftp://127.0.0.1/file", tmp_path / "file")
    closed = server.base
    with web_server.serving() as gone:
        closed = gone.base
    with pytest.raises(DatasetError, match=r"cannot be downloaded: .*3 attempts"):
        fetch(f"{closed}/file", tmp_path / "file", backoff=0.01, attempts=3)
    (tmp_path / "file").mkdir()
    with pytest.raises(DatasetError, match=r"file cannot be written: Is a directory"):
        get(server, tmp_path / "file", md5=MD5)
    with FileLock(tmp_path / ".taken.lock"), pytest.raises(DatasetError, match=r"taken is being downloaded by another"):
        get(server, tmp_path / "taken")


def tar_of(folder: Path, compression: str = "gz") -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode=f"w:{compression}") as archive:  # type: ignore[call-overload]
        for path in sorted(folder.iterdir()):
            archive.add(path, path.name)
    return data.getvalue()


def zip_of(folder: Path, *parts: str) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for part in parts or (".",):
            for path in sorted((folder / part).rglob("*")):
                archive.write(path, path.relative_to(folder))
    return data.getvalue()


@pytest.fixture
def birds(server: web_server.Server, tmp_path: Path) -> Archive:
    mini.birds(tmp_path / "source")
    server.files["/CUB_200_2011.tgz"] = data = tar_of(tmp_path / "source")
    return Archive(f"{server.base}/CUB_200_2011.tgz", "CUB_200_2011.tgz", hashlib.md5(data).hexdigest())  # noqa: S324


@pytest.fixture
def posters(server: web_server.Server, tmp_path: Path) -> str:
    mini.films(tmp_path / "source")
    server.files["/m/Movie_Poster_Dataset.zip"] = zip_of(tmp_path / "source", "Movie_Poster_Dataset")
    server.files["/m/Movie_Poster_Metadata.zip"] = zip_of(tmp_path / "source", "groundtruth")
    return f"{server.base}/m/"


def test_birds_are_downloaded_and_only_the_test_half_is_kept(
    server: web_server.Server, birds: Archive, tmp_path: Path
) -> None:
    found = download("cub200", tmp_path / "d", archives=[birds])
    assert len(found) == len(mini.TEST_BIRDS)
    root = tmp_path / "d" / "cub200"
    assert {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()} - {
        ".CUB_200_2011.tgz.lock",
        ".unpacked",
    } == {"CUB_200_2011/images.txt", *(f"CUB_200_2011/images/{name}" for name in mini.TEST_BIRDS)}
    asked = len(server.ranges)
    assert len(download("cub200", tmp_path / "d", archives=[birds])) == len(found)
    assert len(server.ranges) == asked  # it was there
    (root / "CUB_200_2011" / "images" / mini.TEST_BIRDS[0]).unlink()
    assert len(download("cub200", tmp_path / "d", archives=[birds], keep_archives=True)) == len(found)
    assert (root / "CUB_200_2011.tgz").is_file()


def test_a_broken_download_is_said_and_mended_by_the_next_run(
    server: web_server.Server, posters: str, tmp_path: Path
) -> None:
    whole = server.files["/m/Movie_Poster_Dataset.zip"]
    server.files["/m/Movie_Poster_Dataset.zip"] = b"<html>We have moved</html>"
    with pytest.raises(DatasetError, match=r"Movie_Poster_Dataset\.zip is not a whole archive"):
        download("movie-posters", tmp_path / "d", mirror=posters)
    server.files["/m/Movie_Poster_Dataset.zip"] = whole
    assert len(download("movie-posters", tmp_path / "d", mirror=posters)) == 3
    assert not list((tmp_path / "d").rglob("*Dataset.zip"))
    asked = len(server.ranges)
    assert len(download("movie-posters", tmp_path / "d", mirror=posters)) == 3
    assert len(server.ranges) == asked
    next((tmp_path / "d").rglob("tt0080339.jpg")).unlink()  # which is no error of this set, but less than there was
    assert len(download("movie-posters", tmp_path / "d", mirror=posters)) == 3


def test_archives_that_a_person_put_there_are_unpacked_and_stay(tmp_path: Path) -> None:
    mini.combined_cars(tmp_path / "source")
    home = tmp_path / "d" / "cars196"
    home.mkdir(parents=True)
    for text in (steps("cars196", tmp_path / "d"), steps("deepfashion", tmp_path / "d")):
        assert str(tmp_path / "d") in text
    assert steps("cub200") == ""
    with pytest.raises(DatasetError, match=r"^cars196: nothing of it is in"):
        download("cars196", tmp_path / "d")
    (tmp_path / "source" / "cars_annos.mat").rename(home / "cars_annos.mat")
    (home / "car_ims.tgz").write_bytes(tar_of(tmp_path / "source"))
    assert len(download("cars196", tmp_path / "d")) == 4
    assert (home / "car_ims.tgz").is_file()
    mini.clothes(tmp_path / "clothes")
    home = tmp_path / "d" / "deepfashion"
    home.mkdir()
    (home / "img.zip").write_bytes(zip_of(tmp_path / "clothes", "img"))
    with pytest.raises(DatasetError, match=r"^deepfashion: 3 images .* and img\.zip, not unpacked, but nothing"):
        download("deepfashion", tmp_path / "d")
    (home / "Anno_fine.zip").write_bytes(zip_of(tmp_path / "clothes", "Anno_fine"))
    assert len(download("deepfashion", tmp_path / "d")) == 3


def evil_zip(name: str, mode: int = 0o100644) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("good.jpg", "good")
        member = zipfile.ZipInfo("placeholder")
        member.filename, member.external_attr = name, mode << 16
        archive.writestr(member, "/etc/passwd")
    return data.getvalue()


def evil_tar(name: str, kind: bytes = tarfile.REGTYPE) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.type, member.linkname, member.size = kind, "/etc/passwd", 4 if kind == tarfile.REGTYPE else 0
        archive.addfile(member, io.BytesIO(b"evil"))
        good = tarfile.TarInfo("good.jpg")
        good.size = 4
        archive.addfile(good, io.BytesIO(b"good"))
    return data.getvalue()


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "C:/evil", "a\\..\\..\\evil"])
def test_nothing_lands_outside(tmp_path: Path, name: str) -> None:
    for suffix, data in ((".zip", evil_zip(name)), (".tar", evil_tar(name))):
        archive = tmp_path / f"archive{suffix}"
        archive.write_bytes(data)
        with pytest.raises(DatasetError, match="a path outside of it: nothing of it is unpacked"):
            unpack(archive, tmp_path / "in" / "here")
        assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.parent != tmp_path]
    assert not Path("/evil").exists()


def test_folders_nested_without_end_are_not_unpacked(tmp_path: Path) -> None:
    for suffix, data in ((".zip", evil_zip("d/" * 1500 + "1.jpg")), (".tar", evil_tar("d/" * 1500 + "1.jpg"))):
        archive = tmp_path / f"archive{suffix}"
        archive.write_bytes(data)
        with pytest.raises(DatasetError, match="nests more than 64 folders"):
            unpack(archive, tmp_path / "in")
        assert not list((tmp_path / "in").iterdir())


def test_links_are_not_unpacked(tmp_path: Path) -> None:
    kinds = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE)
    for index, data in enumerate((evil_zip("link", 0o120777), *(evil_tar("link", kind) for kind in kinds))):
        archive = tmp_path / f"{index}{'.zip' if index == 0 else '.tar'}"
        archive.write_bytes(data)
        assert unpack(archive, tmp_path / str(index)) == 1
        assert [path.name for path in (tmp_path / str(index)).iterdir()] == ["good.jpg"]


def test_too_much_and_too_little_are_refused(tmp_path: Path) -> None:
    mini.birds(tmp_path / "source")
    for suffix, data in (
        (".tgz", tar_of(tmp_path / "source")),
        (".tar", tar_of(tmp_path / "source", "")),
        (".zip", zip_of(tmp_path / "source")),
    ):
        archive = tmp_path / f"archive{suffix}"
        archive.write_bytes(data)
        for limit in ({"max_bytes": 1000}, {"max_files": 3}):
            with pytest.raises(DatasetError, match=r"holds more than .* not the archive expected"):
                unpack(archive, tmp_path / suffix, **limit)  # type: ignore[arg-type]
        archive.write_bytes(data[: len(data) // 2])
        with pytest.raises(DatasetError, match=rf"archive{suffix} is not a whole archive"):
            unpack(archive, tmp_path / suffix)
        assert not [path for path in (tmp_path / suffix).rglob("*") if path.is_file()]
        archive.write_bytes(data)
        assert unpack(archive, tmp_path / suffix) == len(mini.BIRDS) + 3


def test_one_wrong_bit_is_found(tmp_path: Path) -> None:
    archive = tmp_path / "archive.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as opened:
        opened.writestr("a.jpg", b"picture" * 100)
    data = bytearray(archive.read_bytes())
    data[200] ^= 1
    archive.write_bytes(data)
    with pytest.raises(DatasetError, match=r"not a whole archive: Bad CRC"):
        unpack(archive, tmp_path / "here")


def test_the_commands(posters: str, tmp_path: Path) -> None:
    nothing = cie("datasets", "check", tmp_path)
    assert nothing.returncode == 0, nothing.stderr
    assert len({line.index("of") for line in nothing.stdout.splitlines()[1:6]}) <= 3
    assert all(f"{name}: nothing of it" in nothing.stdout for name in datasets.NAMES)
    done = cie("datasets", "download", "movie-posters", tmp_path, "--mirror", posters)
    assert done.returncode == 1  # the miniature is no complete copy
    assert "movie_posters  3 of 8,052  3         2 of 2   incomplete" in done.stdout
    assert "movie_posters, movie genre: 3 labels" in done.stdout
    assert "Traceback" not in done.stderr
    again = cie("datasets", "check", "movie_posters", tmp_path, "--json")
    assert again.returncode == 1
    assert '"images": 3' in again.stdout
    by_hand = cie("datasets", "download", "cars196", tmp_path)
    assert by_hand.returncode == 1
    assert "kaggle.com" in by_hand.stdout
    assert "known: synthetic_cars" in cie("datasets", "download", "imagenet", tmp_path).stderr


def test_the_script_asks_for_all_of_them() -> None:
    script = Path(__file__).parents[1] / "scripts" / "download_datasets.sh"
    assert 'cie datasets download all "${1:-datasets}"' in script.read_text()
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
