"""Folders walked for images: however they are nested and linked, each image once and under an id of its own."""

import os
import shutil
from pathlib import Path

import pytest
from color_embedder import draw
from folders_at_hand import forbid_listing
from hypothesis import given, settings
from hypothesis import strategies as st
from miniatures import picture

from conditional_image_embeddings.datasets.labelled import from_folders
from conditional_image_embeddings.errors import DatasetError, SourceError
from conditional_image_embeddings.inputs.folders import path_to_text, text_to_path
from conditional_image_embeddings.inputs.sources import find


def ids(*paths: Path | str, **options: object) -> list[str]:
    (source,) = find([str(path) for path in paths], **options)
    assert [image_id for image_id, _ in source.references()] == [image_id for image_id, _ in source]
    return [image_id for image_id, _ in source]


HARD = [
    *(b"\xff.png", rb"\xff.png", rb"\x5cxff.png", rb"\x5c.png", rb"\\xff.png", b"\\\xff.png", rb"\x5cx5c.png"),
    *(rb"a\b.png", rb"\x41.png", rb"\xFF.png", rb"\u00e9.png", "é.png".encode(), b"\xe9.png", rb"\xe9.png"),
]


def test_ids_are_distinct_and_ordinary_ones_stay_what_they_were(tmp_path: Path) -> None:
    for name in HARD:
        os.close(os.open(os.fsencode(tmp_path) + b"/" + name, os.O_CREAT))
    found = ids(tmp_path)
    assert len(set(found)) == len(HARD)
    assert {"\\xff.png", "\\x5cxff.png", "a\\b.png", "\\x41.png", "\\xFF.png", "\\u00e9.png", "é.png"} <= set(found)
    assert sorted(ids(*(os.fsdecode(os.fsencode(tmp_path) + b"/" + name) for name in HARD))) == sorted(found)


@given(st.binary().map(lambda name: name.replace(b"\0", b"")), st.binary().map(lambda name: name.replace(b"\0", b"")))
def test_paths_as_text_can_be_stored_and_no_two_are_the_same(one: bytes, other: bytes) -> None:
    for end in (b"", rb"\xff", b"\xff", rb"\x5cxff"):
        first, second = one + end, other
        assert (path_to_text(os.fsdecode(first)) == path_to_text(os.fsdecode(second))) == (first == second)
        path_to_text(os.fsdecode(first)).encode()
        assert os.fsencode(text_to_path(path_to_text(os.fsdecode(b"/a/" + first)))) == os.fsencode(
            Path(os.fsdecode(b"/a/" + first))
        )


def test_links_sideways_are_followed_to_each_folder_once(tmp_path: Path) -> None:
    """12 folders, of which each links twice to the next, are 4,096 ways to the last."""
    for number in range(12):
        (tmp_path / "photos" / f"f{number:02}").mkdir(parents=True)
    for number in range(11):
        for name in ("left", "right"):
            (tmp_path / "photos" / f"f{number:02}" / name).symlink_to(tmp_path / "photos" / f"f{number + 1:02}")
    for name in ("1.png", "2.png"):
        picture(tmp_path / "photos" / "f11" / name)
    assert ids(tmp_path / "photos") == ["f11/1.png", "f11/2.png"]
    assert ids(f"{tmp_path}/photos/**/*.png") == ["f11/1.png", "f11/2.png"]
    inside = tmp_path / "photos" / "f00"
    assert ids(inside) == [f"{'left/' * 11}1.png", f"{'left/' * 11}2.png"]  # from here there is no real folder


def test_a_link_changes_the_ids_of_no_other_image(tmp_path: Path) -> None:
    folder = draw(tmp_path / "photos", 1)
    draw(folder / "z", 1)
    draw(tmp_path / "elsewhere", 1)
    draw(folder / ".hidden", 1)
    before = ids(folder)
    (folder / "a").symlink_to(folder / "z")
    (folder / "b").mkdir()
    (folder / "b" / "deeper").symlink_to(tmp_path / "elsewhere")
    (folder / "c").symlink_to(tmp_path / "elsewhere")  # the shortest path counts
    (folder / "d").symlink_to(tmp_path / "elsewhere")
    (folder / "shown").symlink_to(folder / ".hidden")
    assert before == ["00000.png", "z/00000.png"]
    assert ids(folder) == [*before, "c/00000.png", "shown/00000.png"]
    (folder / "itself.png").symlink_to(folder / "itself.png")
    assert "itself.png" in ids(folder)


DEPTH = 1100  # folders: more than Python's calls may nest


