"""What is declared and what is so: the dependencies, their lowest versions, the extras, the version."""

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import commands
import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from PIL import Image

import conditional_image_embeddings as cie
from conditional_image_embeddings.datasets.synthetic_cars import make
from conditional_image_embeddings.errors import EXTRAS, ExtraError
from conditional_image_embeddings.evaluation import scores

ROOT = Path(__file__).parents[1]
PACKAGE = "conditional-image-embeddings"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CORE = [Requirement(each) for each in PROJECT["dependencies"]]
OPTIONAL = {extra: list(map(Requirement, given)) for extra, given in PROJECT["optional-dependencies"].items()}
# Used without being imported: what processors of transformers want, and CLIP's and others' image transforms.
NOT_IMPORTED = {"num2words", "sentencepiece", "torchvision"}


def distributions(module: str) -> set[str]:
    return {canonicalize_name(each) for each in importlib.metadata.packages_distributions().get(module, [])}


def names(extra: str) -> set[str]:
    """What an extra brings, with those that it includes."""
    found = {canonicalize_name(each.name) for each in OPTIONAL[extra]}
    included = {inner for each in OPTIONAL[extra] for inner in each.extras if each.name == PACKAGE}
    return found.union(*map(names, included)) - {PACKAGE}


def imported() -> dict[str, set[Path]]:
    """Top-level module to the files of this package that import it."""
    found: dict[str, set[Path]] = {}
    for file in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                modules = [node.module or ""]
            else:
                continue
            for module in modules:
                found.setdefault(module.partition(".")[0], set()).add(file)
    return found


def test_what_is_imported_is_declared_and_what_is_declared_is_imported() -> None:
    core, optional = {canonicalize_name(each.name) for each in CORE}, names("all")
    ours = {module: distributions(module) for module in imported() if module not in sys.stdlib_module_names}
    ours.pop("conditional_image_embeddings", None)
    undeclared = {module for module, owners in ours.items() if not owners & (core | optional)}
    assert not undeclared
    assert core - set().union(*ours.values()) <= NOT_IMPORTED


def test_the_extras_are_those_of_the_project() -> None:
    assert set(EXTRAS) == set(OPTIONAL) - {"all"}
    for extra, modules in EXTRAS.items():
        assert all(distributions(module) & names(extra) for module in modules), extra
    assert names("all") == set().union(*map(names, EXTRAS))


def test_the_lowest_versions_are_those_that_are_tested() -> None:
    lines = (ROOT / ".ci/lowest.txt").read_text().splitlines()
    tested = {
        name: Version(version) for name, _, version in (line.partition("==") for line in lines if "==" in line[:60])
    }
    for requirement in (*CORE, *(each for given in OPTIONAL.values() for each in given if each.name != PACKAGE)):
        (specifier,) = requirement.specifier
        assert specifier.operator == ">="
        assert tested[canonicalize_name(requirement.name)] == Version(specifier.version), requirement


def test_the_version_is_written_once() -> None:
    assert importlib.metadata.version(PACKAGE) == cie.__version__
    assert "version" in PROJECT["dynamic"]
    citation = re.search(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert citation
    assert citation[1] == cie.__version__


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with datasets/, and with db/ that holds a setting of pixels."""
    folder = tmp_path_factory.mktemp("extras")
    make(folder / "datasets" / "synthetic_cars", images=6)
    done = commands.script("inference.py", "--model_id", "pixels", "--dataset_name", "synthetic_cars",
                           "--embedding_dir", "db", cwd=folder)  # fmt: skip
    assert done.returncode == 0, done.stderr
    Image.new("RGB", (8, 8)).save(folder / "a.png")
    (folder / "adapter").mkdir()
    (folder / "adapter" / "adapter_config.json").write_text('{"base_model_name_or_path": "somebody/base"}')
    return folder


def fails(*arguments: object) -> Callable[[Path], str]:
    def run(folder: Path) -> str:
        return commands.error_of(commands.cie(*arguments, cwd=folder), 1)

    return run


def raises(call: Callable[[Path], Any]) -> Callable[[Path], str]:
    def run(folder: Path) -> str:
        with pytest.raises(ExtraError) as raised:
            call(folder)
        return str(raised.value)

    return run


def interface(name: str) -> Callable[[Path], str]:
    def import_it(_: Path) -> None:
        __import__(f"conditional_image_embeddings.interfaces.{name}")

    return raises(import_it)


WITHOUT = [
    ("eval", fails("evaluate", "db")),
    ("eval", fails("sweep", "synthetic-cars", "-m", "builtin", "-c", "car color", "--layers=-1")),
    ("eval", fails("reproduce", "-m", "builtin", "--datasets", "synthetic-cars", "--methods", "pixels")),
    ("eval", fails("demo", "-o", "demo")),
    ("eval", lambda folder: commands.error_of(commands.script("evaluate.py", "--embedding_dir", "db", cwd=folder), 1)),
    ("eval", raises(lambda _: scores(np.eye(4, dtype=np.float32), list("aabb")))),
    ("generative", fails("embed", "a.png", "-c", "mood", "-m", "builtin", "--method", "generative",
                         "--text-encoder", "somebody/encoder")),
    ("minilm", fails("embed", "a.png", "-c", "mood", "-m", "builtin", "--method", "generative",
                     "--text-encoder", "minilm")),
    ("sentence-transformers", interface("sentence_transformer")),
    ("mteb", interface("mteb")),
    ("mcp", fails("mcp", "db")),
    ("peft", fails("embed", "a.png", "-c", "mood", "-m", "./adapter")),
    ("ray", fails("embed", "a.png", "-m", "pixels", "--ray", "local")),
    ("serve", fails("explore", "db")),
    ("serve", fails("serve", "-m", "builtin")),
    ("serve", fails("demo", "-o", "demo", "--explore")),
    ("umap", raises(lambda folder: cie.open(folder / "db").map(None, method="umap"))),
]  # fmt: skip


@pytest.mark.parametrize(("extra", "run"), WITHOUT)
def test_what_is_missing_names_the_extra_that_brings_it(
    extra: str, run: Callable[[Path], str], embedded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in EXTRAS[extra]:
        monkeypatch.setitem(sys.modules, module, None)
    for loaded in [name for name in sys.modules if name.startswith("conditional_image_embeddings.interfaces.")]:
        monkeypatch.delitem(sys.modules, loaded)
    *_, said = run(embedded).splitlines()
    assert f"pip install 'conditional-image-embeddings[{extra}]'" in said
    assert not (embedded / "demo" / "embeddings").exists()  # found out before the work, not after it


def test_a_photograph_without_its_extra_is_listed_with_it(embedded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (embedded / "b.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(16))
    said = commands.error_of(commands.cie("embed", "a.png", "b.heic", "-m", "pixels", "-e", "heif", cwd=embedded), 3)
    assert "pip install 'conditional-image-embeddings[heif]'" in said


def test_every_extra_has_its_case() -> None:
    assert {extra for extra, _ in WITHOUT} | {"heif"} == set(EXTRAS)


def test_the_core_alone_embeds(tmp_path: Path) -> None:
    """In a process that sees no library of an extra or of a developer, nor what these bring along."""
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    script = Path(__file__).parent / "only_dependencies.py"
    command = [sys.executable, str(script), "embed", "a.png", "-m", "builtin", "-c", "mood"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "1 embedded" in done.stdout
