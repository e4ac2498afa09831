"""The numbers that commands take: finite, and no larger than makes sense, so that a slip of the hand is wrong usage."""

import math
from typing import Any

import click


class Real(click.FloatRange):
    """A real number; NaN and infinity, which compare as they like with any bound, are none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number


ATTEMPTS = click.IntRange(1, 1000)
BATCH = click.IntRange(1, 65_536)
COSINE = Real(-1.0, 1.0)
DIMENSIONS = click.IntRange(1, 1_000_000)
FRACTION = Real(0.0, 1.0)
GROUPS = click.IntRange(1, 1_000_000)
HITS = click.IntRange(1, 100_000)
LAYER = click.IntRange(-10_000, 10_000)
NEW_TOKENS = click.IntRange(1, 32_768)
PORT = click.IntRange(1, 65_535)
SAMPLES = click.IntRange(1, 1_000_000)
SCORE = Real(-1e6, 1e6)
SEED = click.IntRange(0, 2**32 - 1)
SECONDS = Real(0.1, 86_400.0)
SHOWN = click.IntRange(0, 1_000_000_000)
SIDE = click.IntRange(1, 65_536)
TEMPERATURE = Real(0.0, 100.0)
TOKEN = click.IntRange(-1_000_000, 1_000_000)
WEIGHT = Real(-1e6, 1e6)
WORDS = click.IntRange(0, 100)
WORKERS = click.IntRange(1, 1024)
