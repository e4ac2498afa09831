"""The whole story on the models in the box: render cars, embed them in every way, score, and write a page to look at.

It goes through the same functions as the commands (a benchmark, the embedding job, the evaluation), so it is resumable
too.
"""

from pathlib import Path
from typing import Any

from . import datasets, report
from .datasets.synthetic_cars import make


def run(output: Path | str, *, images: int = 1000) -> list[dict[str, Any]]:
    """Make the demo in the directory `output`: `datasets/`, `embeddings/` and `report.html`.

    Args:
        output: The directory; what an earlier run left there is used and completed.
        images: How many cars.

    Returns:
        `evaluation.evaluate`'s rows of every setting on every aspect, by cosine: DIOR under each condition and none,
        CLIP, the model in the box with random weights, and pixels.
    """
    from .embedding_job import embed
    from .evaluation import evaluate_settings
    from .methods import load
    from .methods.request import Request
    from .store import Store

    output = Path(output)
    make(output / "datasets" / "synthetic_cars", images=images)
    benchmark = datasets.get("synthetic_cars", output / "datasets")
    store = Store(output / "embeddings")

    conditions = (*(aspect.condition for aspect in benchmark.aspects), None)
    dior = embed(store, benchmark, load("builtin"), Request(conditions=conditions))
    conditioned = [each.setting for each in dior.settings]
    others = {}
    for name, embedder in (
        ("CLIP", load("builtin-clip")),
        ("DIOR, random weights", load("builtin", random_weights=True)),
        ("pixels", load("pixels")),
    ):
        (others[name],) = (each.setting for each in embed(store, benchmark, embedder, Request()).settings)

    rows = evaluate_settings(
        store, [*conditioned, *others.values()], all_aspects=True, datasets_dir=output / "datasets"
    )
    report.write(
        output / "report.html", rows=rows, store=store, benchmark=benchmark, conditioned=conditioned, others=others
    )
    return rows
