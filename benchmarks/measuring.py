"""How the benchmarks measure: rivals in turn, round by round, so that a machine's drift meets all alike; medians."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
import transformers
from torch.utils.flop_counter import FlopCounterMode


def machine() -> str:
    """Processor or GPU, cores, threads, versions: what a figure has to have beside it."""
    name = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):  # noqa: PTH110
        with open("/proc/cpuinfo") as lines:  # noqa: PTH123
            name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), name)
    if torch.cuda.is_available():
        name = f"{torch.cuda.get_device_name()}, host {name}"
    return (
        f"{name}, {os.cpu_count()} cores, {torch.get_num_threads()} threads; Python {platform.python_version()}, "
        f"torch {torch.__version__}, transformers {transformers.__version__}"
    )


def interleaved(contenders: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Wall seconds of each contender in each round, after one uncounted round; every other round backwards."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(rounds + 1):
        for name, run in list(contenders.items())[:: -1 if turn % 2 else 1]:
            started = time.perf_counter()
            run()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if turn:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def ratio(theirs: list[float], ours: list[float]) -> float:
    """The median over the rounds of their time to ours in the same round: what slows a round down slows both."""
    return statistics.median(one / other for one, other in zip(theirs, ours, strict=True))


def median(values: list[float]) -> float:
    return statistics.median(values)


def gflop(run: Callable[[], Any]) -> float:
    """Floating-point operations of matrix products and attention, in units of 1e9 (a multiply-add counts twice)."""
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops() / 1e9


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table, its columns aligned for reading as text."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = [header, ["-" * width for width in widths], *rows]
    padded = (" | ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
    return "\n".join(f"| {line} |" for line in padded)
