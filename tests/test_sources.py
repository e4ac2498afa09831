import os
import shutil
from pathlib import Path

import lancedb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from color_embedder import draw
from folders_at_hand import forbid_listing

from conditional_image_embeddings.errors import ImageError, SourceError
from conditional_image_embeddings.inputs.references import select
from conditional_image_embeddings.inputs.sources import find


def ids(*paths: Path | str, **options: object) -> list[str]:
    (source,) = find([str(path) for path in paths], **options)
    assert [image_id for image_id, _ in source.references()] == [image_id for image_id, _ in source]
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
    forbid_listing(monkeypatch, "b")
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
    with pytest.raises(SourceError, match=r"no image, folder, table or shard matches .*\*\.gif"):
        find([f"{folder}/*.gif"])


# Of each program one folder that holds no photographs of its own, and what a photographer might call a folder.
NO_PHOTOS = (
    *("@eaDir", "#recycle", "#snapshot", "@tmp", "@Recycle", "@Recently-Snapshot", "@__thumb", "@Transcode"),
    *("$RECYCLE.BIN", "RECYCLER", "System Volume Information", "lost+found", "~snapshot", "__MACOSX", "__pycache__"),
    *(".@__thumb", ".Trashes", ".Trash-1000", ".thumbnails", ".git", "node_modules", "Catalog Previews.lrdata"),
    *("Smart Previews.LRDATA", "Photos.photoslibrary/resources/derivatives"),
    *("Old.aplibrary/Thumbnails", "Old.aplibrary/Previews"),
)
PHOTOS = ("recycle", "thumbnails", "Photos.photoslibrary/originals", "Old.aplibrary/Masters", "node", "lrdata", "@home")


def test_folders_of_caches_are_no_photos(tmp_path: Path) -> None:
    for name in (*NO_PHOTOS, *PHOTOS):
        draw(tmp_path / name, 1)
        draw(tmp_path / "2024" / name, 1)
    photos = sorted(f"{above}{name}/00000.png" for name in PHOTOS for above in ("", "2024/"))
    everything = sorted(f"{above}{name}/00000.png" for name in (*NO_PHOTOS, *PHOTOS) for above in ("", "2024/"))
    assert sorted(ids(tmp_path)) == photos
    assert sorted(ids(tmp_path, include_hidden=True)) == everything
    assert sorted(ids(f"{tmp_path}/**/*.png")) == photos
    assert sorted(ids(f"{tmp_path}/**/*.png", include_hidden=True)) == everything
    for name in NO_PHOTOS:  # what is named is taken
        assert ids(tmp_path / name) == ["00000.png"]
    assert ids(f"{tmp_path}/@eaDir/*.png") == ["00000.png"]
    assert ids(f"{tmp_path}/20*/@eaDir/*.png") == ["2024/@eaDir/00000.png"]
    draw(tmp_path / "2024" / "@eaDir" / "deep", 1)
    assert ids(f"{tmp_path}/20*/@eaDir/*/*.png") == ["2024/@eaDir/deep/00000.png"]
    whole = {name for name in PHOTOS if "/" not in name} | {"2024", "Photos.photoslibrary", "Old.aplibrary"}
    assert {source.dataset for source in find([f"{tmp_path}/*"])} == whole


@pytest.mark.parametrize(
    ("pattern", "left"),
    [
        ("b", "00000.png 00001.png c/00000.png c/x.tmp.jpg"),  # the name of a folder at any depth
        ("*.tmp.jpg", "00000.png 00001.png b/00000.png c/00000.png c/b/00000.png"),
        ("/b", "00000.png 00001.png c/00000.png c/b/00000.png c/x.tmp.jpg"),  # that of the root
        ("b/", "00000.png 00001.png c/00000.png c/x.tmp.jpg"),
        ("00000.png/", "00000.png 00001.png b/00000.png c/00000.png c/b/00000.png c/x.tmp.jpg"),  # no folder
        ("c/*.png", "00000.png 00001.png b/00000.png c/b/00000.png c/x.tmp.jpg"),  # a star stops at a slash
        ("c/**/*.png", "00000.png 00001.png b/00000.png c/x.tmp.jpg"),
        ("0000[!1].png", "00001.png c/x.tmp.jpg"),
        ("B", "00000.png 00001.png b/00000.png c/00000.png c/b/00000.png c/x.tmp.jpg"),
        (("*.png", "!/00001.png"), "00001.png c/x.tmp.jpg"),  # in order, taken back
        (("b", "*.jpg"), "00000.png 00001.png c/00000.png"),
    ],
)
def test_patterns_leave_out(tmp_path: Path, pattern: str | tuple[str, ...], left: str) -> None:
    folder = draw(tmp_path / "photos", 2)
    for inner in ("b", "c", "c/b"):
        draw(folder / inner, 1)
    shutil.copy(folder / "00000.png", folder / "c" / "x.tmp.jpg")
    expected = left.split()
    assert ids(folder, exclude=pattern) == expected
    assert sorted(ids(f"{folder}/**/*.*", exclude=pattern)) == sorted(expected)
    named = sorted(str(path) for path in folder.rglob("*.*"))
    assert sorted(ids(*named, exclude=pattern)) == sorted(expected)


