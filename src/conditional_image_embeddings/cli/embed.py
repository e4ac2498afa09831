"""`cie embed`: images into a database."""

from functools import cache
from typing import TYPE_CHECKING, Any

import click

from ..inputs.conditions import PROMPTS
from ..methods import METHODS
from . import limits
from .command import Command, finish, json_object, text_or_object
from .rounds import follow
from .word_lists import word_lists

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..collection.job.job_report import JobReport
    from ..inputs.references import ImageSource

LAYER_POOLINGS = ("mean", "concat")


@click.command(cls=Command)
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option(
    "-c",
    "--condition",
    "conditions",
    multiple=True,
    help="The aspect to look at, such as 'car color'; repeat it for several. Without one: no condition.",
)
@click.option("--no-condition", is_flag=True, help="Embed without a condition too, beside the conditions given.")
@click.option("-m", "--model", help="A hub id, a local directory, or `builtin`.")
@click.option("--method", type=click.Choice(METHODS), help="By default what the model is for: dior, instruct or clip.")
@click.option("-e", "--db", default="./embeddings", show_default=True, help="A LanceDB directory or URI.")
@click.option(
    "--prompt-type",
    "prompt_types",
    type=click.Choice(list(PROMPTS)),
    multiple=True,
    default=["describe"],
    show_default=True,
    help="Repeat it for several, each its own setting.",
)
@click.option("--average-prompts", is_flag=True, help="The mean over the prompt types given, as one setting.")
@click.option(
    "--layer",
    "layers",
    type=limits.LAYER,
    multiple=True,
    default=[-1],
    show_default=True,
    help="0: input embeddings; k: after layer k. Repeat it for several, each its own setting.",
)
@click.option("--layer-pooling", type=click.Choice(LAYER_POOLINGS), help="One vector of all layers given instead.")
@click.option("--token", type=limits.TOKEN, default=-1, show_default=True, help="Index into the prompt's tokens.")
@click.option(
    "--embedding-source",
    type=click.Choice(["input_last", "first_output", "mean_output"]),
    default="input_last",
    show_default=True,
)
@click.option(
    "--top-words",
    type=limits.WORDS,
    default=5,
    show_default=True,
    help="dior: store so many words that explain each vector; 0 is a little faster.",
)
@click.option("--family", help="instruct: the family of a model whose name does not say it, such as gme.")
@click.option(
    "--instruction",
    callback=text_or_object,
    metavar="TEXT|JSON",
    help="instruct: the instruction about {c}, or a JSON object of what differs from the family's.",
)
@click.option("--pooling", type=click.Choice(["last", "mean"]), help="instruct: by default the family's.")
@click.option("--text-encoder", help="generative: a sentence-transformers id or directory, or minilm (in a package).")
@click.option("--max-new-tokens", type=limits.NEW_TOKENS, default=16, show_default=True, help="Of an answer.")
@click.option(
    "--words",
    "lists",
    multiple=True,
    metavar="[CONDITION=]WORDS",
    help="indirect, clay: what varies in a condition, as red,blue,... or a file with a word per line.",
)
@click.option("--together", is_flag=True, help="clay: one vector of all conditions given; each counts the same.")
@click.option("--components", type=limits.DIMENSIONS, help="indirect, clay: dimensions of the vectors.")
@click.option("--solver", type=click.Choice(["adam", "svd"]), help="indirect: as the paper, or in closed form.")
@click.option(
    "--image-max-size",
    type=limits.SIDE,
    default=700,
    show_default=True,
    help="Scale images down to this many pixels on the longer side.",
)
@click.option(
    "--include-hidden",
    is_flag=True,
    help="Take hidden files too, and folders of caches and deleted files (@eaDir, #recycle, __MACOSX, ...).",
)
@click.option(
    "--exclude",
    multiple=True,
    metavar="GLOB",
    help="Leave out what matches, as in .gitignore: without a slash a file's or folder's name at any depth (raw, "
    "*.tmp.jpg), with one the path from SOURCE (/old, 2024/*.tif, b/**/c). Repeat it. What is in tables and shards is "
    "not matched.",
)
@click.option("--batch-size", type=limits.BATCH, help="Images per batch at most; by default by tokens.")
@click.option("--workers", type=limits.WORKERS, help="Threads that read images; by default one per core.")
@click.option("--no-share", is_flag=True, help="One separate pass per condition, to compare: the vectors are the same.")
@click.option("--positions", type=click.Choice(["native", "flat"]), help="flat: as the paper's reference code.")
@click.option(
    "--thinking",
    type=click.Choice(["off", "as-is"]),
    default="off",
    show_default=True,
    help="off: a thought that the model's chat template opens is switched off or closed.",
)
@click.option(
    "--chat-template-kwargs",
    callback=json_object,
    metavar="JSON",
    help="Further variables of the chat template, such as '{\"add_vision_id\": true}'.",
)
@click.option(
    "--image-reading", type=click.Choice(["upright", "reference"]), help="reference: pixels as the paper's code reads."
)
@click.option("--device", help="cpu, cuda, cuda:1, mps; by default the best there is.")
@click.option("--dtype", help="float32, bfloat16 or float16; by default float32 on a CPU, bfloat16 on a GPU.")
@click.option("--revision", help="The model's revision on the hub.")
@click.option("--local-files-only", is_flag=True, help="Never ask the hub.")
@click.option("--trust-remote-code", is_flag=True, help="Run code that comes with the model. Only if you trust it.")
@click.option(
    "--allow-outside-paths",
    is_flag=True,
    help="Read also files that a table's rows name outside of its folder. Only if you trust the table.",
)
@click.option("--prune", is_flag=True, help="Remove what the database has of images that are gone, before embedding.")
@click.option(
    "--watch", is_flag=True, help="Then wait, and embed what is new or changed, until Ctrl-C. The model stays loaded."
)
@click.option(
    "--poll",
    type=limits.SECONDS,
    help="With --watch: look every so many seconds, for network mounts, whose changes the system does not tell.",
)
@click.option(
    "--ray",
    is_flag=False,
    flag_value="",
    metavar="[ADDRESS]",
    help="Embed on a Ray cluster: HOST:PORT, auto (that of this machine) or local; without one auto, else local.",
)
@click.option("--actors", type=limits.WORKERS, help="With --ray: how many; by default one per GPU, or per node.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON; with --watch a line per round.")
def embed(
    sources: tuple[str, ...],
    conditions: tuple[str, ...],
    no_condition: bool,
    model: str | None,
    method: str | None,
    db: str,
    prompt_types: tuple[str, ...],
    average_prompts: bool,
    layers: tuple[int, ...],
    layer_pooling: str | None,
    token: int,
    embedding_source: str,
    top_words: int,
    max_new_tokens: int,
    lists: tuple[str, ...],
    together: bool,
    include_hidden: bool,
    exclude: tuple[str, ...],
    allow_outside_paths: bool,
    batch_size: int | None,
    workers: int | None,
    no_share: bool,
    prune: bool,
    watch: bool,
    poll: float | None,
    ray: str | None,
    actors: int | None,
    as_json: bool,
    **loading: Any,
) -> None:
    r"""Embed images: files, folders, globs, a Parquet or Lance file with an image column, WebDataset
    shards (shards/{000..009}.tar), prefixes and objects on s3://.

    Run the same command again after an interruption: it goes on where it stopped.

    \b
    Example:  cie embed photos/ -c "car color" -c "car model" -m builtin
    """
    from ..inputs.lookup import Lookup
    from ..inputs.sources import find
    from ..methods.request import Request

    if model is None and (method is None or METHODS[method].model_family):
        from ..models.suggestion import suggest_models

        raise click.UsageError(suggest_models())
    able = [each.name for each in METHODS.values() if "together" in each.arguments]
    if together and (method not in able or len(conditions) < 2 or no_condition):
        raise click.UsageError(
            f"--together takes --method {' or '.join(able)}, two conditions (-c) or more, and no --no-condition"
        )
    if lists:
        loading["words"] = word_lists(lists, conditions, method)
    request = Request(
        conditions=(*conditions, None) if no_condition or not conditions else conditions,
        together=together,
        prompt_types=prompt_types,
        average_prompts=average_prompts,
        layers=layers,
        layer_pooling=layer_pooling,
        tokens=(token,),
        embedding_source=embedding_source,
        max_new_tokens=max_new_tokens,
        top_words=top_words,
    )
    if actors is not None and ray is None:
        raise click.UsageError("--actors takes --ray")
    if poll is not None and not watch:
        raise click.UsageError("--poll takes --watch: without it, the job ends when it is done")
    choice: dict[str, Any] = {
        "include_hidden": include_hidden, "exclude": exclude, "allow_outside": allow_outside_paths,
    }  # fmt: skip
    lookup = Lookup(sources, **choice) if watch else None
    found = [] if watch else find(sources, **choice)
    from ..collection.job.embedding_job import run_job
    from ..collection.job.lazy_embedder import from_store
    from ..collection.storage.store import Store
    from ..methods import load

    if loading["thinking"] == "off":
        del loading["thinking"]
    given = {name: value for name, value in loading.items() if value}  # flags that are off are everybody's default
    if no_share:
        given["share"] = False
    how: dict[str, Any] = {"batch_size": batch_size, "workers": workers}
    embedder: Any = None
    if ray is not None:
        from ..collection.job.distributed.ray_embedder import RayEmbedder

        if method is not None and METHODS[method].is_derived:
            base = METHODS[method].backbone
            raise click.UsageError(
                f"{method} maps {base}'s stored vectors: embed with --method {base} --ray first, "
                f"then with --method {method}, without --ray"
            )
        options = {"method": method, **given}
        embedder = RayEmbedder(model or str(method), options, request.distinct(), address=ray or None, workers=actors)
    store = Store(db)  # after Ray has begun processes: LanceDB's threads do not like a fork
    if embedder is None:
        loaded = cache(lambda: load(model or str(method), method=method, **given))
        embedder = (from_store(store, model, method, request, given, loaded) if model else None) or loaded()

    def run(source: "ImageSource", on_work: "Callable[[], None]" = lambda: None) -> "JobReport":
        return run_job(store, source, embedder, request, prune=prune, on_work=on_work, **how)

    if lookup is None:
        finish(list(map(run, found)), as_json)
    else:
        follow(store, lookup, run, poll, as_json)
