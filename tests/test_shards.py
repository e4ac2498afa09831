"""WebDataset shards as a source: what is found in them, what is damaged, and what a job does with them."""

import gzip
import json
import os
import pickle
import re
import tarfile
from pathlib import Path

import pytest
from color_embedder import draw
from commands import cie, error_of
from shards_at_hand import pack, picture, samples

from conditional_image_embeddings.collection.job.pruning import Missing, missing
from conditional_image_embeddings.collection.storage.store import Store
from conditional_image_embeddings.errors import ImageError, NoImagesError, SourceError
from conditional_image_embeddings.inputs import tar_members
from conditional_image_embeddings.inputs.encoded import Encoded
from conditional_image_embeddings.inputs.lookup import Lookup
from conditional_image_embeddings.inputs.sources import find


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Three shards of four samples with the same keys."""
    for number in range(3):
        pack(tmp_path / "cars" / f"{number:03d}.tar", samples(4, seed=10 * number))
    return tmp_path / "cars"


def read(image: object) -> bytes:
    assert callable(image)
    encoded = image()
    assert isinstance(encoded, Encoded)
    return encoded.data


def embed(db: Path, *arguments: object, status: int = 0) -> dict[str, int]:
    done = cie("embed", *arguments, "--method", "pixels", "-e", db, "--json")
    assert done.returncode == status, done.stderr
    (row,) = json.loads(done.stdout)
    return {name: row[name] for name in ("embedded", "already_there", "failed")}


def stored(db: Path) -> list[str]:
    store = Store(db)
    (setting,) = store.settings()
    return store.read(setting)[0]


def reasons(db: Path) -> dict[str, str]:
    store = Store(db)
    (setting,) = store.settings()
    return store.failures(setting.dataset, source=setting.source)


def test_shards_are_one_source_however_they_are_named(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shards.parent)
    ids = [f"{shard:03d}/{key:04d}" for shard in range(3) for key in range(4)]
    for named in (["cars/*.tar"], ["cars/{000..002}.tar"], ["cars/{000,001,002}.tar"], sorted(shards.iterdir())):
        (source,) = find(named)
        assert [image_id for image_id, _ in source.references()] == ids
        assert (source.dataset, source.root) == ("cars", f"{shards}/**/*.tar")
        assert [read(image) for _, image in source] == [picture(10 * s + k) for s in range(3) for k in range(4)]
    with pytest.raises(SourceError, match=r"cars/003\.tar does not exist"):
        find(["cars/{000..003}.tar"])
    with pytest.raises(SourceError, match="stands for more than 100000 paths"):
        find(["cars/{000000..999999}.tar"])
    with pytest.raises(SourceError, match="stands for more than 100000 paths"):
        find(["cars/{0..99999}{0..99999}.tar"])  # found out before they are all there


def test_braces_expand_other_paths_too(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        draw(tmp_path / name, 2)
    (source,) = find([f"{tmp_path}/{{a,b}}/*.png"])
    assert [image_id for image_id, _ in source] == ["a/00000.png", "a/00001.png", "b/00000.png", "b/00001.png"]
    (tmp_path / "{a,b}.png").write_bytes(picture(0))
    (source,) = find([tmp_path / "{a,b}.png"])  # a file of that name is that file
    assert [image_id for image_id, _ in source] == ["{a,b}.png"]


def test_a_sample_is_what_webdataset_takes_for_one(tmp_path: Path) -> None:
    """The key ends at the name's first dot; of several images the one with a plain extension; other files are none."""
    files = {
        "./a.json": b"{}", "./a.mask.png": b"mask", "./a.PNG": b"a", "b/c.d/e.f.png": b"e", "b/x.left.jpg": b"left",
        "b/x.right.jpg": b"right", ".hidden.png": b"no key", "none": b"no extension", "t.txt": b"no image",
        "v1.0/0001.jpg": b"in a folder with a dot", "long" * 60 + ".png": b"long", "ü\udcff.png": b"odd",
    }  # fmt: skip
    for format in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):  # noqa: A001
        (source,) = find([pack(tmp_path / "s.tar", files, format=format)])
        assert {image_id: read(image) for image_id, image in source} == {
            "s/a": b"a", "s/b/c.d/e": b"e", "s/b/x": b"left", "s/v1.0/0001": b"in a folder with a dot",
            f"s/{'long' * 60}": b"long", r"s/ü\xff": b"odd",
        }  # fmt: skip


