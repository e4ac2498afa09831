"""`cie datasets`: the benchmarks, and how to get them."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import DatasetError
from . import limits
from .command import Commands

if TYPE_CHECKING:
    from ..datasets import Check

DIRECTORY = click.argument("directory", type=click.Path(path_type=Path), default=Path("datasets"))


@click.group(cls=Commands)
def datasets() -> None:
    """The benchmarks: what is known, what is on disk, and how to get it."""


@datasets.command("list")
@click.option("--json", "as_json", is_flag=True)
def list_datasets(as_json: bool) -> None:
    r"""The benchmarks and their aspects.

    \b
    Example:  cie datasets list
    """
    from ..datasets import describe

    rows = describe()
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        click.echo(f"{row['name']}: {row['images']} images; aspects: {', '.join(row['aspects'])}; {row['where']}")


@datasets.command("make")
@click.argument("name", type=click.Choice(["synthetic-cars"]))
@DIRECTORY
@click.option("--images", type=click.IntRange(1, 1000), default=1000, show_default=True)
def make_dataset(name: str, directory: Path, images: int) -> None:
    r"""Render a benchmark that is made rather than downloaded: synthetic-cars, the same 1,000 images everywhere.

    \b
    Example:  cie datasets make synthetic-cars ./datasets
    """
    from ..datasets.synthetic_cars import make

    folder = directory / name.replace("-", "_")
    make(folder, images=images)
    click.echo(f"{images} images and cars.csv are in {folder}")


@datasets.command("download")
@click.argument("name")
@DIRECTORY
@click.option("--mirror", metavar="URL", help="A web folder that has the same archives.")
@click.option("--keep-archives", is_flag=True, help="Keep what was downloaded after unpacking it.")
@click.option("--timeout", type=limits.SECONDS, default=30.0, show_default=True, help="Read timeout, in seconds.")
@click.option("--attempts", type=limits.ATTEMPTS, default=5, show_default=True, help="Attempts without progress.")
def download_dataset(
    name: str, directory: Path, mirror: str | None, keep_archives: bool, timeout: float, attempts: int
) -> None:
    r"""Get a benchmark, or `all`: download, verify, unpack, check; the same command goes on where it stopped.

    cub200 and movie-posters are public. For the others it says what to do, and unpacks the archives that you put there.
    Exit status 1: something is still missing.

    \b
    Example:  cie datasets download cub200 ./datasets
    """
    from ..datasets import NAMES, check, description
    from ..datasets.download import download, steps

    failures = {}
    names = NAMES if name == "all" else (name,)
    for each in names:
        try:
            download(each, directory, mirror=mirror, keep_archives=keep_archives, timeout=timeout, attempts=attempts)
        except DatasetError as error:
            failures[description(each).name] = str(error)
            if todo := steps(each, directory):
                click.echo(f"{each}:\n{todo}\n")
    checks = [check(each, directory) for each in names]
    for found in checks:
        if failures.get(found.name, found.missing) != found.missing:
            click.echo(f"error: {failures[found.name]}", err=True)
    _finish(checks)


@datasets.command("check")
@click.argument("name", required=False)
@DIRECTORY
@click.option("--json", "as_json", is_flag=True)
def check_dataset(name: str | None, directory: Path, as_json: bool) -> None:
    r"""What is on disk: how many images and labels of how many, and what is missing.

    Exit status 1: the benchmark that you name is not complete.

    \b
    Example:  cie datasets check cub200 ./datasets
    """
    from ..datasets import NAMES, check

    if name and name.replace("-", "_").lower() not in NAMES and (alone := Path(name)).is_dir():
        name, directory = None, alone  # `cie datasets check ./datasets`
    checks = [check(each, directory) for each in ((name,) if name else NAMES)]
    if as_json:
        click.echo(json.dumps([asdict(each) for each in checks], indent=2))
        sys.exit(int(name is not None and not checks[0].complete))
    _finish(checks, strict=name is not None)


def _finish(checks: "Sequence[Check]", *, strict: bool = True) -> None:
    """Print a line per benchmark and what each of them lacks; exit with 1 if it is `strict` and anything is missing."""
    from ..datasets import description

    rows = [
        ("dataset", "images", "labelled", "aspects", "state", "place"),
        *(
            (
                each.name,
                f"{each.images:,} of {each.of_images:,}",
                f"{each.labelled:,}",
                f"{len(each.labels)} of {len(description(each.name).aspects)}",
                "complete" if each.complete else "incomplete" if each.root else "not there",
                each.root or "-",
            )
            for each in checks
        ),
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    for each in checks:
        for aspect, count in each.labels.items():
            click.echo(f"{each.name}, {aspect}: {count} labels")
    missing = [each for each in checks if not each.complete]
    if missing:
        click.echo()
    for each in missing:
        click.echo(each.missing if each.missing.startswith(each.name) else f"{each.name}: {each.missing}")
    if strict and missing:
        sys.exit(1)
