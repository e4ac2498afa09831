"""`cie`: one short function a command; the work is done by the package.

Results go to stdout (as JSON with `--json`), progress and errors to stderr. Exit status: 0 all was done, 3 some images
failed and are listed, 2 wrong usage, 1 anything else, with one line of error (`cie --debug ...` shows the traceback).
"""

import json
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import __version__
from .conditions import PROMPTS
from .errors import CieError

if TYPE_CHECKING:
    from .embedding_job import JobReport

EXIT_SOME_IMAGES_FAILED = 3
SHOWN_FAILURES = 10


class Command(click.Command):
    """A command whose errors are one line: what was wrong, where, what to do; with its option `debug`, all of it."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (CieError, ValueError, TypeError, OSError, MemoryError) as error:
            if ctx.params.get("debug"):
                raise
            click.echo(f"error: {' '.join(str(error).split()) or type(error).__name__}", err=True)
            ctx.exit(1)


class Commands(Command, click.Group):
    """A group of commands with such errors."""


# Every option is also reachable with underscores, as the paper's commands write them.
CONTEXT = {"help_option_names": ["-h", "--help"], "token_normalize_func": lambda token: token.replace("_", "-")}


@click.group(cls=Commands, context_settings=CONTEXT)
@click.version_option(__version__, prog_name="cie")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def main(debug: bool) -> None:
    r"""Compare images by what you care about: embeddings under a condition named in plain words.

    \b
    Start here:   cie demo
    Your photos:  cie embed photos/ -c "car color" -m builtin
    """


@main.command()
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("cie-demo"),
    show_default=True,
    help="Where images, embeddings and the report page go.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the scores as JSON.")
def demo(output: Path, as_json: bool) -> None:
    r"""The whole story on the built-in models: render cars, embed, score, write a page to look at.

    \b
    Example:  cie demo -o cie-demo
    """
    from . import demo as story
    from .evaluation import format_table

    rows = story.run(output)
    click.echo(json.dumps(rows, indent=2) if as_json else format_table(rows))
    click.echo(f"Look at {output / 'report.html'}", err=True)


@main.command()
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
@click.option("--method", help="dior, clip or pixels; by default what the model is for.")
@click.option("-e", "--db", default="./embeddings", show_default=True, help="A LanceDB directory or URI.")
@click.option("--prompt-type", type=click.Choice(list(PROMPTS)), default="describe", show_default=True)
@click.option("--layer", type=int, default=-1, show_default=True, help="0: input embeddings; k: after layer k.")
@click.option("--token", type=int, default=-1, show_default=True, help="Index into the prompt's tokens.")
@click.option(
    "--embedding-source",
    type=click.Choice(["input_last", "first_output", "mean_output"]),
    default="input_last",
    show_default=True,
)
@click.option(
    "--image-max-size",
    type=click.IntRange(min=1),
    default=700,
    show_default=True,
    help="Scale images down to this many pixels on the longer side.",
)
@click.option("--batch-size", type=click.IntRange(min=1), help="Images a batch at most; by default by tokens.")
@click.option("--workers", type=click.IntRange(min=1), help="Threads that read images; by default one a core.")
@click.option("--no-share", is_flag=True, help="One plain pass a condition, to compare: the vectors are the same.")
@click.option("--positions", type=click.Choice(["native", "flat"]), help="flat: as the paper's reference code.")
@click.option("--device", help="cpu, cuda, cuda:1, mps; by default the best there is.")
@click.option("--dtype", help="float32, bfloat16 or float16; by default float32 on a CPU, bfloat16 on a GPU.")
@click.option("--revision", help="The model's revision on the hub.")
@click.option("--local-files-only", is_flag=True, help="Never ask the hub.")
@click.option("--trust-remote-code", is_flag=True, help="Run code that comes with the model. Only if you trust it.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
def embed(
    sources: tuple[str, ...],
    conditions: tuple[str, ...],
    no_condition: bool,
    model: str | None,
    method: str | None,
    db: str,
    prompt_type: str,
    layer: int,
    token: int,
    embedding_source: str,
    batch_size: int | None,
    workers: int | None,
    no_share: bool,
    as_json: bool,
    **loading: Any,
) -> None:
    r"""Embed images: files, folders, globs, a Parquet or Lance file with an image column.

    Run the same command again after an interruption: it goes on where it stopped.

    \b
    Example:  cie embed photos/ -c "car color" -c "car model" -m builtin
    """
    from . import sources as image_sources
    from .embedding_job import embed as embed_source
    from .methods import load
    from .methods.embedder import Request
    from .methods.remembered import remembered
    from .store import Store

    if model is None and method != "pixels":
        from .machine import no_model_given

        raise click.UsageError(no_model_given())
    request = Request(
        conditions=(*conditions, None) if no_condition or not conditions else conditions,
        prompt_type=prompt_type,
        layers=(layer,),
        token=token,
        embedding_source=embedding_source,
    )
    found = image_sources.find(sources)
    given = {name: value for name, value in loading.items() if value}  # flags that are off are everybody's default
    if no_share:
        given["share"] = False
    store = Store(db)
    loaded = cache(lambda: load(model or "pixels", method=method, **given))
    known = remembered(store, model, method, request, given, loaded) if model else None
    embedder = known or loaded()
    finish(
        [embed_source(store, source, embedder, request, batch_size=batch_size, workers=workers) for source in found],
        as_json,
    )


def finish(reports: "list[JobReport]", as_json: bool) -> None:
    """Print what jobs did, list what failed, and exit with 3 if any image did."""
    rows = [
        {
            "setting": each.setting.name,
            "embedded": each.embedded,
            "already_there": each.already_there,
            "failed": each.failed,
        }
        for report in reports
        for each in report.settings
    ]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    else:
        for row in rows:
            click.echo("{setting}: {embedded} embedded, {already_there} already there, {failed} failed".format(**row))
    failures = {image_id: reason for report in reports for image_id, reason in report.failures.items()}
    for reason in list(failures.values())[:SHOWN_FAILURES]:
        click.echo(f"failed: {reason}", err=True)
    if len(failures) > SHOWN_FAILURES:
        click.echo(f"... and {len(failures) - SHOWN_FAILURES} more, in the table `failures`", err=True)
    if failures:
        sys.exit(EXIT_SOME_IMAGES_FAILED)


@main.command()
@click.argument("db", default="./embeddings")
@click.option("--setting", "pattern", default="*", show_default=True, help="Glob over the settings' names.")
@click.option("--metric", type=click.Choice(["cosine", "euclidean"]), default="cosine", show_default=True)
@click.option("--all-aspects", is_flag=True, help="Score every setting on every aspect, not only on its own.")
@click.option("--datasets-dir", type=click.Path(path_type=Path), help="Where the benchmarks' labels are, if moved.")
@click.option("--json", "as_json", is_flag=True, help="Print the scores as JSON.")
def evaluate(db: str, pattern: str, metric: str, all_aspects: bool, datasets_dir: Path | None, as_json: bool) -> None:
    r"""Score embeddings of a benchmark: MAP@R, Precision@1, AMI, NMI.

    \b
    Example:  cie evaluate ./embeddings --setting "synthetic_cars-*"
    """
    from .evaluation import evaluate as evaluate_store
    from .evaluation import format_table
    from .store import Store

    rows = evaluate_store(
        Store(db, create=False), pattern, metric=metric, all_aspects=all_aspects, datasets_dir=datasets_dir
    )
    click.echo(json.dumps(rows, indent=2) if as_json else format_table(rows))


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print the table as JSON.")
def models(as_json: bool) -> None:
    r"""The models in the box, and the model families that the tests hold to the plain pass.

    Other families work too: a loaded model is tried against plain passes, and shares what is exact.

    \b
    Example:  cie models
    """
    from .lvlm.families import describe

    rows = describe()
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    widths = [max(len(str(row[column])) for row in rows) for column in ("name", "kind", "family")]
    for row in rows:
        name, kind, family = (
            row[column].ljust(w) for column, w in zip(("name", "kind", "family"), widths, strict=True)
        )
        click.echo(f"{name}  {kind}  {family}  {row['exact']}")


@main.group()
def datasets() -> None:
    """The benchmarks: what is known, what is on disk, and how to get it."""


@datasets.command("list")
@click.option("--json", "as_json", is_flag=True)
def list_datasets(as_json: bool) -> None:
    r"""The benchmarks and their aspects.

    \b
    Example:  cie datasets list
    """
    from .datasets import describe

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
    from .datasets.synthetic_cars import make

    folder = directory / name.replace("-", "_")
    make(folder, images=images)
    click.echo(f"{images} images and cars.csv are in {folder}")
