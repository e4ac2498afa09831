"""`cie embed --words`: what cannot be meant is wrong usage, in one line, before anything is loaded."""

from pathlib import Path

import pytest
from commands import cie, error_of
from PIL import Image

CLAY = ("-m", "builtin-clip", "--method", "clay")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--method", "pixels", "--words", "red,blue"), "--words takes --method indirect or clay"),
        (("-m", "builtin", "-c", "color", "--words", "red,blue"), "--words takes --method indirect or clay"),
        (("-m", "builtin-clip", "-c", "color", "--words", "color=red"), "--words takes --method indirect or clay"),
        (("-m", "builtin", "--method", "generative", "--words", "red"), "--words takes --method indirect or clay"),
        ((*CLAY, "--words", "red,blue"), "--words takes a condition (-c)"),
        ((*CLAY, "--no-condition", "--words", "color=red,blue"), "--words takes a condition (-c)"),
        ((*CLAY, "-c", "color", "-c", "mood", "--words", "red,blue"), "say for which condition"),
        ((*CLAY, "-c", "color", "-c", "mood", "--words", "colour=red,blue"), "'colour' is none of the conditions"),
        ((*CLAY, "-c", "color", "--words", "mood=red,blue"), "'mood' is none of the conditions"),
        ((*CLAY, "-c", "color", "--words", "=red,blue"), "say for which condition"),
        ((*CLAY, "-c", "color", "--words", "color=red", "--words", "Color=blue"), "'color' has two lists"),
        ((*CLAY, "-c", "color", "--words", "red", "--words", "blue"), "'color' has two lists"),
        ((*CLAY, "-c", "color", "--words", "color="), "'color' gets no words"),
        ((*CLAY, "-c", "color", "--words", ""), "'color' gets no words"),
        ((*CLAY, "-c", "color", "--words", " , "), "'color' gets no words"),
    ],
)
def test_what_cannot_be_meant(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    said = error_of(cie("embed", tmp_path / "a.png", "-e", tmp_path / "db", *arguments), 2)
    assert message in said
    assert not (tmp_path / "db").exists()


@pytest.mark.parametrize("words", ["red,green,blue", "color=red,green,blue", "Color = red,green,blue"])
def test_words_for_the_only_condition(words: str, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), "red").save(tmp_path / "a.png")
    done = cie("embed", tmp_path / "a.png", "-e", tmp_path / "db", *CLAY, "-c", "color", "--words", words)
    assert done.returncode == 0, done.stderr
