"""`cie cluster` and `cie duplicates` on many vectors: time and peak memory, duplicates against faiss's range search.

    uv run --group benchmarks python benchmarks/groups.py [--images 100000] [--dimensions 1024] [--only duplicates]

Vectors in 500 bundles, a fiftieth of them near-copies of others, are written to a database with a row per image; then a
second database in which all images are alike. Each contender, in a process of its own, reads and groups them once. The
rival is what one would write: `IndexFlatIP.range_search` by blocks of queries, its pairs joined by scipy's connected
components; where all are alike, its pairs do not fit in memory, and it is left out. Beside the time on the clock stand
the seconds of all processors together, which other work on the machine changes less.
"""

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import measuring
import numpy as np
from numpy.typing import NDArray

from conditional_image_embeddings.collection.grouping.clusters import clusters
from conditional_image_embeddings.collection.grouping.duplicates import duplicates
from conditional_image_embeddings.collection.storage.store import Store
from conditional_image_embeddings.collection.storage.tables import FileStat, ImageRecord
from conditional_image_embeddings.methods.settings import Setting
from conditional_image_embeddings.vectors import unit

SETTING = Setting(dataset="random", source="/random", method="random", model="random")
BUNDLES, BATCH, QUERIES = 500, 4096, 2048
ALIKE = 0.95
GIB = 2**30


def parts(images: int, dimensions: int, *, alike: bool) -> Iterator[NDArray[np.float32]]:
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((1 if alike else BUNDLES, dimensions), dtype=np.float32)
    for start in range(0, images, BATCH):
        rows = min(BATCH, images - start)
        vectors = centres[rng.integers(len(centres), size=rows)]
        vectors = vectors + (0.01 if alike else 1) * rng.standard_normal((rows, dimensions), dtype=np.float32)
        copies = rows // 50
        vectors[:copies] = vectors[-copies:] + 0.05 * rng.standard_normal((copies, dimensions), dtype=np.float32)
        yield vectors


def make(directory: Path, vectors: Iterator[NDArray[np.float32]]) -> None:
    store, start = Store(directory), 0
    for part in vectors:
        image_ids = [f"{row:08}.png" for row in range(start, start + len(part))]
        records = [
            ImageRecord(
                image_id=each, width=640, height=480, content_hash=each, place=FileStat(each, 1, 1), thumbnail=b""
            )
            for each in image_ids
        ]
        store.add_images(SETTING.dataset, SETTING.source, records)
        store.add_vectors(SETTING, image_ids, part)
        start += len(part)
    store.compact([SETTING])


def cluster(directory: Path, n: int | None) -> str:
    return f"{len(clusters(Store(directory), SETTING, n))} groups"


def ours(directory: Path) -> str:
    rows = duplicates(Store(directory), {None: SETTING}, similarity=ALIKE, show_progress_bar=True)
    return f"{len(rows)} images in {len({row.group for row in rows})} groups"


def faiss_range_search(directory: Path) -> str:
    import faiss
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    vectors = unit(Store(directory).read(SETTING)[1])
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    left, right = [], []
    for start in range(0, len(vectors), QUERIES):
        ends, _, found = index.range_search(vectors[start : start + QUERIES], ALIKE)
        left.append(start + np.repeat(np.arange(len(ends) - 1), np.diff(ends.astype(np.int64))))
        right.append(found)
    pairs = np.concatenate(left), np.concatenate(right)
    _, labels = connected_components(coo_matrix((np.ones(len(pairs[0])), pairs), shape=(len(vectors),) * 2))
    sizes = np.bincount(labels)
    return f"{sizes[sizes > 1].sum()} images in {(sizes > 1).sum()} groups"


def measured(run: Callable[[], str], queue: Any) -> None:
    started, before = time.perf_counter(), time.process_time()
    found = run()
    seconds, used = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
    queue.put((found, seconds, time.process_time() - before, used.ru_maxrss * 1024 / GIB))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--dimensions", type=int, default=1024)
    parser.add_argument("--only", default="", help="contenders whose names hold this")
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        bundles, alike = Path(folder) / "bundles", Path(folder) / "alike"
        make(bundles, parts(options.images, options.dimensions, alike=False))
        make(alike, parts(options.images, options.dimensions, alike=True))
        contenders: dict[str, Callable[[], str]] = {
            "cluster, n chosen": partial(cluster, bundles, None),
            "cluster, n = 30": partial(cluster, bundles, 30),
            "cluster, n = 500": partial(cluster, bundles, BUNDLES),
            "duplicates": partial(ours, bundles),
            "duplicates, faiss range search": partial(faiss_range_search, bundles),
            "duplicates, all alike": partial(ours, alike),
        }
        rows = []
        for name, run in contenders.items():
            if options.only not in name:
                continue
            queue = context.Queue()
            process = context.Process(target=measured, args=(run, queue))
            process.start()
            found, seconds, processors, peak = queue.get()
            process.join()
            rows.append([name, f"{seconds:.0f} s", f"{processors:.0f} s", f"{peak:.2f} GiB", found])
            print(*rows[-1], sep="   ", flush=True)
    print(f"\n{options.images:,} vectors of {options.dimensions} numbers, {measuring.machine()}\n")
    print(measuring.table(["", "time", "processors' time", "peak memory", "found"], rows))


if __name__ == "__main__":
    main()