def test_a_job_over_shards(shards: Path, tmp_path: Path) -> None:
    db = tmp_path / "db"
    assert embed(db, shards / "000.tar") == {"embedded": 4, "already_there": 0, "failed": 0}
    assert embed(db, f"{shards}/*.tar") == {"embedded": 8, "already_there": 4, "failed": 0}
    assert embed(db, f"{shards}/{{000..002}}.tar") == {"embedded": 0, "already_there": 12, "failed": 0}
    assert len(stored(db)) == 12
    # The same content at another time; then another picture, and a shard more.
    os.utime(shards / "001.tar", (1, 1))
    assert embed(db, f"{shards}/*.tar")["already_there"] == 12
    pack(shards / "001.tar", samples(4, seed=10) | {"0002.png": picture(99)})
    pack(shards / "003.tar", samples(2, seed=50))
    assert embed(db, f"{shards}/*.tar") == {"embedded": 3, "already_there": 11, "failed": 0}
    store = Store(db)
    (setting,) = store.settings()
    row = store.image_rows(setting.dataset, setting.source, ["001/0002"])["001/0002"]
    assert (row["width"], row["height"], row["path"], row["size"]) == (24, 16, None, len(picture(99)))


def test_an_image_that_is_none_and_members_that_are_no_files_are_listed(tmp_path: Path) -> None:
    link, hard, device = tarfile.TarInfo(), tarfile.TarInfo(), tarfile.TarInfo()
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    hard.type, hard.linkname = tarfile.LNKTYPE, "a.png"
    device.type = tarfile.CHRTYPE
    files = {"a.png": picture(1), "b.png": b"none", "c.png": b"", "d.png": link, "e.png": hard, "f.png": device}
    shard = pack(tmp_path / "s.tar", {**files, "a2.png": picture(2), "a.jpg": picture(3)})  # `a` comes back
    db = tmp_path / "db"
    assert embed(db, shard, status=3) == {"embedded": 2, "already_there": 0, "failed": 6}
    assert stored(db) == ["s/a", "s/a2"]
    told = reasons(db)
    assert {image_id: told[image_id] for image_id in ("s/c", "s/d", "s/e", "s/f")} == {
        "s/c": f"the image at byte 3584 of {str(shard)!r} is empty",
        "s/d": f"{shard}: 'd.png' is a link, and not read",
        "s/e": f"{shard}: 'e.png' is a link, and not read",
        "s/f": f"{shard}: 'f.png' is no regular file, and not read",
    }
    assert "is no image in a format that is read" in told["s/b"]
    assert any("whose key 'a' the shard had before" in reason for reason in told.values())