def test_folders_are_nested_as_deeply_as_paths_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / "photos"
    deep.mkdir()
    picture(deep / "0.png")
    monkeypatch.chdir(deep)
    for _ in range(DEPTH):  # one after the other: no path is as long as all of them together
        os.mkdir("d")  # noqa: PTH102
        os.chdir("d")
    shutil.copy(deep / "0.png", "1.png")
    monkeypatch.chdir(tmp_path)
    try:
        assert ids(deep) == ["0.png", f"{'d/' * DEPTH}1.png"]
        assert ids("photos/**/*.png") == ["0.png", f"{'d/' * DEPTH}1.png"]
        with pytest.raises(SourceError, match="no image, folder, table or shard matches"):
            find(["photos/**/*.gif"])
        (deep / "0.png").unlink()
        (deep / f"{'d/' * DEPTH}1.png").rename(deep / f"{'d/' * DEPTH}1.parquet")
        with pytest.raises(SourceError, match=r"has no images .*; name its Parquet files instead"):
            find([deep])
    finally:
        os.chdir(deep)
        for _ in range(DEPTH):
            os.chdir("d")
        Path("1.parquet").unlink()
        for _ in range(DEPTH):
            os.chdir("..")
            os.rmdir("d")  # noqa: PTH106 - shutil.rmtree is recursive
        os.chdir(tmp_path)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.png", "0.png"),
        ("**/*.png", "0.png a/1.png a/b/2.png a/b/c/3.png"),
        ("a/**/*.png", "1.png b/2.png b/c/3.png"),
        ("**/b/**/*.png", "a/b/2.png a/b/c/3.png"),
        ("**/b/*.png", "a/b/2.png"),
        ("*/*.png", "a/1.png"),
        ("?/?/[0-9].png", "a/b/2.png"),
        ("**/[!0-2].png", "a/b/c/3.png"),
        ("a/**", "1.png b/2.png b/c/3.png"),
        ("**/c/../c/*.png", None),
        ("**/.*/*.png", "a/.h/4.png"),
        ("**/.h/**/*.png", "a/.h/4.png a/.h/i/5.png"),
    ],
)
def test_globs(tmp_path: Path, pattern: str, expected: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("0.png", "a/1.png", "a/b/2.png", "a/b/c/3.png", "a/.h/4.png", "a/.h/i/5.png", "a/.k.png"):
        picture(tmp_path / "p" / name)
    if "b" not in pattern.split("/") and not pattern.startswith("a"):
        (tmp_path / "p" / "a" / "b" / "up").symlink_to(tmp_path / "p")  # leads to nothing that is not there already
    if expected is None:
        with pytest.raises(SourceError, match="matches"):
            find([f"{tmp_path}/p/{pattern}"])
        return
    assert ids(f"{tmp_path}/p/{pattern}") == expected.split()
    monkeypatch.chdir(tmp_path / "p")
    assert ids(pattern) == expected.split()


def test_an_empty_path_is_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw(tmp_path, 1)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match="an empty path names no images"):
        find([""])
    with pytest.raises(SourceError, match=r"~nobody-of-this-name/a\.png does not exist"):
        find(["~nobody-of-this-name/a.png"])
    assert ids(".") == ["00000.png"]


NAMES = st.sampled_from(["a", "b", "c.jpg", ".hidden", "@eaDir", "\\xff", "é", "node_modules"])
FILES = st.sampled_from(["1.jpg", "2.png", "empty.jpg", ".3.jpg", "notes.txt", "\\xff.webp", os.fsdecode(b"\xff.gif")])
TREES = st.lists(st.tuples(st.lists(NAMES, min_size=1, max_size=9), FILES), min_size=1, max_size=12)
LINKS = st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=3)


@settings(max_examples=60)
@given(TREES, LINKS)
def test_labels_of_folders_are_those_of_the_images_that_can_be_embedded(
    tmp_path_factory: pytest.TempPathFactory, tree: list[tuple[list[str], str]], links: list[tuple[int, int]]
) -> None:
    """Of any tree, at any depth: one walker finds what is embedded and what is labelled."""
    root = tmp_path_factory.mktemp("tree")
    folders = []
    for parts, name in [*tree, (["x"], "1.jpg"), (["y"], "1.jpg")]:
        folder = root.joinpath(*parts)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"" if name.startswith("empty") else b"picture")
        folders.append(folder)
    for number, (one, other) in enumerate(links):
        (folders[one % len(folders)] / f"link{number}").symlink_to(folders[other % len(folders)])
    (source,) = find([root])
    embedded = {image_id: path for image_id, path in source if Path(path).stat().st_size}  # type: ignore[arg-type]
    labelled = from_folders(root, "kind")
    assert dict(labelled) == embedded
    (labels,) = labelled.labels.values()
    assert labels == {image_id: image_id.split("/")[-2] for image_id in embedded}
    assert len(set(map(os.path.realpath, embedded.values()))) == len(embedded)  # each once


def test_a_folder_that_cannot_be_listed_is_no_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a/1.jpg", "b/1.jpg"):
        picture(tmp_path / name)
    forbid_listing(monkeypatch, "b")
    with pytest.raises(DatasetError, match="b cannot be listed: Permission denied"):
        from_folders(tmp_path, "kind")
