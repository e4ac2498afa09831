"""`cie words`: what the model would say of each image, and how often."""

import json

import click

from . import limits
from .command import Command

SHOWN = 10


@click.command(cls=Command)
@click.argument("db", default="./embeddings")
@click.option("-c", "--condition", required=True, help="The aspect that was embedded, such as 'car color'.")
@click.option("--setting", "pattern", default="*", show_default=True, help="Glob over the settings' names.")
@click.option("-n", "--images", type=limits.SHOWN, default=SHOWN, show_default=True, help="Images listed.")
@click.option("--json", "as_json", is_flag=True, help="Print the words of all images as JSON.")
def words(db: str, condition: str, pattern: str, images: int, as_json: bool) -> None:
    r"""The words stored with each vector, and their histogram: what a condition sees in a collection.

    \b
    Example:  cie words ./embeddings -c "car color"
    """
    from ..collection.storage.store import Store
    from ..collection.words import histogram, words_by_image

    rows = words_by_image(Store(db, create=False), condition, pattern)
    if as_json:
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    counted = histogram(rows)
    total = sum(count for _, count in counted)
    longest = max(len(word) for word, _ in counted)
    for word, count in counted:
        share = count / total
        click.echo(f"{word.ljust(longest)}  {count:>7}  {share:6.1%}  {'#' * round(40 * count / counted[0][1])}")
    for row in rows[:images]:
        said = ", ".join(f"{each['word'] or '(nothing)'} {each['probability']:.2f}" for each in row["words"])
        click.echo(f"{row['image_id']}: {said}")
    if images < len(rows):
        click.echo(f"... and {len(rows) - images} images more (-n, or --json for all)", err=True)