@pytest.mark.parametrize(
    ("damage", "embedded", "reason"),
    [
        ("cut off in a picture", 5, "is cut off"),
        ("cut off in a header", 6, "is cut off: there is no end mark"),
        ("without its end", 8, "is cut off: there is no end mark"),
        ("a header overwritten", 6, "is damaged: there is no header"),
        ("a header of a gigabyte", 6, "is damaged or cut off"),
        ("no archive", 4, "is damaged or cut off"),
        ("compressed", 4, r"is compressed \(gzip\), so that no image can be found in it: decompress it first"),
        ("unreadable", 4, "cannot be read"),
    ],
)
def test_what_is_readable_of_a_damaged_shard_is_embedded(
    damage: str, embedded: int, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest is a failed image, so that nobody takes the shard for done."""
    folder, db = tmp_path / "cars", tmp_path / "db"
    pack(folder / "a.tar", samples(4))
    broken = pack(folder / "b.tar", samples(4, seed=10))
    whole = broken.read_bytes()
    with tarfile.open(broken) as archive:
        second, third = archive.getmember("0001.png"), archive.getmember("0002.png")
        last = archive.getmembers()[-1]
    if damage == "cut off in a picture":
        broken.write_bytes(whole[: second.offset_data + 100])
    elif damage == "cut off in a header":
        broken.write_bytes(whole[: third.offset + 100])
    elif damage == "without its end":
        broken.write_bytes(whole[: last.offset_data + 512])
    elif damage == "a header overwritten":
        broken.write_bytes(whole[: third.offset] + b"x" * 512 + whole[third.offset + 512 :])
    elif damage == "a header of a gigabyte":
        huge = tarfile.TarInfo("x")
        huge.type, huge.size = tarfile.GNUTYPE_LONGNAME, 2**30
        broken.write_bytes(whole[: third.offset] + huge.tobuf(tarfile.GNU_FORMAT) + whole[third.offset :])
    elif damage == "no archive":
        broken.write_bytes(b"none" * 1000)
    elif damage == "compressed":
        broken.write_bytes(gzip.compress(whole))
    else:
        opened = Path.open

        def refuse(path: Path, *arguments: object, **options: object) -> object:
            if path == broken:
                raise PermissionError(13, "Permission denied")
            return opened(path, *arguments, **options)  # type: ignore[call-overload]

        monkeypatch.setattr(Path, "open", refuse)
    counted = embed(db, f"{folder}/*.tar", status=3)
    assert counted["embedded"] == embedded
    told = reasons(db)
    assert f"{broken} " in told["b/"]
    assert "\n" not in told["b/"]
    assert re.search(reason, " ".join(told.values()))
    monkeypatch.undo()
    broken.write_bytes(whole)
    assert embed(db, f"{folder}/*.tar") == {"embedded": 8 - embedded, "already_there": embedded, "failed": 0}


def test_shards_that_cannot_be_used_at_all(tmp_path: Path) -> None:
    (tmp_path / "broken.tar").write_bytes(b"none" * 500)
    with pytest.raises(SourceError, match=r"broken\.tar is damaged or cut off after byte 0"):
        find([tmp_path / "broken.tar"])
    (tmp_path / "empty.tar").write_bytes(b"")
    with pytest.raises(SourceError, match=r"empty\.tar is damaged or cut off after byte 0"):
        find([tmp_path / "empty.tar"])
    with pytest.raises(NoImagesError, match="has no images"):
        find([pack(tmp_path / "texts.tar", {"a.txt": b"x"})])
    with pytest.raises(NoImagesError, match="has no images"):
        find([pack(tmp_path / "nothing.tar", {})])
    for name in ("a.tar.gz", "a.tgz", "a.tar.zst"):
        (tmp_path / name).write_bytes(b"x")
        assert "is compressed, so that no image can be found in it: decompress it" in error_of(
            cie("embed", tmp_path / name, "--method", "pixels", "-e", tmp_path / "db"), 1
        )
    pack(tmp_path / "folder" / "shards" / "000.tar", samples(1))
    with pytest.raises(SourceError, match=r"has no images .*; name its WebDataset shards instead \(shards/000\.tar\)"):
        find([tmp_path / "folder"])


def test_an_archive_that_leads_backwards_ends(tmp_path: Path) -> None:
    """A negative size would be followed for ever."""
    shard = pack(tmp_path / "s.tar", samples(2))
    member = tarfile.TarInfo("z.png")
    member.size = -1024
    buffer = member.tobuf(tarfile.GNU_FORMAT)
    data = shard.read_bytes()
    with tarfile.open(shard) as archive:
        end = archive.getmembers()[-1].offset_data + 512
    shard.write_bytes(data[:end] + buffer + data[end:])
    (source,) = find([shard])
    assert [image_id for image_id, _ in source.references()] == ["s/0000", "s/0001", "s/"]


def test_a_shard_that_changes_under_a_job_fails_image_by_image(shards: Path) -> None:
    (source,) = find([f"{shards}/*.tar"])
    references = list(source.references())
    pack(shards / "001.tar", samples(4, seed=70))
    images = dict(pickle.loads(pickle.dumps(source)).open(references))  # noqa: S301
    assert read(images["000/0001"]) == picture(1)
    with pytest.raises(ImageError, match="changed while the job ran: run the same command again"):
        read(images["001/0001"])
    (shards / "002.tar").unlink()
    with pytest.raises(ImageError, match="cannot be read: no such file"):
        read(images["002/0001"])


def test_an_image_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (source,) = find([pack(tmp_path / "s.tar", {"a.png": picture(0)})])
    monkeypatch.setattr("conditional_image_embeddings.inputs.encoded.MAX_BYTES", 100)
    with pytest.raises(ImageError, match=r"has \d+ bytes; at most 100 are read"):
        read(dict(source)["s/a"])


def test_listing_holds_no_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shard = pack(tmp_path / "s.tar", {f"{number:05d}.png": b"x" for number in range(300)})
    held = []
    opened = tarfile.open

    def watched(*arguments: object, **options: object) -> tarfile.TarFile:
        held.append(opened(*arguments, **options))  # type: ignore[call-overload]
        return held[-1]

    monkeypatch.setattr(tarfile, "open", watched)
    with shard.open("rb") as file:
        listed = tar_members.members(file)
        for _ in range(200):
            next(listed)
    assert len(held[0].members) <= 1  # type: ignore[attr-defined]


def test_what_is_gone_of_shards(shards: Path, tmp_path: Path) -> None:
    db = tmp_path / "db"
    embed(db, f"{shards}/*.tar")
    store = Store(db)
    pack(shards / "000.tar", {"0001.png": picture(1)})  # three samples less
    data = (shards / "001.tar").read_bytes()
    (shards / "001.tar").write_bytes(data[:4000])  # damaged: what it had may be there still
    (source,) = find([f"{shards}/00[01].tar"])  # 002 is there, and not named
    listed = sum("/" in image_id and not image_id.endswith("/") for image_id, _ in source.references())
    assert missing(store, source) == Missing(gone=["000/0000", "000/0002", "000/0003"], out_of_reach=5 - listed)
    (shards / "001.tar").write_bytes(data)
    (shards / "002.tar").unlink()
    assert embed(db, f"{shards}/*.tar", "--prune")["already_there"] == 5
    assert stored(db) == ["000/0001", *(f"001/{key:04d}" for key in range(4))]


def test_shards_and_images_of_one_folder_are_two_sources(shards: Path, tmp_path: Path) -> None:
    """Pruning one leaves the other alone."""
    draw(shards, 2)
    db = tmp_path / "db"
    embed(db, f"{shards}/*.tar")
    embed(db, shards)
    assert embed(db, shards, "--prune")["already_there"] == 2
    store = Store(db)
    assert sorted(store.count(setting) for setting in store.settings()) == [2, 12]


def test_shards_that_come_and_go_are_looked_for_again(shards: Path) -> None:
    lookup = Lookup([f"{shards}/*.tar", str(shards / "000.tar")])
    assert lookup.folders == [shards]
    (one, named), problems = lookup.look()
    assert (len(list(one.references())), len(list(named.references())), problems) == (12, 4, {})
    pack(shards / "003.tar", samples(1))
    (shards / "000.tar").unlink()
    (one,), problems = lookup.look()
    assert len(list(one.references())) == 9
    assert "none of the files that were named in" in str(*problems.values())
