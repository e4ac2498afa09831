"""Search in a large collection: latency, recall, index size, build time and memory, against faiss's HNSW.

    uv run --group benchmarks python benchmarks/search.py [--images 100000] [--dimensions 1024] [--queries 200]

Vectors of two conditions are written to a database; each contender, in a process of its own, builds its index, closes
it, and answers held-out queries one after another. They are drawn from a mixture of Gaussians in 32 directions whose
variances fall off, with a little noise in all the others, around a mean, at many lengths: as embeddings of images lie.
Recall@10 is against comparing all vectors. Memory is the highest of building and searching together, and of searching.
"""

import argparse
import multiprocessing
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import measuring
import numpy as np

from conditional_image_embeddings.collection.searching.hits import Choice
from conditional_image_embeddings.collection.searching.neighbours import nearest
from conditional_image_embeddings.collection.searching.ranking import rank
from conditional_image_embeddings.collection.searching.scoring import score_candidates
from conditional_image_embeddings.collection.storage.store import Store
from conditional_image_embeddings.methods.settings import Setting
from conditional_image_embeddings.vectors import unit

CONDITIONS = ("color", "model")
SETTINGS = {each: Setting(dataset="random", method="random", model="random", condition=each) for each in CONDITIONS}
BLOCK = 4096
QUERY_BLOCK = 10**6  # a number that no block of stored vectors has
LATENT, SPREAD, NOISE = 32, 0.5, 0.1
CLUSTER = 500  # images in each, on average
K = 10
ASKED = ("one", "two")
GIB = 2**30

Task = tuple[Path, argparse.Namespace]


