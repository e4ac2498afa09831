"""What `cie embed --watch` prints: a line per round and source, and the sum when it is ended."""

import json
import signal
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from .command import EXIT_INTERRUPTED, EXIT_SOME_IMAGES_FAILED, OUT_OF_REACH, list_failures, report_rows

if TYPE_CHECKING:
    from ..collection.job.job_report import JobReport
    from ..collection.job.watching import SourceRound
    from ..collection.storage.store import Store
    from ..inputs.lookup import Lookup
    from ..inputs.references import ImageSource


def follow(
    store: "Store",
    lookup: "Lookup",
    run: "Callable[[ImageSource, Callable[[], None]], JobReport]",
    poll: float | None,
    as_json: bool,
) -> None:
    """Print rounds until Ctrl-C or SIGTERM: status 0, 3 if images failed in the last, 130 while embedding."""
    from ..collection.job.watching import Watch

    watch = Watch(store, lookup, run, poll=poll)
    failures: dict[tuple[str, str], str] = {}
    rounds, embedded, pruned = 0, 0, 0
    former = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        for done in watch.rounds():
            rounds += 1
            embedded += sum(each.embedded for each in done)
            pruned += sum(each.pruned for each in done)
            known = failures
            failures = {(each.root, name): reason for each in done for name, reason in each.failures.items()}
            for each in done:
                click.echo(_line(each), err=True)
            list_failures({str(key): reason for key, reason in failures.items() if known.get(key) != reason})
            if as_json:  # last: who reads it may end the program
                click.echo(json.dumps({"round": rounds, "sources": list(map(_row, done))}, ensure_ascii=False))
    except KeyboardInterrupt:
        counted = f"{rounds} rounds, {embedded} embedded, {pruned} pruned, {len(failures)} failed"
        click.echo(f"{'interrupted' if watch.is_working else 'ended'}: {counted}", err=True)
        sys.exit(EXIT_INTERRUPTED if watch.is_working else EXIT_SOME_IMAGES_FAILED if failures else 0)
    finally:
        signal.signal(signal.SIGTERM, former)


def _line(done: "SourceRound") -> str:
    """Such as `12:03:05 photos: 2 embedded, 0 failed`."""
    begin = f"{time.strftime('%H:%M:%S')} {done.root}: "
    if done.report is None:
        return f"{begin}{done.problem}"
    parts = [f"{done.embedded} embedded, {len(done.failures)} failed"]
    if done.unsettled:
        parts.append(f"{len(done.unsettled)} still being written")
    if done.pruned:
        parts.append(f"{done.pruned} gone and pruned")
    elif done.missing.gone:
        parts.append(f"{len(done.missing.gone)} gone (they stay in the database: --prune removes them)")
    if done.missing.out_of_reach:
        parts.append(f"{done.missing.out_of_reach} kept: {OUT_OF_REACH}")
    return begin + ", ".join(parts)


def _row(done: "SourceRound") -> dict[str, Any]:
    return {
        "source": done.root,
        "problem": done.problem,
        "embedded": done.embedded,
        "failed": len(done.failures),
        "unsettled": len(done.unsettled),
        "gone": len(done.missing.gone) - done.pruned,
        "pruned": done.pruned,
        "out_of_reach": done.missing.out_of_reach,
        "settings": [] if done.report is None else report_rows(done.report),
    }
