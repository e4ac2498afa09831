"""Damaged databases: whatever is broken, each command ends with one line that names it and says how to repair it.

What is not touched by the damage goes on, and following the message repairs the rest.
"""

import json
import logging
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner, Result
from color_embedder import ColorEmbedder, draw

from conditional_image_embeddings.cli import main
from conditional_image_embeddings.collection.job.embedding_job import run_job
from conditional_image_embeddings.collection.refinement import refine
from conditional_image_embeddings.collection.storage.store import METADATA_KEY, Store
from conditional_image_embeddings.errors import CieError
from conditional_image_embeddings.inputs.sources import find
from conditional_image_embeddings.methods.request import Request
from conditional_image_embeddings.methods.settings import Setting

Damage = Callable[[Path], object]

REQUEST = Request(conditions=("color", "shape"), top_words=2)
IMAGES = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = draw(tmp_path_factory.mktemp("damage") / "images" / "red", IMAGES // 2).parent
    draw(folder / "blue", IMAGES // 2, (16, 24))
    return folder


@pytest.fixture(scope="module")
def whole(folder: Path) -> Path:
    """A database with two settings, one of them refined too, and a failure of an earlier job."""
    store = Store(folder.parent / "whole")
    run_job(store, find([folder])[0], ColorEmbedder(), REQUEST)
    refine(store, [color(store)], whiten=True)
    store.replace_failures("images", str(folder), {"gone.png": "it is gone"})
    return folder.parent / "whole"


@pytest.fixture
def db(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "db")


def color(store: Store) -> Setting:
    return next(each for each in store.settings() if each.condition == "color" and not each.extra)


def table_of(db: Path) -> Path:
    return next(each for each in db.glob("*color-color-*.lance") if "refined" not in each.name)


def rewrite(name: str | None, change: Callable[[pa.Table], pa.Table]) -> Damage:
    """Write a table anew, changed; None: the color setting's."""

    def damage(db: Path) -> None:
        table = name or table_of(db).stem
        database = lancedb.connect(db)
        changed = change(database.open_table(table).to_arrow())
        database.drop_table(table)
        shutil.rmtree(db / f"{table}.lance", ignore_errors=True)
        database.create_table(table, schema=changed.schema).add(changed, on_bad_vectors="null")

    return damage


def metadata(text: str | None) -> Damage:
    kept = {} if text is None else {METADATA_KEY: text}
    return rewrite(None, lambda table: table.replace_schema_metadata(kept))


def changed_setting(**changes: Any) -> Damage:
    def change(table: pa.Table) -> pa.Table:
        values = json.loads(table.schema.metadata[METADATA_KEY])
        return table.replace_schema_metadata({METADATA_KEY: json.dumps({**values, **changes})})

    return rewrite(None, change)


def column(name: str, values: Callable[[pa.Table], pa.Array]) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        return table.set_column(table.schema.names.index(name), name, values(table))

    return change


def cut(array: pa.Array | pa.ChunkedArray, kind: pa.DataType) -> pa.Array:
    return pa.array(array.to_pylist(), kind)


def files(pattern: str, change: Damage) -> Damage:
    def damage(db: Path) -> None:
        found = [file for file in table_of(db).glob(pattern) if file.is_file()]
        assert found
        for file in found:
            change(file)

    return damage


def of(name: str, change: Damage) -> Damage:
    def damage(db: Path) -> None:
        for file in (db / name).rglob("*"):
            if file.is_file():
                change(file)

    return damage


def emptied(db: Path) -> None:
    place = table_of(db)
    shutil.rmtree(place)
    place.mkdir()


def foreign(db: Path) -> None:
    lancedb.connect(db).create_table("mine", pa.table({"a": [1]}))


def damaged_foreign(db: Path) -> None:
    foreign(db)
    of("mine.lance", fill)(db)


def halve(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def fill(file: Path) -> None:
    file.write_bytes(b"garbage")


def a_file_instead(name: str | None) -> Damage:
    def damage(db: Path) -> None:
        place = db / name if name else table_of(db)
        shutil.rmtree(place)
        place.write_text("x")

    return damage


def nulls(table: pa.Table) -> pa.Table:
    vectors = [*table["vector"].to_pylist()[:-1], None]
    return column("vector", lambda _: pa.array(vectors, pa.list_(pa.float32(), 8)))(table)


def infinite(table: pa.Table) -> pa.Table:
    return column("vector", lambda _: pa.array([[np.inf] * 8] * len(table), pa.list_(pa.float32(), 8)))(table)


DAMAGES: dict[str, Damage] = {
    "setting is a list": metadata("[1, 2]"),
    "setting is a number": metadata("5"),
    "setting is null": metadata("null"),
    "setting is a text": metadata('"abc"'),
    "setting is no JSON": metadata("{"),
    "setting is empty": metadata(""),
    "setting is an empty object": metadata("{}"),
    "setting is nested too deep": metadata("[" * 100_000),
    "setting is missing": metadata(None),
    "dataset is a number": changed_setting(dataset=5),
    "method is null": changed_setting(method=None),
    "condition is a list": changed_setting(condition=["color"]),
    "source is a number": changed_setting(source=5),
    "extra is a list": changed_setting(extra=[1]),
    "refined is a text": changed_setting(extra={"refined": "yes"}),
    "another setting": changed_setting(condition="size"),
    "vectors are texts": rewrite(None, column("vector", lambda t: pa.array([str(v) for v in t["vector"].to_pylist()]))),
    "vectors are float64": rewrite(
        None, column("vector", lambda t: cut(t["vector"], pa.list_(pa.float64(), 8)))
    ),
    "vectors have no fixed size": rewrite(None, column("vector", lambda t: cut(t["vector"], pa.list_(pa.float32())))),
    "vectors are shorter": rewrite(
        None, column("vector", lambda t: pa.array([v[:5] for v in t["vector"].to_pylist()], pa.list_(pa.float32(), 5)))
    ),
    "a vector is null": rewrite(None, nulls),
    "vectors are infinite": rewrite(None, infinite),
    "no vectors": rewrite(None, lambda table: table.drop_columns("vector")),
    "no image ids": rewrite(None, lambda table: table.drop_columns("image_id")),
    "image ids are numbers": rewrite(None, column("image_id", lambda t: pa.array(range(len(t))))),
    "no words": rewrite(None, lambda table: table.drop_columns("words")),
    "words are texts": rewrite(None, column("words", lambda t: pa.array(["red"] * len(t)))),
    "no rows": rewrite(None, lambda table: table.slice(0, 0)),
    "every image twice": rewrite(None, lambda table: pa.concat_tables([table, table])),
    "a manifest is cut": files("_versions/*", halve),
    "a manifest is garbage": files("_versions/*", fill),
    "manifests are deleted": files("_versions/*", Path.unlink),
    "data is cut": files("data/*", halve),
    "data is garbage": files("data/*", fill),
    "data is deleted": files("data/*", Path.unlink),
    "a file for a table": a_file_instead(None),
    "an empty folder for a table": emptied,
    "images are gone": lambda db: shutil.rmtree(db / "images.lance"),
    "images are garbage": of("images.lance", fill),
    "images' data is cut": of("images.lance/data", halve),
    "images' manifests are deleted": of("images.lance/_versions", Path.unlink),
    "images is a file": a_file_instead("images.lance"),
    "images has other columns": rewrite("images", lambda table: table.select(["image_id", "path"])),
    "images' sizes are texts": rewrite("images", column("size", lambda t: cut(t["path"], pa.string()))),
    "failures are gone": lambda db: shutil.rmtree(db / "failures.lance"),
    "failures are garbage": of("failures.lance", fill),
    "failures has other columns": rewrite("failures", lambda table: table.select(["image_id"])),
    "failures is a file": a_file_instead("failures.lance"),
    "fitted is gone": lambda db: shutil.rmtree(db / "fitted.lance"),
    "fitted is garbage": of("fitted.lance", fill),
    "a foreign table": foreign,
    "a damaged foreign table": damaged_foreign,
    "a foreign file": lambda db: (db / "notes.txt").write_text("x"),
    "an empty database": lambda db: [shutil.rmtree(each) for each in db.glob("*.lance")],
}  # fmt: skip


def embed(db: Path, folder: Path) -> None:
    run_job(Store(db), find([folder])[0], ColorEmbedder(), REQUEST)


def cie(*arguments: str) -> Callable[[Path, Path], None]:
    def invoke(db: Path, folder: Path) -> None:
        done: Result = CliRunner().invoke(main, [arguments[0], str(db), *arguments[1:]])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        if done.exit_code:
            raise CieError(done.stderr.strip())

    return invoke


COMMANDS = {
    "words": cie("words", "-c", "color"),
    "evaluate": cie("evaluate", "--folders", "hue", "--no-clustering"),
    "refine": cie("refine", "--whiten", "--dimensions", "2"),
    "words of another": cie("words", "-c", "shape", "--setting", "*-shape-*"),
    "embed": embed,
}
UNSEEN = {"vectors are infinite", "vectors are shorter", "a vector is null"}  # by a job, which does not read vectors

QUIET = {  # nothing is wrong, or nothing has to be done about it, or nobody can tell
    "images are gone", "images' manifests are deleted", "failures are gone", "fitted is gone",
    "a foreign table", "a damaged foreign table", "a foreign file", "vectors are shorter",
}  # fmt: skip


def said_of(command: Callable[[Path, Path], None], db: Path, folder: Path, log: pytest.LogCaptureFixture) -> list[str]:
    """The warnings and the error of a command, each of one line; anything but a `CieError` is raised."""
    log.clear()
    said = []
    try:
        command(db, folder)
    except CieError as error:
        said.append(str(error))
    said += [record.getMessage() for record in log.records if record.levelno >= logging.WARNING]
    for line in said:
        assert line.strip()
        assert "\n" not in line
        assert "Traceback" not in line
        assert len(line) < 1000
    return said


@pytest.mark.parametrize("damage", DAMAGES)
def test_one_line_says_what_is_damaged_and_how_to_repair_it(
    damage: str, db: Path, whole: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table_name = table_of(db).stem
    DAMAGES[damage](db)
    said = {name: said_of(command, db, folder, caplog) for name, command in COMMANDS.items()}
    assert not said["words of another"] or damage == "an empty database"
    if damage not in QUIET:
        assert any(re.search(f"{db}|{table_name}", line) for lines in said.values() for line in lines)
    for _ in range(2):
        for line in said["embed"]:
            for path in map(Path, re.findall(r"remove (\S+\.lance)", line)):
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        said["embed"] = said_of(embed, db, folder, caplog)
    assert not said["embed"]
    repaired, expected = Store(db), Store(whole)
    for setting in expected.settings():
        if "refined" not in setting.extra and damage not in UNSEEN:
            ids, vectors = expected.read(setting)
            assert repaired.read(setting)[0] == ids
            np.testing.assert_array_equal(repaired.read(setting)[1], vectors)
            assert repaired.words(setting) == expected.words(setting)
    assert repaired.failures("images", source=str(folder)) == {}
