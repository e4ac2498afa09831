"""docs/guide.md, run as it is typed: each `$ cie ...` of its console blocks, one after another in one folder.

    uv run python tests/guide_page.py    # writes what the commands print now into the page

Of a long output the page has the first lines and the last ones, with "..." between them.
"""

import os
import re
import shlex
import sys
import tempfile
from pathlib import Path

from commands import ROOT, cie

PAGE = ROOT / "docs" / "guide.md"
BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)
HEAD, TAIL = 9, 2  # lines kept of a longer output
HOME = "/home/you"  # stands for the folder


def transcript(text: str, folder: Path) -> str:
    """The page with what its commands print in this folder.

    Raises:
        RuntimeError: a command fails.
    """

    def run(block: re.Match[str]) -> str:
        lines: list[str] = []
        for line in block[1].splitlines():
            if line.startswith("$ "):
                lines += [line, *_output(line[2:], folder)]
        return "\n".join(["```console", *lines, "```"])

    return BLOCK.sub(run, text)


def _output(command: str, folder: Path) -> list[str]:
    program, *arguments = shlex.split(command, comments=True)
    if program != "cie":
        raise RuntimeError(f"the guide runs `cie`, not {command!r}")
    done = cie(*arguments, cwd=folder)
    if done.returncode:
        raise RuntimeError(f"{command}: exit status {done.returncode}\n{done.stderr}")
    said = f"{done.stdout.rstrip()}\n{done.stderr}".strip("\n").replace(str(folder), HOME)
    lines = [line.rstrip() for line in said.splitlines()]
    return lines if len(lines) <= HEAD + TAIL + 1 else [*lines[:HEAD], "...", *lines[-TAIL:]]


def main() -> None:
    """Write the page anew."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as folder:
        PAGE.write_text(transcript(PAGE.read_text(encoding="utf-8"), Path(folder)), encoding="utf-8")
    sys.stdout.write(f"{PAGE} is as the commands print it\n")


if __name__ == "__main__":
    main()