class Vectors:
    """The vectors of one condition, block by block; the same for the same seed, in any order."""

    def __init__(self, seed: int, images: int, dimensions: int) -> None:
        rng = np.random.default_rng([seed, 0])
        variances = 1 / np.arange(1, LATENT + 1)
        self.scales = np.sqrt(variances / variances.sum()).astype(np.float32)
        self.basis = rng.standard_normal((LATENT, dimensions), dtype=np.float32) / np.sqrt(dimensions)
        self.centres = rng.standard_normal((max(1, images // CLUSTER), LATENT), dtype=np.float32) * self.scales
        self.mean = rng.standard_normal(dimensions, dtype=np.float32) / np.sqrt(dimensions)
        self.seed = seed

    def block(self, number: int, rows: int) -> np.ndarray:
        rng = np.random.default_rng([self.seed, 1, number])
        centres = self.centres[rng.integers(0, len(self.centres), rows)]
        latent = centres + SPREAD * self.scales * rng.standard_normal((rows, LATENT), dtype=np.float32)
        noise = NOISE / np.sqrt(len(self.mean)) * rng.standard_normal((rows, len(self.mean)), dtype=np.float32)
        values = latent @ self.basis + self.mean + noise
        return np.asarray(values * rng.uniform(20, 60, (rows, 1)), np.float32)


def of_condition(condition: str, arguments: argparse.Namespace) -> Vectors:
    return Vectors(arguments.seed + CONDITIONS.index(condition), arguments.images, arguments.dimensions)


def queries_of(condition: str, arguments: argparse.Namespace) -> np.ndarray:
    return unit(of_condition(condition, arguments).block(QUERY_BLOCK, arguments.queries))


def parts(condition: str, arguments: argparse.Namespace) -> Iterator[tuple[list[str], np.ndarray]]:
    vectors = of_condition(condition, arguments)
    for start in range(0, arguments.images, BLOCK):
        rows = range(start, min(start + BLOCK, arguments.images))
        yield [f"{row:08}.png" for row in rows], vectors.block(start // BLOCK, len(rows))


def true_neighbours(arguments: argparse.Namespace) -> dict[str, list[set[str]]]:
    """The K images nearest to each query: under the first condition, and by the sum of the cosines under both."""
    queries = [queries_of(each, arguments) for each in CONDITIONS]
    best = {name: (np.empty((arguments.queries, 0)), np.empty((arguments.queries, 0), "<U12")) for name in ASKED}
    for several in zip(*(parts(each, arguments) for each in CONDITIONS), strict=True):
        first, second = (query @ unit(vectors).T for query, (_, vectors) in zip(queries, several, strict=True))
        ids = np.broadcast_to(np.array(several[0][0]), first.shape)
        for name, scores in (("one", first), ("two", first + second)):
            similar, known = np.hstack([best[name][0], scores]), np.hstack([best[name][1], ids])
            order = np.argsort(-similar, axis=1)[:, :K]
            best[name] = np.take_along_axis(similar, order, 1), np.take_along_axis(known, order, 1)
    return {name: [set(row) for row in known.tolist()] for name, (_, known) in best.items()}


def answered(answer: Callable[[int], list[str]], truth: list[set[str]]) -> dict[str, float]:
    """Milliseconds and recall, after a few queries that warm up; queries are answered twice."""
    for number in range(min(10, len(truth))):
        answer(number)
    seconds, found = [], []
    for number in [*range(len(truth))] * 2:
        started = time.perf_counter()
        image_ids = answer(number)
        seconds.append(time.perf_counter() - started)
        found.append(len(truth[number] & set(image_ids)) / K)
    p50, p95 = 1e3 * np.percentile(seconds, [50, 95])
    return {"p50": p50, "p95": p95, "recall": float(np.mean(found))}


def build_ours(directory: Path, _: argparse.Namespace) -> dict[str, float]:
    store = Store(directory / "db")
    reports = [store.build_index(SETTINGS[each]) for each in CONDITIONS]
    return {"seconds": reports[0].seconds, "size": float(reports[0].size_bytes or 0)}


def search_ours(directory: Path, arguments: argparse.Namespace, truth: dict[str, list[set[str]]]) -> dict[str, float]:
    store = Store(directory / "db", create=False)
    queries = queries_of(CONDITIONS[0], arguments)

    def answer(number: int) -> list[str]:
        with store.reading():
            return nearest(store, SETTINGS[CONDITIONS[0]], queries[number], K)[0]

    return answered(answer, truth["one"])


def search_two(directory: Path, arguments: argparse.Namespace, truth: dict[str, list[set[str]]]) -> dict[str, float]:
    """The images that score highest under both, as `nearest` under one."""
    store = Store(directory / "db", create=False)
    queries = [queries_of(each, arguments) for each in CONDITIONS]

    def answer(number: int) -> list[str]:
        vectors = [each[number] for each in queries]
        with store.reading():
            scored = score_candidates(store, list(SETTINGS.values()), vectors, np.ones(2), Choice(k=K))
        best = np.argsort(-scored.cosines.sum(axis=1))[:K] if scored else []
        return scored.image_ids.take(best).to_pylist() if scored else []

    return answered(answer, truth["two"])


def hits_of_two(directory: Path, arguments: argparse.Namespace, truth: dict[str, list[set[str]]]) -> dict[str, float]:
    """Everything that `Collection.search` does once it has the query's vectors: words, paths and percentiles too."""
    store = Store(directory / "db", create=False)
    queries = [queries_of(each, arguments) for each in CONDITIONS]
    weights = dict.fromkeys(SETTINGS, 1.0)

    def answer(number: int) -> list[str]:
        vectors = [each[number] for each in queries]
        with store.reading():
            return [hit.image_id for hit in rank(store, SETTINGS, weights, vectors, Choice(k=K)).hits()]

    return answered(answer, truth["two"])


def build_faiss(directory: Path, arguments: argparse.Namespace) -> dict[str, float]:
    import faiss

    index = faiss.IndexHNSWFlat(arguments.dimensions, 32, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = 100
    seconds = 0.0
    for _, vectors in parts(CONDITIONS[0], arguments):
        started = time.perf_counter()
        index.add(unit(vectors))
        seconds += time.perf_counter() - started
    faiss.write_index(index, str(directory / "hnsw"))
    return {"seconds": seconds, "size": float((directory / "hnsw").stat().st_size)}


def search_faiss(directory: Path, arguments: argparse.Namespace, truth: dict[str, list[set[str]]]) -> dict[str, float]:
    """With the smallest `efSearch` whose recall reaches .95."""
    import faiss

    index = faiss.read_index(str(directory / "hnsw"))
    queries = queries_of(CONDITIONS[0], arguments)

    def answer(number: int) -> list[str]:
        return [f"{row:08}.png" for row in index.search(queries[number : number + 1], K)[1][0]]

    found: dict[str, float] = {}
    for breadth in (16, 32, 64, 128, 256):
        index.hnsw.efSearch = breadth
        found = {**answered(answer, truth["one"]), "efSearch": breadth}
        if found["recall"] >= 0.95:
            break
    return found


CONTENDERS: dict[str, tuple[Callable[..., Any] | None, Callable[..., Any]]] = {
    "one condition": (build_ours, search_ours),
    "two conditions": (None, search_two),
    "two conditions, whole hits": (None, hits_of_two),
    "faiss HNSW, one condition": (build_faiss, search_faiss),
}


def measure(answer: Any, task: Callable[..., Any], *arguments: Any) -> None:
    """In a child process: what it returns, and peak resident bytes."""
    result = task(*arguments)
    answer.put((result, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))


def in_a_process(task: Callable[..., Any], *arguments: Any) -> Any:
    spawn = multiprocessing.get_context("spawn")
    answer = spawn.Queue()
    child = spawn.Process(target=measure, args=(answer, task, *arguments))
    child.start()
    child.join()
    if child.exitcode != 0:
        raise SystemExit(f"{task.__name__} ended with status {child.exitcode}")
    return answer.get()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--dimensions", type=int, default=1024)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--directory", type=Path, help="Where the database is made; by default a temporary folder.")
    parser.add_argument("--no-rival", action="store_true", help="Leave faiss out: its index takes long to build.")
    arguments = parser.parse_args()
    directory = Path(tempfile.mkdtemp(dir=arguments.directory))
    rows = []
    try:
        for condition, setting in SETTINGS.items():
            Store(directory / "db").replace_vectors(setting, parts(condition, arguments))
        truth = true_neighbours(arguments)
        for name, (build, answer) in list(CONTENDERS.items())[: 3 if arguments.no_rival else 4]:
            built, peak = in_a_process(build, directory, arguments) if build else ({}, 0)
            found, searching = in_a_process(answer, directory, arguments, truth)
            rows.append(
                [
                    name,
                    *(f"{found[each]:.1f}" for each in ("p50", "p95")),
                    f"{found['recall']:.3f}",
                    *([f"{built['size'] / GIB:.2f}", f"{built['seconds']:.0f}"] if built else ["", ""]),
                    f"{peak / GIB:.2f}" if built else "",
                    f"{searching / GIB:.2f}",
                ]
            )
            print(name, built, found, flush=True)
    finally:
        shutil.rmtree(directory)
    print(measuring.machine())
    size = 4 * arguments.images * arguments.dimensions / GIB
    print(
        f"{arguments.images} vectors of {arguments.dimensions} dimensions under each of 2 conditions ({size:.2f} GiB)\n"
    )
    columns = ["p50, ms", "p95, ms", "recall@10", "index, GiB", "build, s", "build, peak GiB", "search, peak GiB"]
    print(measuring.table(["contender", *columns], rows))


if __name__ == "__main__":
    main()
