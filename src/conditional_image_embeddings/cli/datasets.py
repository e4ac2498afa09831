"""`cie datasets`: the benchmarks, and how to get them."""

import json
from pathlib import Path

import click

from .command import Commands


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
@click.argument("directory", type=click.Path(path_type=Path), default=Path("datasets"))
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
