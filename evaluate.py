"""The paper's second command: score the settings on disk, by Euclidean distance as the paper does."""

from pathlib import Path
from typing import Any

import click

from conditional_image_embeddings.cli.command import CONTEXT, Command


@click.command(cls=Command, context_settings=CONTEXT)
@click.option("--embedding_dir", default="./embeddings", show_default=True)
@click.option("--setting_pattern", default="*", show_default=True, help='Glob over the settings, such as "cub200-*".')
@click.option("--mode", type=click.Choice(["all", "one_setting"]), help="Accepted; the paper's code ignores it too.")
@click.option(
    "--results_dir", type=click.Path(path_type=Path, file_okay=False), default=Path("results"), show_default=True
)
@click.option("--datasets_dir", help="Where the labels are, if they moved since the images were embedded.")
@click.option("--dataset_info_dir", help="The same for the universal sets.")
@click.option("--allow_missing", is_flag=True, help="Leave out images without a vector or a label, with a warning.")
def main(
    embedding_dir: str,
    setting_pattern: str,
    results_dir: Path,
    mode: str | None,  # noqa: ARG001 - the paper's code ignores it too
    **options: Any,
) -> None:
    r"""Score a benchmark's embeddings on all its aspects: the paper's evaluate.py.

    Prints them, and writes one JSON file for each setting, with the keys of the paper's code.

    \b
    Example:  uv run python evaluate.py --embedding_dir ./embeddings --setting_pattern "synthetic_cars-*"
    """
    from conditional_image_embeddings.collection.storage.store import Store
    from conditional_image_embeddings.evaluation import evaluate, format_table, write_results

    store = Store(embedding_dir, create=False)
    rows = evaluate(store, setting_pattern, metric="euclidean", all_aspects=True, **options)
    click.echo(format_table(rows, clustering=True))
    files = write_results(rows, results_dir)
    click.echo(f"{len(files)} settings with all figures are in {results_dir}", err=True)


if __name__ == "__main__":
    main()
