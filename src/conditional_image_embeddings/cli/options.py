"""Options that several commands take, with one name, one meaning and one check."""

from pathlib import Path

import click


def output_file(_: click.Context, option: click.Parameter, path: Path | None) -> Path | None:
    """A file that is to be written, before the work for it begins: a callback of click's."""
    if path is not None and not path.parent.is_dir():
        raise click.BadParameter(f"there is no directory {path.parent}", param=option)
    return path


setting = click.option("--setting", "pattern", default="*", show_default=True, help="Glob over the settings' names.")
where = click.option("--where", metavar="SQL", help='Only images that fit, such as "width > 500": columns of `images`.')
html = click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    callback=output_file,
    metavar="FILE",
    help="Write a page with pictures.",
)
