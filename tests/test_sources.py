import os
from pathlib import Path

import lancedb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from color_embedder import draw

from conditional_image_embeddings.errors import ImageError, SourceError
from conditional_image_embeddings.sources import find, listing, select


def ids(*paths: Path | str) -> list[str]:
    (source,) = find([str(path) for path in paths])
    assert [image_id for image_id, _ in listing(source)] == [image_id for image_id, _ in source]
    return [image_id for image_id, _ in source]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = draw(tmp_path / "my photos", 2)
    draw(folder / "b", 1)
    draw(folder / ".hidden", 1)
    for name in (".hidden.png", "notes.txt", "metadata.csv"):
        (folder / name).write_text("x")
    return folder


def test_a_folder_with_its_folders(folder: Path) -> None:
    assert ids(folder) == ["00000.png", "00001.png", "b/00000.png"]
    (source,) = find([folder])
    assert (source.dataset, source.root) == ("my photos", str(folder))


def test_names_that_are_hard_to_store(folder: Path) -> None:
    names = ["a b.png", "it's.jpg", 'q".PNG', "new\nline.webp", "ünï.jpeg"]
    for name in names:
        (folder / "b" / name).write_bytes(b"")
    os.close(os.open(os.fsencode(folder / "b") + b"/\xff.png", os.O_CREAT))
    found = ids(folder / "b")
    assert set(found) == {"00000.png", *names, "\\xff.png"}
    for image_id in found:
        image_id.encode()


def test_a_broken_link_is_listed_and_a_circle_ends(folder: Path) -> None:
    (folder / "gone.png").symlink_to(folder / "nowhere.png")
    (folder / "b" / "up").symlink_to(folder)
    assert ids(folder) == ["00000.png", "00001.png", "b/00000.png", "gone.png"]


def test_a_folder_that_cannot_be_listed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scandir = os.scandir

    def refuse(path: Path) -> object:
        if Path(path).name == "b":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    (source,) = find([folder])
    found = dict(source)
    assert list(found) == ["00000.png", "00001.png", "b/"]
    with pytest.raises(ImageError, match="b cannot be listed: Permission denied"):
        found["b/"]()  # type: ignore[operator]
    with pytest.raises(SourceError, match="cannot be listed: Permission denied"):
        find([folder / "b"])


def test_files_share_their_common_folder_and_are_taken_whatever_their_suffix(folder: Path) -> None:
    assert ids(folder / "00001.png", folder / "b" / "00000.png", folder / "notes.txt", folder / "00001.png") == [
        "00001.png",
        "b/00000.png",
        "notes.txt",
    ]


def test_a_glob(folder: Path) -> None:
    assert ids(f"{folder}/**/*.png") == ["00000.png", "00001.png", "b/00000.png"]
    assert ids(f"{folder.parent}/my*/*") == ["my photos/00000.png", "my photos/00001.png"]
    (source,) = find([f"{folder}/0*"])
    assert source.root == str(folder)
    with pytest.raises(SourceError, match=r"no image, folder or table matches .*\*\.gif"):
        find([f"{folder}/*.gif"])


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="nowhere does not exist"):
        find([tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="empty has no images"):
        find([tmp_path / "empty"])
    with pytest.raises(SourceError, match="is a URL"):
        find(["https://example.com/a.png"])


def test_several_sources(folder: Path) -> None:
    assert len(find([folder, folder / "b", str(folder) + "/", folder / "00000.png"])) == 3


def parquet(path: Path, **columns: object) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def test_a_parquet_file_with_bytes_and_ids(tmp_path: Path) -> None:
    file = parquet(tmp_path / "t.parquet", id=[7, 8], image=[b"a", b"b"], label=["x", "y"])
    (source,) = find([file])
    assert (source.dataset, source.root) == ("t", str(file))
    assert list(source) == [("7", b"a"), ("8", b"b")]
    assert list(select(source, lambda image_id: image_id == "8")) == [("8", b"b")]
    assert ids(file) == ["7", "8"]


def test_a_parquet_file_as_hugging_face_writes_it(tmp_path: Path) -> None:
    images = [{"bytes": b"a", "path": "a.png"}, {"bytes": None, "path": "b.png"}, {"bytes": b"c", "path": "c.png"}]
    (source,) = find([parquet(tmp_path / "t.parquet", image=images)])
    assert list(source) == [("a.png", b"a"), ("b.png", tmp_path / "b.png"), ("c.png", b"c")]


def test_rows_are_numbered_where_no_column_tells_them_apart(tmp_path: Path) -> None:
    images = [{"bytes": b"a", "path": "same.png"}, {"bytes": b"b", "path": "same.png"}, None]
    file = parquet(tmp_path / "t.parquet", image=images, id=["x", None, "y"])
    (source,) = find([file])
    found = dict(source)
    assert list(found) == ids(file) == ["00000000", "00000001", "00000002"]
    with pytest.raises(ImageError, match="row 00000002 has no image"):
        found["00000002"]()  # type: ignore[operator]


def test_tables_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no image column.*its columns: a, b"):
        find([parquet(tmp_path / "t.parquet", a=[1], b=["x"])])
    with pytest.raises(SourceError, match="has no rows"):
        find([parquet(tmp_path / "e.parquet", image=pa.array([], pa.binary()))])
    (tmp_path / "broken.parquet").write_bytes(b"nothing")
    with pytest.raises(SourceError, match=r"broken\.parquet cannot be read as a table"):
        find([tmp_path / "broken.parquet"])
    with pytest.raises(SourceError, match="name its Parquet files"):
        find([tmp_path])


def test_a_lance_table(tmp_path: Path) -> None:
    names = [f"{number}.png" for number in range(100)]
    table = pa.table({"file_name": names, "image": [name.encode() for name in names]})
    lancedb.connect(tmp_path).create_table("pictures", table)
    (source,) = find([tmp_path / "pictures.lance"])
    assert source.dataset == "pictures"
    assert list(source) == [(name, name.encode()) for name in names]