def test_a_number_sign_is_a_name_not_a_comment(tmp_path: Path) -> None:
    draw(tmp_path / "#old", 1)
    draw(tmp_path, 1)
    assert ids(tmp_path, exclude=["#old"]) == ["00000.png"]


@pytest.mark.parametrize("pattern", ["", " ", "!", "/", "[", "a[b", "[z-a]", "a\\"])
def test_a_pattern_that_is_none_is_named(folder: Path, pattern: str) -> None:
    with pytest.raises(SourceError, match=r"cannot be excluded \(.+\): write it as in \.gitignore") as error:
        find([folder], exclude=["fine", pattern])
    assert repr(pattern) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_without_images_says_what_was_skipped(tmp_path: Path) -> None:
    folder = draw(tmp_path / "photos" / "@eaDir", 1).parent
    draw(folder / ".hidden", 1)
    draw(folder, 3)
    (folder / ".DS_Store").write_text("x")
    shutil.copy(folder / "00000.png", folder / ".a.png")
    with pytest.raises(SourceError) as error:
        find([folder], exclude=["*.png"])
    assert str(error.value) == (
        f"folder {folder} has no images (looked for suffixes such as .jpg, .png, .webp; skipped: "
        "2 hidden (.a.png, .hidden/), 1 caches (@eaDir/), 3 excluded (00000.png, 00001.png and 1 more); "
        "--include-hidden takes those that are hidden or caches)"
    )
    with pytest.raises(SourceError, match=r"matches .*; skipped: 3 excluded \(00000.png, 00001.png and 1 more\)$"):
        find([f"{folder}/*.png"], exclude=["*.png"])
    with pytest.raises(SourceError, match=r"all files that were named are excluded: .*00000\.png$"):
        find([folder / "00000.png"], exclude=["*.png"])


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


def test_a_row_names_no_file_outside_of_the_table_s_folder(tmp_path: Path) -> None:
    """Not absolutely, not by `..`, not through a link; unless that is asked for."""
    inner = draw(tmp_path / "tables", 1)
    secret = draw(tmp_path / "secret", 1) / "00000.png"
    (inner / "link").symlink_to(tmp_path / "secret")
    (inner / "fine").symlink_to(inner)
    outside = [str(secret), "../secret/00000.png", "link/00000.png", "fine/../../secret/00000.png"]
    inside = ["00000.png", "fine/00000.png", "fine/../tables/00000.png", str(inner / "00000.png")]
    images = [*({"bytes": None, "path": path} for path in outside + inside), {"bytes": b"a", "path": "/etc/hostname"}]
    file = parquet(inner / "t.parquet", image=images)
    (source,) = find([file])
    read = list(source)
    for (image_id, image), path in zip(read[:4], outside, strict=True):
        assert image_id == path
        with pytest.raises(ImageError, match=r"is outside of the table's folder and not read \(--allow-outside-paths"):
            image()  # type: ignore[operator]
    assert [image for _, image in read[4:]] == [*(inner / path for path in inside), b"a"]
    (source,) = find([file], allow_outside=True)
    assert [image for _, image in source] == [*(inner / path for path in outside + inside), b"a"]
    (tmp_path / "tables").rename(tmp_path / "moved")
    (tmp_path / "tables").symlink_to(tmp_path / "moved")  # the folder itself may be a link
    (source,) = find([file])
    assert [image for _, image in source][4:6] == [inner / path for path in inside[:2]]


def test_a_column_that_is_there_twice_is_named(tmp_path: Path) -> None:
    table = pa.table([pa.array([b"a"]), pa.array([b"b"]), pa.array(["x"])], names=["image", "image", "id"])
    pq.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(SourceError, match=r"t\.parquet has several columns named image: rename all but one"):
        find([tmp_path / "t.parquet"])


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
