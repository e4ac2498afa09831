"""What every command is: errors of one line, exit statuses, and what is printed of jobs."""

import json
import os
import re
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn

import click

from ..errors import CieError
from ..methods.registry import describe

if TYPE_CHECKING:
    from ..collection.job.embedding_job import JobReport

EXIT_SOME_IMAGES_FAILED = 3
EXIT_INTERRUPTED = 130  # as shells count a SIGINT
DEBUG = "conditional_image_embeddings.debug"
# torch's own errors for CUDA, MPS and CPU, by what they say: a command line does not import torch to know them.
OUT_OF_MEMORY = re.compile(r"OutOfMemoryError|out of memory|DefaultCPUAllocator", re.IGNORECASE)
OUT_OF_REACH = "their folder is empty or cannot be looked into, as a lost mount leaves it"
SHOWN_CHARACTERS = 300
SHOWN_FAILURES = 10


class Command(click.Command):
    """A command whose errors are one line, with the option `--debug` all of it.

    What the user or the machine is the reason of says what was wrong, where, what to do. Anything else is a fault of
    this package, and called so: nobody is to look for it in their own files.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Docstrings are raw; click's mark for lines that stay as they are is the character itself.
        self.help = self.help and self.help.replace("\\b\n", "\b\n")
        self.params.append(
            click.Option(
                ["--debug"], is_flag=True, expose_value=False, callback=_debug, help="Show an error's traceback."
            )
        )

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise  # wrong usage; an exit status; and `cie words | head`, which click ends quietly
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            ctx.exit(EXIT_INTERRUPTED)
        except Exception as error:
            if ctx.meta.get(DEBUG):
                raise
            click.echo(f"error: {_said(error, ctx)}", err=True)
            ctx.exit(1)


def end_now() -> NoReturn:
    """End the process well, whatever its threads still compute."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _debug(ctx: click.Context, _: click.Parameter, given: bool) -> None:
    ctx.meta[DEBUG] = ctx.meta.get(DEBUG, False) or given


def _said(error: Exception, ctx: click.Context) -> str:
    """What went wrong, in one line, and what to do about it."""
    text = " ".join(str(error).split())
    if isinstance(error, CieError):
        return text or type(error).__name__
    if isinstance(error, MemoryError) or OUT_OF_MEMORY.search(f"{type(error).__name__}: {text}"):
        options = [f"a smaller {name}" for name in ("--batch-size", "--image-max-size") if _has(ctx.command, name)]
        advice = " or ".join(options) or "fewer or smaller inputs"
        return f"out of memory: {text[:SHOWN_CHARACTERS] or 'there is no more'} (try {advice})"
    if isinstance(error, OSError) and error.errno is not None:
        return text  # a full disk, a folder that may not be written: the machine's reason, with the file's name
    return (
        f"internal error: {type(error).__name__}: {text[:SHOWN_CHARACTERS]} "
        "(a fault of this program: run it again with --debug, and report the traceback)"
    )


def _has(command: click.Command, option: str) -> bool:
    return any(name.replace("_", "-") == option for parameter in command.params for name in parameter.opts)


class Commands(Command, click.Group):
    """A group of commands with such errors."""

    command_class = Command


# Every option is also reachable with underscores, as the paper's commands write them.
CONTEXT = {"help_option_names": ["-h", "--help"], "token_normalize_func": lambda token: token.replace("_", "-")}


def json_object(_: click.Context, option: click.Parameter, text: str | None) -> dict[str, Any] | None:
    """An option's value as a JSON object: a callback of click's."""
    if text is None:
        return None
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise click.BadParameter(f"{text[:60]!r} is no JSON: {error}", param=option) from error
    if not isinstance(value, dict):
        raise click.BadParameter(f'{text[:60]!r} is no JSON object such as {{"name": true}}', param=option)
    return value


def text_or_object(context: click.Context, option: click.Parameter, text: str | None) -> str | dict[str, Any] | None:
    """An option's value as a JSON object where it is written as one, else as it is: a callback of click's."""
    return json_object(context, option, text) if text and text.lstrip().startswith('{"') else text


def finish(reports: "list[JobReport]", as_json: bool) -> None:
    """Print what jobs did, list what failed, and exit with 3 if any image did."""
    rows = [row for report in reports for row in report_rows(report)]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    else:
        for row in rows:
            line = "{setting}: {embedded} embedded, {already_there} already there, {failed} failed".format(**row)
            more = {"words_added": "words added to {}", "empty_answers": "{} answers empty", "pruned": "{} pruned"}
            for what, said in more.items():
                line += f", {said.format(row[what])}" if row.get(what) else ""
            click.echo(line)
    if kept := sum(report.pruned.out_of_reach for report in reports if report.pruned is not None):
        click.echo(f"{kept} images kept: {OUT_OF_REACH}", err=True)
    if list_failures({image_id: reason for report in reports for image_id, reason in report.failures.items()}):
        sys.exit(EXIT_SOME_IMAGES_FAILED)


def report_rows(report: "JobReport") -> list[dict[str, Any]]:
    """What a job did, as `--json` prints it."""
    return [
        {
            "setting": each.setting.name,
            "embedded": each.embedded,
            "already_there": each.already_there,
            "failed": each.failed,
            **({"words_added": each.words_added} if describe(each.setting.method).tells == "words" else {}),
            **({"empty_answers": each.empty_answers} if describe(each.setting.method).tells == "answer" else {}),
            **({} if report.pruned is None else {"pruned": len(report.pruned.gone)}),
        }
        for each in report.settings
    ]


def list_failures(failures: Mapping[str, str], where: str = ", in the table `failures`") -> bool:
    """Tell why the first few images failed, by their ids, how many more, and where these are; whether any did."""
    for reason in list(failures.values())[:SHOWN_FAILURES]:
        click.echo(f"failed: {reason}", err=True)
    if len(failures) > SHOWN_FAILURES:
        click.echo(f"... and {len(failures) - SHOWN_FAILURES} more{where}", err=True)
    return bool(failures)
