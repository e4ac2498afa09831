"""Importing the package and asking for help load nothing heavy. The modules are asserted, not the time."""

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"torch", "transformers", "lancedb", "pyarrow", "torchvision", "pytorch_metric_learning", "faiss"}
HEAVY |= {"mteb", "sentence_transformers", "datasets"}
LOADED = "import sys; print('\\n'.join(sorted({name.partition('.')[0] for name in sys.modules})))"


@pytest.mark.parametrize(
    "code",
    [
        "import conditional_image_embeddings as cie; cie.CieError, cie.ImageError, cie.similarity, dir(cie)",
        "import conditional_image_embeddings.inputs.images, conditional_image_embeddings.methods.settings",
        "from conditional_image_embeddings import load",
        "import conditional_image_embeddings.interfaces",
        "from conditional_image_embeddings.cli import main; main(['--help'], standalone_mode=False)",
        "from conditional_image_embeddings.cli import main; main(['embed', '--help'], standalone_mode=False)",
        "from conditional_image_embeddings.cli import main; main(['embed', '/no', '-m', 'a'], standalone_mode=False)",
    ],
)
def test_nothing_heavy_is_imported(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", f"{code}\n{LOADED}"], capture_output=True, text=True, check=True)
    modules = set(done.stdout.splitlines())
    assert "conditional_image_embeddings" in modules
    assert not modules & HEAVY


@pytest.mark.parametrize("name", ["click", "torch", "numpy", "json", "pathlib", "PIL"])
def test_the_current_directory_is_no_place_of_code(name: str, tmp_path: Path) -> None:
    """`python -m` looks there first, and beside photographs may lie a folder of that name."""
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("raise SystemExit('code of the current directory ran')")
    command = [sys.executable, "-m", "conditional_image_embeddings", "embed", "nowhere", "-m", "pixels"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ")
    assert "nowhere" in done.stderr
