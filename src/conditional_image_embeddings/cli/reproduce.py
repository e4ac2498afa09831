"""`cie reproduce`: the paper's tables."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import limits
from .command import EXIT_SOME_IMAGES_FAILED, Command, list_failures

if TYPE_CHECKING:
    from ..evaluation.reproduction import Work

AS_REFERENCE = (
    "Pixels, positions and types of numbers as the paper's reference implementation has them (--as-reference)."
)


@click.command(cls=Command)
@click.option(
    "-m", "--model", "models", multiple=True, help="A hub id, a directory, or `builtin`; repeat it for several."
)
@click.option("--methods", multiple=True, metavar="A,B,...", help="By default all that the models allow, but pixels.")
@click.option("--datasets", "names", multiple=True, metavar="A,B,...", help="By default the paper's five.")
@click.option("--datasets-dir", type=click.Path(path_type=Path), default=Path("datasets"), show_default=True)
@click.option("-e", "--db", default="./embeddings", show_default=True, help="A LanceDB directory or URI.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("reproduction"),
    show_default=True,
    help="Where report.html and table.tex go.",
)
@click.option("--text-encoder", help="generative: as in `cie embed`; by default the paper's.")
@click.option("--metric", type=click.Choice(["euclidean", "cosine"]), default="euclidean", show_default=True)
@click.option("--clustering/--no-clustering", default=True, help="With or without AMI and NMI: k-means takes its time.")
@click.option("--skip-missing", is_flag=True, help="Leave out what is not there, instead of refusing to begin.")
@click.option("--dry-run", is_flag=True, help="Only say what there is to do and how long it takes; nothing is stored.")
@click.option("--batch-size", type=limits.BATCH, help="Images per batch at most; by default by tokens.")
@click.option("--device", help="As in `cie embed`.")
@click.option("--dtype", help="As in `cie embed`.")
@click.option("--positions", type=click.Choice(["native", "flat"]), help="As in `cie embed`.")
@click.option(
    "--as-reference", is_flag=True, help="Pixels, positions and types of numbers as the paper's code has them."
)
@click.option("--local-files-only", is_flag=True, help="Never ask the hub.")
@click.option("--json", "as_json", is_flag=True, help="Print the scores, or with --dry-run the plan, as JSON.")
def reproduce(
    models: tuple[str, ...],
    methods: tuple[str, ...],
    names: tuple[str, ...],
    datasets_dir: Path,
    db: str,
    output: Path,
    text_encoder: str | None,
    metric: str,
    clustering: bool,
    skip_missing: bool,
    dry_run: bool,
    batch_size: int | None,
    as_json: bool,
    as_reference: bool,
    **loading: Any,
) -> None:
    r"""Reproduce the paper's tables: every model and method on every benchmark and aspect.

    What is missing is listed before anything is embedded. The same command goes on where it was stopped. Exit status:
    1 something is missing, 3 all was done but what is listed (images that failed; what --skip-missing left out).

    \b
    Example:  cie reproduce -m builtin -m builtin-clip --text-encoder minilm --datasets synthetic-cars --dry-run
              cie reproduce -m Qwen/Qwen2.5-VL-7B-Instruct -m openai/clip-vit-large-patch14
              cie reproduce -m Qwen/Qwen2.5-VL-7B-Instruct --methods dior --as-reference
    """
    from .. import datasets
    from ..evaluation.reproduction import Reproduction
    from ..methods.registry import describe

    if as_reference and (set_twice := [f"--{name}" for name in ("dtype", "positions") if loading[name]]):
        raise click.UsageError(
            f"--as-reference sets {' and '.join(set_twice)} by itself: leave out the one or the other"
        )
    chosen = _listed(methods)
    if not models and (not chosen or any(describe(method).model_family for method in chosen)):
        from ..models.suggestion import suggest_models

        raise click.UsageError(
            f"{suggest_models()}; CLIP, InDiReCT and CLAY need a dual encoder beside it, such as builtin-clip or "
            "openai/clip-vit-large-patch14"
        )
    wanted = Reproduction(
        models=models,
        methods=chosen or None,
        names=_listed(names) or datasets.NAMES,
        datasets_dir=datasets_dir,
        text_encoder=text_encoder,
        batch_size=batch_size,
        as_reference=as_reference,
        **{name: value for name, value in loading.items() if value},
    )
    listed = _print_missing(wanted.missing)
    if wanted.missing and not (dry_run or skip_missing):  # before anything large is imported
        wanted.require()
    wanted.find_models()
    listed += _print_missing(wanted.missing[listed:])
    if not dry_run:
        wanted.require(skip_missing=skip_missing)
    from .. import evaluation
    from ..collection.storage.store import Store
    from ..reports import tables_page

    exists = "://" in db or Path(db).expanduser().is_dir()
    works = wanted.plan(Store(db, create=False) if exists else None, estimate=dry_run)
    _print_missing(wanted.missing[listed:])
    if dry_run:
        click.echo(json.dumps([asdict(work) for work in works], indent=2) if as_json else _plan(works))
        sys.exit((EXIT_SOME_IMAGES_FAILED if skip_missing else 1) if wanted.missing else 0)
    wanted.require(skip_missing=skip_missing)
    click.echo(_plan([work for work in works if work.on_disk]), err=True)
    output.mkdir(parents=True, exist_ok=True)
    done = wanted.run(Store(db), metric=metric, clustering=clustering)
    failures = {name: len(reasons) for name, reasons in done.failures.items()}
    note = AS_REFERENCE if as_reference else ""
    tables_page.write(output / "report.html", rows=done.rows, failures=failures, missing=wanted.missing, note=note)
    evaluation.write(done.rows, output / "table.tex", note=note)
    click.echo(evaluation.FORMATS["json" if as_json else "table"](done.rows))
    click.echo(f"Look at {output / 'report.html'}; the same for a paper is {output / 'table.tex'}", err=True)
    reasons = {
        f"{name}/{image_id}": reason for name, each in done.failures.items() for image_id, reason in each.items()
    }
    if list_failures(reasons) or wanted.missing:
        sys.exit(EXIT_SOME_IMAGES_FAILED)


def _listed(given: tuple[str, ...]) -> list[str]:
    """What was given in one option with commas, or in several."""
    return [part.strip() for each in given for part in each.split(",") if part.strip()]


def _print_missing(missing: list[str]) -> int:
    for each in missing:
        click.echo(f"missing: {each}", err=True)
    return len(missing)


def _plan(works: "list[Work]") -> str:
    """The plan as a table to read: a line per dataset, method and model."""
    from ..evaluation import aligned

    timed = any(work.seconds is not None for work in works)
    order = {name: index for index, name in enumerate(dict.fromkeys(work.dataset for work in works))}
    lines = [
        [
            work.dataset + ("" if work.on_disk else " (not on disk)"),
            work.method,
            work.model,
            *_numbers(work.images, len(work.conditions), work.vectors, work.already_there),
            *_numbers(work.vectors - work.already_there),
            *([_duration(work.seconds or 0.0)] if timed else []),
        ]
        for work in sorted(works, key=lambda work: order[work.dataset])
    ]
    vectors, there = sum(work.vectors for work in works), sum(work.already_there for work in works)
    total = ["all", "", "", "", "", *_numbers(vectors, there, vectors - there)]
    if timed:
        total.append(_duration(sum(work.seconds or 0.0 for work in works)))
    heading = ["dataset", "method", "model", "images", "conditions", "vectors", "there", "to do"]
    note = (
        "\n\nThe time is that of embedding, extrapolated from a few images; scoring is not in it. A dual encoder\n"
        "embeds an image once for all its methods: the first of them has that time."
    )
    return aligned([[*heading, *["time"] * timed], *lines, total], left=3) + (note if timed else "")


def _numbers(*numbers: int) -> list[str]:
    return [f"{number:,}" for number in numbers]


def _duration(seconds: float) -> str:
    if seconds == 0:
        return "-"
    if seconds < 59.5:
        return f"{round(seconds)} s" if seconds >= 1 else "<1 s"
    if seconds < 600:
        return f"{int(seconds) // 60} min {int(seconds) % 60:02} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"
