"""The paper's second command: score the settings on disk, by Euclidean distance as the paper does."""

import click

from conditional_image_embeddings.cli.command import CONTEXT, Command


@click.command(cls=Command, context_settings=CONTEXT)
@click.option("--embedding_dir", default="./embeddings", show_default=True)
@click.option("--setting_pattern", default="*", show_default=True, help='Glob over the settings, such as "cub200-*".')
@click.option("--datasets_dir", help="Where the labels are, if they moved since the images were embedded.")
@click.option("--dataset_info_dir", help="The same for the universal sets.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def main(
    embedding_dir: str,
    setting_pattern: str,
    datasets_dir: str | None,
    dataset_info_dir: str | None,
    debug: bool,  # noqa: ARG001
) -> None:
    r"""Score a benchmark's embeddings: the paper's evaluate.py.

    \b
    Example:  uv run python evaluate.py --embedding_dir ./embeddings --setting_pattern "synthetic_cars-*"
    """
    from conditional_image_embeddings.evaluation import evaluate, format_table
    from conditional_image_embeddings.store import Store

    rows = evaluate(
        Store(embedding_dir, create=False),
        setting_pattern,
        metric="euclidean",
        datasets_dir=datasets_dir,
        dataset_info_dir=dataset_info_dir,
    )
    click.echo(format_table(rows))


if __name__ == "__main__":
    main()
