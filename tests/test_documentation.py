"""What README, docs/, docstrings and examples/ show is run as it stands, and mypy reads it."""

import json
import runpy
import subprocess
import sys
import unittest
from pathlib import Path

import numpy as np
import pytest
from commands import ROOT, cie, script
from PIL import Image
from sybil import Document, Sybil
from sybil.document import PythonDocStringDocument
from sybil.example import Example
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

from conditional_image_embeddings.datasets.car_renderer import render, sample_scene
from conditional_image_embeddings.datasets.synthetic_cars import make

pytestmark = pytest.mark.usefixtures("checked_once")

FENCE = "```python"
SYBIL = Sybil(parsers=[PythonCodeBlockParser(), SkipParser()], document_types={".py": PythonDocStringDocument})
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
DOCUMENTS = [path for path in (*PAGES, *sorted((ROOT / "src").rglob("*.py"))) if FENCE in path.read_text()]


def blocks(document: Document) -> list[Example]:
    return [example for example in document.examples() if isinstance(example.parsed, str)]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the examples name: pictures, labels, a benchmark, a database."""
    folder = tmp_path_factory.mktemp("world")
    cars = [Image.fromarray(render(sample_scene(np.random.default_rng([5, k])))) for k in range(4)]
    names = ("a.jpg", "b.jpg", "photos/1.jpg", "photos/2.jpg", "clothing/red/1.jpg", "clothing/blue/2.jpg",
             "universal/1.jpg", "universal/2.jpg")  # fmt: skip
    for index, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cars[index % 4].save(folder / name)
    (folder / "labels.csv").write_text("image_id,car color\n1.jpg,red\n2.jpg,blue\n")
    (folder / "universal/info_files/met").mkdir(parents=True)
    rows = [{"path": f"{index}.jpg", "class_id": index} for index in (1, 2)]
    (folder / "universal/info_files/met/test.json").write_text(json.dumps(rows))
    make(folder / "datasets/synthetic_cars", images=12)
    for done in (
        script("inference.py", "--model_id", "pixels", "--dataset_name", "synthetic_cars", cwd=folder),
        cie("embed", "photos", "-m", "pixels", cwd=folder),
        cie("embed", "photos", "-m", "builtin", "-c", "car color", cwd=folder),
    ):
        assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_shown_runs(path: Path, world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(world)
    document = SYBIL.parse(path)
    run = 0
    for example in document.examples():
        try:
            example.evaluate()
        except unittest.SkipTest:
            continue
        run += isinstance(example.parsed, str)
    assert run


def test_every_block_is_found() -> None:
    for path in DOCUMENTS:
        assert len(blocks(SYBIL.parse(path))) == path.read_text().count(FENCE), path


def test_mypy_reads_what_is_shown(tmp_path: Path) -> None:
    files = []
    for number, path in enumerate(DOCUMENTS):
        files.append(tmp_path / f"{path.stem.strip('_').replace('-', '_').lower()}_{number}.py")
        files[-1].write_text("\n".join(example.parsed for example in blocks(SYBIL.parse(path))))
    done = subprocess.run([sys.executable, "-m", "mypy", *files], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.stem)
def test_the_examples_run(path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", [str(path)])
    runpy.run_path(str(path), run_name="__main__")
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) >= 12
    assert shown.err == ""
    first, *_ = (ROOT / "examples" / path.name).read_text().splitlines()
    assert first.startswith('"""')


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.ipynb")), ids=lambda path: path.stem)
def test_the_notebooks_run(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    assert all(cell["execution_count"] for cell in cells), "run it before it is committed"
    said = [line for cell in cells for output in cell["outputs"] for line in output.get("text", [])]
    world: dict[str, object] = {}
    for cell in cells:
        exec(compile("".join(cell["source"]), path.name, "exec"), world)
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in printed] == [line.split()[0] for line in said]
