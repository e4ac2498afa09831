"""What stands for an image before it is read: pickled, and opened by a process that listed nothing."""

import os
import pickle
import random
import subprocess
import sys
from pathlib import Path
from typing import TypeVar

import lancedb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from color_embedder import draw
from folders_at_hand import forbid_listing
from shards_at_hand import pack, samples

from conditional_image_embeddings.datasets.benchmark import Benchmark
from conditional_image_embeddings.datasets.labelled import from_folders
from conditional_image_embeddings.errors import ImageError, SourceError
from conditional_image_embeddings.inputs.encoded import read_encoded
from conditional_image_embeddings.inputs.images import LazyImage
from conditional_image_embeddings.inputs.references import ImageSource, select
from conditional_image_embeddings.inputs.sources import find

T = TypeVar("T")

OPEN = """
import hashlib, pickle, sys
from conditional_image_embeddings.inputs.encoded import read_encoded
source, references = pickle.load(sys.stdin.buffer)
for image_id, image in source.open(references):
    print(image_id, hashlib.sha256(read_encoded(image() if callable(image) else image).data).hexdigest())
"""


def table(directory: Path) -> pa.Table:
    """Of a hundred rows, a few of which name files."""
    files = [{"bytes": None, "path": f"images/{file.name}"} for file in draw(directory / "images", 12).iterdir()]
    rows = [{"bytes": os.urandom(50 + row), "path": f"{row}.png"} for row in range(88)]
    return pa.table({"image": rows[:40] + files + rows[40:], "id": [f"row {row}" for row in range(100)]})


def folder(directory: Path) -> list[Path]:
    draw(directory / "images" / "b", 3)
    return [draw(directory / "images", 12)]


def files(directory: Path) -> list[Path]:
    return sorted(draw(directory / "images", 5).iterdir())


def benchmark(directory: Path) -> Benchmark:
    for name in ("cat", "dog"):
        draw(directory / "images" / name, 5)
    return from_folders(directory / "images", "animal")


def parquet(directory: Path) -> list[Path]:
    pq.write_table(table(directory), directory / "t.parquet", row_group_size=17)
    return [directory / "t.parquet"]


def lance(directory: Path) -> list[Path]:
    written = lancedb.connect(directory).create_table("t", table(directory))
    written.delete("id IN ('row 3', 'row 50')")
    return [directory / "t.lance"]


def shards(directory: Path) -> list[str]:
    for number in range(3):
        pack(directory / "s" / f"{number}.tar", samples(10, seed=10 * number))
    return [f"{directory}/s/*.tar"]


def content(image: LazyImage) -> bytes:
    return read_encoded(image() if callable(image) else image).data  # type: ignore[arg-type]


def pickled(value: T) -> T:
    return pickle.loads(pickle.dumps(value))  # type: ignore[no-any-return]  # noqa: S301


@pytest.fixture(params=[folder, files, benchmark, parquet, lance, shards])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> ImageSource:
    made = request.param(tmp_path)
    return made if isinstance(made, Benchmark) else find(made)[0]


def test_another_process_opens_what_this_one_listed(source: ImageSource) -> None:
    references = list(source.references())
    assert len(pickle.dumps(references)) < 150 * len(references)
    given = pickle.dumps((source, references[::3]))
    done = subprocess.run([sys.executable, "-c", OPEN], input=given, capture_output=True, check=True)
    expected = [
        f"{image_id} {read_encoded(content(image)).sha256}" for image_id, image in [*source.open(references)][::3]
    ]
    assert done.stdout.decode().splitlines() == expected


def test_references_are_opened_in_whatever_order_they_come(source: ImageSource) -> None:
    expected = {image_id: content(image) for image_id, image in source.open(source.references())}
    references = [*source.references(), *source.references()]
    random.Random(0).shuffle(references)
    opened = [(image_id, content(image)) for image_id, image in source.open(iter(references))]
    assert opened == [(image_id, expected[image_id]) for image_id, _ in references]
    assert list(source.open([])) == []


def test_only_row_groups_with_a_wanted_row_are_read(tmp_path: Path) -> None:
    """The others may be damaged, and nobody notices."""
    (file,) = parquet(tmp_path)
    group = pq.read_metadata(file).row_group(2)
    column = next(group.column(index) for index in range(9) if group.column(index).path_in_schema == "image.bytes")
    begin = min(filter(None, (column.dictionary_page_offset, column.data_page_offset)))
    data = bytearray(file.read_bytes())
    data[begin : begin + column.total_compressed_size] = bytes(column.total_compressed_size)
    file.write_bytes(data)
    (source,) = find([file])
    wanted = [f"row {row}" for row in (1, 20, 60, 99)]
    assert [image_id for image_id, _ in select(source, wanted.__contains__)] == wanted
    images = dict(source)
    assert [image_id for image_id, image in images.items() if callable(image)] == [
        f"row {row}" for row in range(34, 51)
    ]
    with pytest.raises(ImageError, match=r"t\.parquet: row row 35 cannot be read: .*(deserialize|page)"):
        content(images["row 35"])


def test_a_parquet_file_that_is_another_is_not_taken_for_the_one_that_was_listed(tmp_path: Path) -> None:
    (file,) = parquet(tmp_path)
    (source,) = find([file])
    references = list(source.references())
    pq.write_table(table(tmp_path).slice(1), file)
    with pytest.raises(SourceError, match=r"t\.parquet changed while it was read: run the same command again"):
        list(pickled(source).open(references))


def test_a_lance_table_is_opened_as_it_was_listed(tmp_path: Path) -> None:
    (path,) = lance(tmp_path)
    (source,) = find([path])
    expected = [(image_id, content(image)) for image_id, image in source.open(source.references())]
    references = list(source.references())
    lancedb.connect(tmp_path).open_table("t").delete("id IN ('row 0', 'row 9')")
    again: ImageSource = pickled(source)
    assert [(image_id, content(image)) for image_id, image in again.open(references)] == expected


def test_a_folder_that_cannot_be_listed_fails_where_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (source,) = find(folder(tmp_path))
    forbid_listing(monkeypatch, "b")
    references = pickled(list(source.references()))
    images = dict(source.open(references))
    assert len(images) == 13
    with pytest.raises(ImageError, match="images/b cannot be listed: Permission denied"):
        content(images["b/"])
