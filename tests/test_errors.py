"""How a command ends when something goes wrong: one line, whose fault it is, and a status."""

import ast
import builtins
import errno
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import pytest
import torch
from commands import ROOT, Finished, cie, error_of, script

from conditional_image_embeddings import datasets
from conditional_image_embeddings.collection.storage import store
from conditional_image_embeddings.errors import CieError
from conditional_image_embeddings.inputs import lookup, sources

SOURCE = ROOT / "src/conditional_image_embeddings"


def all_of(kind: type[CieError]) -> Iterator[type[CieError]]:
    yield kind
    for each in kind.__subclasses__():
        yield from all_of(each)


def ending_with(error: BaseException, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> Finished:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(datasets, "describe", fail)
    for room in (sources, lookup):
        monkeypatch.setattr(room, "find", fail)
    return cie(*(arguments or ("datasets", "list")))


@pytest.mark.parametrize("kind", list(all_of(CieError)))
def test_what_a_user_can_mend_is_said_as_it_is(kind: type[CieError], monkeypatch: pytest.MonkeyPatch) -> None:
    ended = ending_with(kind("photos/ has no images:\n  name another"), monkeypatch)
    assert error_of(ended, 1) == "error: photos/ has no images: name another\n"
    assert ended.stdout == ""


@pytest.mark.parametrize(
    "error",
    [
        TypeError("unsupported operand"), ValueError("too many values\nto unpack"), KeyError("images"), IndexError("7"),
        AttributeError("no attribute"), AssertionError(), RuntimeError("The size of tensor a (3) must match b (4)"),
        ZeroDivisionError("division by zero"), RecursionError("maximum depth"), OverflowError("cannot convert"),
        NotImplementedError(), StopIteration(), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        OSError("what a library says without the system's number"), ImportError("cannot import name"), EOFError(),
    ],
)  # fmt: skip
def test_a_fault_of_our_own_is_called_one(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    said = error_of(ending_with(error, monkeypatch), 1)
    assert said.startswith(f"error: internal error: {type(error).__name__}")
    assert "--debug" in said
    assert "report" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has a total capacity of 8 GiB"),
        RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB, other allocations: 1.00 GB)"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:113] . DefaultCPUAllocator: can't allocate memory: 8 bytes"),
        np._core._exceptions._ArrayMemoryError((9, 9), np.dtype("float32")),  # type: ignore[attr-defined]
        MemoryError(),
    ],
)
def test_out_of_memory_is_one_line_with_advice(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    said = error_of(ending_with(error, monkeypatch, "embed", "photos", "-m", "builtin", "-c", "mood"), 1)
    assert said.startswith("error: out of memory")
    assert "a smaller --batch-size or a smaller --image-max-size" in said
    assert said.count("\n") == 1
    assert "--batch-size" not in error_of(ending_with(error, monkeypatch), 1)  # which has no such option


def test_the_machines_reasons_are_said_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    said = error_of(ending_with(PermissionError(errno.EACCES, "Permission denied", "out.csv"), monkeypatch), 1)
    assert said == "error: [Errno 13] Permission denied: 'out.csv'\n"


@pytest.mark.parametrize("where", [("--debug", "datasets", "list"), ("datasets", "--debug", "list"),
                                   ("datasets", "list", "--debug")])  # fmt: skip
def test_debug_shows_the_traceback_wherever_it_stands(where: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (CieError("a"), KeyError("b")):
        ended = ending_with(error, monkeypatch, *where)
        assert ended.returncode == 1
        assert "Traceback" in ended.stderr
        assert "in fail" in ended.stderr


@pytest.mark.parametrize("name", ["inference.py", "evaluate.py"])
def test_the_papers_commands_end_so_too(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise KeyError("images")

    monkeypatch.setattr(datasets, "get_images", fail)
    monkeypatch.setattr(store, "Store", fail)
    arguments = ("--model_id", "pixels", "--dataset_name", "cub200") if name == "inference.py" else ()
    assert "internal error: KeyError" in error_of(script(name, *arguments, cwd=tmp_path), 1)
    assert "Traceback" in script(name, "--debug", *arguments, cwd=tmp_path).stderr


@pytest.mark.parametrize(("error", "status"), [(click.UsageError("a"), 2), (SystemExit(3), 3), (click.Abort(), 1)])
def test_what_is_no_error_passes(error: BaseException, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "internal" not in error_of(ending_with(error, monkeypatch), status)


def test_ctrl_c_ends_as_shells_expect() -> None:
    code = (
        "import os, signal; from conditional_image_embeddings import cli, datasets\n"
        "datasets.describe = lambda: os.kill(os.getpid(), signal.SIGINT)\n"
        "cli.main(['datasets', 'list'])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (128 + signal.SIGINT, "interrupted\n")


def test_whoever_raises_on_purpose_raises_an_error_of_this_package() -> None:
    """So that anything else is a fault of our own; what is caught where it is raised says so in its comment."""
    builtin = {name for name, kind in vars(builtins).items() if isinstance(kind, type) and issubclass(kind, Exception)}
    builtin -= {"AttributeError", "StopIteration"}  # of `__getattr__` and generators
    found = []
    for file in sorted(SOURCE.rglob("*.py")):
        lines = file.read_text().splitlines()
        for node in ast.walk(ast.parse("\n".join(lines))):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and isinstance(node.exc.func, ast.Name):
                raised = node.exc.func.id
                if raised in builtin and "# caught" not in lines[node.end_lineno - 1 if node.end_lineno else 0]:
                    found.append(f"{file.relative_to(SOURCE)}:{node.lineno} {raised}")
    assert not found
