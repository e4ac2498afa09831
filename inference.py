"""The paper's first command: embed every image of a benchmark under each of its aspects, and once without a condition.

The flags and their defaults are the paper's; `docs/from-the-paper.md` maps them to `cie embed`.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from conditional_image_embeddings.cli import limits
from conditional_image_embeddings.cli.command import CONTEXT, Command, finish
from conditional_image_embeddings.inputs.conditions import PROMPTS

SEED = 42  # the paper's, of --gen_do_sample
TOP_WORDS = 5


@click.command(cls=Command, context_settings=CONTEXT)
@click.option("--model_id", "--model_name", "model", required=True, help="A hub id, directory, builtin, builtin-clip.")
@click.option("--dataset_name", required=True, help="One of the five benchmarks, or a universal set.")
@click.option("--datasets_dir", type=click.Path(path_type=Path), default=Path("datasets"), show_default=True)
@click.option("--dataset_info_dir", type=click.Path(path_type=Path), help="Of the universal sets: holds info_files.")
@click.option("--prompt_type", type=click.Choice(list(PROMPTS)), default="describe", show_default=True)
@click.option("--embedding_dir", default="./embeddings", show_default=True)
@click.option("--num_layer", type=limits.LAYER, default=-1, show_default=True)
@click.option("--num_token", type=limits.TOKEN, default=-1, show_default=True)
@click.option("--save_all", is_flag=True, help="Store every layer, each as a setting of its own.")
@click.option("--image_max_size", type=limits.SIDE, default=700, show_default=True)
@click.option("--use_cache", is_flag=True, help="Accepted; the conditions of an image share what they can.")
@click.option("--batch_size", type=limits.BATCH, default=1, show_default=True)
@click.option(
    "--embedding_source",
    type=click.Choice(["input_last", "first_output", "mean_output"]),
    default="input_last",
    show_default=True,
)
@click.option("--gen_max_new_tokens", type=limits.NEW_TOKENS, default=16, show_default=True)
@click.option("--gen_do_sample", is_flag=True)
@click.option("--gen_temperature", type=limits.TEMPERATURE, default=0.0, show_default=True)
@click.option("--generative", is_flag=True, help="The model's answer, through a text encoder.")
@click.option("--text_encoder_id", default="sentence-transformers/sentence-t5-base", show_default=True)
@click.option("--indirect", is_flag=True, help="CLIP through a map made from texts.")
@click.option("--indirect_num_components", type=limits.DIMENSIONS, default=128, show_default=True)
@click.option(
    "--positions", type=click.Choice(["native", "flat"]), help="flat: 1-D positions, as the paper's code has."
)
@click.option("--dtype", help="float32, bfloat16 or float16; by default float32 on a CPU, bfloat16 on a GPU.")
@click.option(
    "--as_reference", is_flag=True, help="Pixels, positions, types of numbers and texts as in the paper's code."
)
def main(
    model: str,
    dataset_name: str,
    datasets_dir: Path,
    embedding_dir: str,
    prompt_type: str,
    num_layer: int,
    num_token: int,
    save_all: bool,
    image_max_size: int,
    batch_size: int,
    embedding_source: str,
    gen_max_new_tokens: int,
    gen_do_sample: bool,
    gen_temperature: float,
    generative: bool,
    text_encoder_id: str,
    indirect: bool,
    indirect_num_components: int,
    dataset_info_dir: Path | None,
    positions: str | None,
    dtype: str | None,
    as_reference: bool,
    **_: Any,
) -> None:
    r"""Embed a benchmark: the paper's inference.py.

    \b
    Example:  uv run python inference.py --model_id builtin --dataset_name synthetic_cars
    """
    from conditional_image_embeddings.datasets.labelled import UNIVERSAL, from_list

    is_universal = dataset_name in UNIVERSAL
    if is_universal and dataset_info_dir is None:
        raise click.UsageError(
            f"{dataset_name} is a universal set: name the folder that holds info_files (--dataset_info_dir)"
        )
    if generative and indirect:
        raise click.UsageError("--generative and --indirect are two methods: choose one")
    from conditional_image_embeddings import datasets, load
    from conditional_image_embeddings.collection.job.embedding_job import run_job
    from conditional_image_embeddings.collection.storage.store import Store
    from conditional_image_embeddings.methods import supported_methods
    from conditional_image_embeddings.methods.registry import METHODS
    from conditional_image_embeddings.methods.request import Request

    request = Request(
        prompt_types=(prompt_type,),
        tokens=(num_token,),
        embedding_source=embedding_source,
        layers=(num_layer,),
        top_words=TOP_WORDS,
        max_new_tokens=gen_max_new_tokens,
        do_sample=gen_do_sample,
        temperature=gen_temperature,
        seed=SEED,
    )
    given = {"positions": positions, "dtype": dtype}
    options: dict[str, Any] = {name: value for name, value in given.items() if value}
    method = "generative" if generative else "indirect" if indirect else None
    if as_reference:
        if options:
            raise click.UsageError(
                f"--as_reference sets --{' and --'.join(options)} by itself: leave out one or the other"
            )
        options |= METHODS[method or supported_methods(model)[0]].reference
    if generative:
        options["text_encoder"] = text_encoder_id
    if indirect:
        options["components"] = indirect_num_components
    benchmark = (
        from_list(dataset_name, dataset_info_dir, allow_missing=True)
        if is_universal and dataset_info_dir
        else datasets.get_images(dataset_name, datasets_dir)
    )
    embedder = load(model, method=method, image_max_size=image_max_size, **options)
    conditions = embedder.benchmark_conditions([aspect.condition for aspect in benchmark.aspects])
    if not conditions:
        raise click.UsageError(
            f"{dataset_name} has no condition, and without one InDiReCT is CLIP: leave --indirect out"
        )
    layers = tuple(range(embedder.depth + 1)) if save_all and embedder.depth else (num_layer,)
    request = replace(request, conditions=conditions, layers=layers)
    finish([run_job(Store(embedding_dir), benchmark, embedder, request, batch_size=batch_size)], as_json=False)


if __name__ == "__main__":
    main()
