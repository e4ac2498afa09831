"""Numbers on the command line: what cannot be right is wrong usage, for every option that takes a number."""

import math
from collections.abc import Iterator

import click
import pytest
from commands import cie, error_of, main_of, script

from conditional_image_embeddings.cli import limits, main
from conditional_image_embeddings.cli.command import Commands


def commands(command: click.Command, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, Commands):
        for name, each in command.commands.items():
            yield from commands(each, *path, name)


ALL = [*commands(main, "cie"), *(((name,), main_of(name)) for name in ("inference.py", "evaluate.py"))]
NUMERIC = [
    (path, parameter)
    for path, command in ALL
    for parameter in command.params
    if isinstance(parameter.type, click.types.IntParamType | click.types.FloatParamType)
]


def test_every_number_has_both_bounds() -> None:
    assert len(NUMERIC) > 20
    for path, parameter in NUMERIC:
        assert isinstance(parameter.type, click.IntRange | limits.Real), f"{path}: {parameter.opts}"
        bounds = (parameter.type.min, parameter.type.max)
        assert all(bound is not None and math.isfinite(bound) for bound in bounds), f"{path}: {parameter.opts}"


@pytest.mark.parametrize(
    ("path", "parameter"), NUMERIC, ids=lambda each: each.name if isinstance(each, click.Parameter) else each[-1]
)
def test_what_cannot_be_right_is_wrong_usage(path: tuple[str, ...], parameter: click.Parameter) -> None:
    assert isinstance(parameter.type, click.IntRange | click.FloatRange)
    beyond = (int(parameter.type.min or 0) - 1, int(parameter.type.max or 0) + 1)
    for value in ("nan", "NaN", "inf", "-inf", "1e400", "10" * 3000, "", "x", *beyond):
        given = f"{parameter.opts[0]}={value}"
        ended = cie(*path[1:], given) if path[0] == "cie" else script(path[0], given)
        said = error_of(ended, 2)
        assert len([line for line in said.splitlines() if line.startswith("Error: ")]) == 1
        assert parameter.opts[0] in said.splitlines()[-1]


@pytest.mark.parametrize("value", ["", "x", "1,", "nan", "-1,inf", "99999999", "-1,,2"])
@pytest.mark.parametrize("option", ["--layers", "--tokens"])
def test_lists_of_numbers_too(option: str, value: str) -> None:
    assert option in error_of(cie("sweep", "synthetic-cars", "-m", "builtin", f"{option}={value}"), 2)
