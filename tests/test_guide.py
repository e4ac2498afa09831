"""The guide shows what the commands really print, in the order that a reader types them."""

import re
from pathlib import Path

import pytest
from guide_page import PAGE, transcript

pytestmark = pytest.mark.usefixtures("checked_once")

NUMBER = re.compile(r"-?\d+(\.\d+)?%?")
DIGEST = re.compile(r"-[0-9a-f]{8}:?$")  # of a setting: the folder's path is part of it
BAR = re.compile("[█▏▎▍▌▋▊▉]+")


def alike(shown: str, printed: str) -> bool:
    """Whether two words of an output are the same, but for the last digits that another processor computes."""
    if DIGEST.sub("", shown) == DIGEST.sub("", printed):
        return True
    if BAR.fullmatch(shown) and BAR.fullmatch(printed):
        return abs(len(shown) - len(printed)) <= 1
    if NUMBER.fullmatch(shown) and NUMBER.fullmatch(printed) and ("." in shown) == ("." in printed):
        return abs(float(shown.rstrip("%")) - float(printed.rstrip("%"))) <= (0.5 if "%" in shown else 0.02)
    return False


def test_every_command_prints_what_is_shown(tmp_path: Path) -> None:
    page = PAGE.read_text(encoding="utf-8")
    for shown, printed in zip(page.splitlines(), transcript(page, tmp_path).splitlines(), strict=True):
        words = list(zip(shown.split(), printed.split(), strict=False))
        if len(shown.split()) != len(printed.split()) or not all(alike(*pair) for pair in words):
            pytest.fail(f"shown:   {shown}\nprinted: {printed}\n(`uv run python tests/guide_page.py` writes it anew)")
