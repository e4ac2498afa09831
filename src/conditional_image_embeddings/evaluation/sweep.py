"""Which prompt type, token and layer suit a model: all combinations embedded in one pass an image, and scored.

The choice is made on one half of the images and its score told on the other: what was chosen on the images that it is
reported on looks better than it is.
"""

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..collection.job.embedding_job import run_job
from ..datasets import Benchmark
from ..errors import OptionError, require
from ..methods.request import Request
from . import scores

if TYPE_CHECKING:
    from ..collection.storage.store import Store
    from ..methods.embedder import Embedder
    from ..methods.settings import Setting


def sweep(
    store: "Store",
    benchmark: Benchmark,
    embedder: "Embedder",
    request: Request,
    *,
    metric: str = "cosine",
    batch_size: int | None = None,
) -> list[dict[str, Any]]:
    """Score every combination of the request's prompt types, tokens and layers.

    Args:
        store: Where the vectors go; what is there already is not embedded again.
        benchmark: The images and their labels.
        embedder: A method with hidden states, such as DIOR.
        request: The axes; its conditions are the benchmark's aspects.
        metric: "cosine" or "euclidean".
        batch_size: Images a batch at most.

    Returns:
        One row a combination, best first by `map_at_r`, the mean over aspects on the choosing half: `{prompt_type,
        token, layer, map_at_r, precision_at_1, held_out_map_at_r, held_out_precision_at_1, aspects: {name: map_at_r}}`.

    Raises:
        ValueError: conditions that are not the benchmark's aspects.
    """
    require("eval", "scoring")
    by_condition = {aspect.condition: aspect for aspect in benchmark.aspects}
    if unknown := [name for name in request.conditions if name not in by_condition]:
        raise OptionError(
            f"{unknown[0]!r} is no aspect of {benchmark.name}; its aspects: {', '.join(map(str, by_condition))}"
        )
    report = run_job(store, benchmark, embedder, request, batch_size=batch_size)
    figures: dict[tuple[Any, ...], dict[str, tuple[Any, Any]]] = {}
    for each in report.settings:
        setting, aspect = each.setting, by_condition[each.setting.condition]
        key = (setting.prompt_type, setting.token, setting.layer)
        figures.setdefault(key, {})[aspect.name] = _halves(store, setting, benchmark.labels[aspect], metric)
    rows = [
        {
            **dict(zip(("prompt_type", "token", "layer"), key, strict=True)),
            "map_at_r": float(np.mean([chosen.map_at_r for chosen, _ in of_aspects.values()])),
            "precision_at_1": float(np.mean([chosen.precision_at_1 for chosen, _ in of_aspects.values()])),
            "held_out_map_at_r": float(np.mean([held.map_at_r for _, held in of_aspects.values()])),
            "held_out_precision_at_1": float(np.mean([held.precision_at_1 for _, held in of_aspects.values()])),
            "aspects": {name: chosen.map_at_r for name, (chosen, _) in of_aspects.items()},
        }
        for key, of_aspects in figures.items()
    ]
    return sorted(rows, key=lambda row: -row["map_at_r"])


def _halves(store: "Store", setting: "Setting", labels: Any, metric: str) -> tuple[Any, Any]:
    """The scores on the half that chooses, and on the other: which one an image is in, its id says."""
    image_ids, vectors = store.read(setting)
    labelled = [row for row, image_id in enumerate(image_ids) if image_id in labels]
    halves: tuple[list[int], list[int]] = ([], [])
    for row in labelled:
        halves[_half(image_ids[row])].append(row)
    chosen, held = (
        scores(vectors[rows], [labels[image_ids[row]] for row in rows], metric=metric, clustering=False)
        for rows in halves
    )
    return chosen, held


def _half(image_id: str) -> int:
    return hashlib.sha256(image_id.encode()).digest()[0] % 2


def format_table(rows: Sequence[dict[str, Any]], shown: int = 20) -> str:
    """The best rows as text, and what the best is ahead of."""
    from .tables import aligned

    aspects = list(rows[0]["aspects"])
    lines = [["prompt type", "layer", "token", "mean", *aspects, "held out"]]
    for row in rows[:shown]:
        figures = [row["map_at_r"], *row["aspects"].values(), row["held_out_map_at_r"]]
        names = [str(row["prompt_type"]), str(row["layer"]), str(row["token"])]
        lines.append([*names, *(f"{100 * figure:.1f}" for figure in figures)])
    told = ["MAP@R in %; ranked on one half of the images, `held out` is the mean on the other", aligned(lines, left=3)]
    best = rows[0]
    if len(rows) > 1:
        ahead = 100 * (best["map_at_r"] - rows[1]["map_at_r"])
        told.append(
            f"best: {best['prompt_type']}, layer {best['layer']}, token {best['token']}: {ahead:.1f} points ahead"
        )
        default = next((row for row in rows if _is_default(row)), None)
        if default is not None and default is not best:
            gain = 100 * (best["held_out_map_at_r"] - default["held_out_map_at_r"])
            told.append(f"against the default (describe, layer -1, token -1): {gain:+.1f} points on the half held out")
    return "\n".join(told)


def _is_default(row: dict[str, Any]) -> bool:
    return (row["prompt_type"], row["layer"], row["token"]) == ("describe", -1, -1)
