"""`cie evaluate` on many long vectors: time and peak memory, against pytorch-metric-learning's calculator.

    uv run --group benchmarks python benchmarks/evaluation_at_scale.py [--images 60000] [--dimensions 3584]
    uv run --group benchmarks python benchmarks/evaluation_at_scale.py --images 16000 --rival --rounds 3

Random vectors are written to a database; each contender, in a process of its own, reads and scores them: MAP@R,
Precision@1, R-Precision, and with `--clustering` AMI and NMI. The rival (`--rival`: choose a size at which it fits)
looks no further than the largest label either. Seconds are the median of the rounds, memory is the highest.
"""

import argparse
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import measuring
import numpy as np

from conditional_image_embeddings.collection.storage.store import Store
from conditional_image_embeddings.datasets import Aspect, Benchmark
from conditional_image_embeddings.evaluation import evaluate
from conditional_image_embeddings.methods.settings import Setting

SETTING = Setting(dataset="random", method="random", model="random")
BATCH = 4096
GIB = 2**30
FIGURES = {"map_at_r": "mean_average_precision_at_r", "precision_at_1": "precision_at_1", "r_precision": "r_precision"}
CLUSTERING = {"ami": "AMI", "nmi": "NMI"}


def image_id(row: int) -> str:
    return f"{row:08}.png"


def make(directory: Path, images: int, dimensions: int, labels: int) -> None:
    """Vectors scattered about their label's centre, so that there is something to find."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((labels, dimensions), dtype=np.float32)
    store = Store(directory)
    for start in range(0, images, BATCH):
        rows = range(start, min(start + BATCH, images))
        vectors = 8 * rng.standard_normal((len(rows), dimensions), dtype=np.float32)
        vectors += centres[[row % labels for row in rows]]
        store.add_vectors(SETTING, [image_id(row) for row in rows], vectors)


def ours(directory: Path, images: int, labels: int, metric: str, clustering: bool) -> dict[str, float]:
    names = {image_id(row): str(row % labels) for row in range(images)}
    benchmark = Benchmark(
        name="random",
        root=str(directory),
        images={name: directory / name for name in names},
        labels={Aspect("label"): names},
    )
    (row,) = evaluate(
        Store(directory), [SETTING], benchmark=benchmark, metric=metric, clustering=clustering, show_progress_bar=True
    )
    return {name: row[name] for name in FIGURES | (CLUSTERING if clustering else {})}


def theirs(directory: Path, images: int, labels: int, metric: str, clustering: bool) -> dict[str, float]:
    import torch
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

    _, vectors = Store(directory).read(SETTING)
    values = torch.from_numpy(vectors)
    if metric == "cosine":
        values = torch.nn.functional.normalize(values, dim=1)
    names = FIGURES | (CLUSTERING if clustering else {})
    calculator = AccuracyCalculator(include=tuple(names.values()), k="max_bin_count", device=torch.device("cpu"))
    found = calculator.get_accuracy(values, torch.arange(images) % labels)
    return {name: found[their_name] for name, their_name in names.items()}


def measure(name: str, answer: Any, *task: Any) -> None:
    """In a child process: seconds, peak resident bytes, figures."""
    import faiss  # noqa: F401
    from pytorch_metric_learning.utils import accuracy_calculator  # noqa: F401

    started = time.perf_counter()
    figures = CONTENDERS[name](*task)
    seconds = time.perf_counter() - started
    answer.put((seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, figures))


CONTENDERS = {"this package": ours, "pytorch-metric-learning": theirs}


def in_a_process(name: str, task: tuple[Any, ...]) -> Any:
    spawn = multiprocessing.get_context("spawn")
    answer = spawn.Queue()
    child = spawn.Process(target=measure, args=(name, answer, *task))
    child.start()
    child.join()
    if child.exitcode != 0:
        raise SystemExit(f"{name} ended with status {child.exitcode}")
    return answer.get()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=60_000)
    parser.add_argument("--dimensions", type=int, default=3584)
    parser.add_argument("--labels", type=int, default=600)
    parser.add_argument("--metric", choices=["cosine", "euclidean"], default="cosine")
    parser.add_argument("--clustering", action="store_true", help="AMI and NMI too.")
    parser.add_argument("--rival", action="store_true", help="Run pytorch-metric-learning too.")
    parser.add_argument("--rounds", type=int, default=1)
    arguments = parser.parse_args()
    found: dict[str, list[Any]] = {name: [] for name in list(CONTENDERS)[: 1 + arguments.rival]}
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        make(directory, arguments.images, arguments.dimensions, arguments.labels)
        task = (directory, arguments.images, arguments.labels, arguments.metric, arguments.clustering)
        for _ in range(arguments.rounds):
            for name, answers in found.items():
                answers.append(in_a_process(name, task))
    print(measuring.machine())
    size = 4 * arguments.images * arguments.dimensions / GIB
    print(f"{arguments.images} vectors of {arguments.dimensions} dimensions ({size:.2f} GiB), ", end="")
    print(f"{arguments.labels} labels, {arguments.metric}\n")
    seconds = {name: measuring.median([each[0] for each in answers]) for name, answers in found.items()}
    peaks = {name: max(each[1] for each in answers) for name, answers in found.items()}
    figures = {name: answers[0][2] for name, answers in found.items()}
    mine = next(iter(found))
    rows = [
        [
            name,
            f"{seconds[name]:.1f}",
            f"{seconds[name] / seconds[mine]:.2f}",
            f"{peaks[name] / GIB:.2f}",
            f"{peaks[name] / peaks[mine]:.2f}",
            *(f"{figure:.6f}" for figure in figures[name].values()),
        ]
        for name in found
    ]
    print(measuring.table(["contender", "seconds", "ratio", "peak RSS, GiB", "ratio", *figures[mine]], rows))


if __name__ == "__main__":
    main()
