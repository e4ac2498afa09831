"""What a job costs as it grows: on a cluster instead of in one process, and with images, conditions and dimensions.

    uv run --group benchmarks python benchmarks/scale.py overhead [--model small] [--images 5000] [--rounds 2]
    uv run --group benchmarks python benchmarks/scale.py growth
    uv run --group benchmarks python benchmarks/scale.py memory [--images 20000]

`overhead`: `cie embed` in a process of its own against the same with `--ray local --actors 1`, in turn, every other
round backwards; `small` is the random-weight Qwen2.5-VL of 70 million parameters. Starting Ray and its worker is part
of a run; it is told by itself too, for it does not grow.
`growth`, in seconds of processor, which other work on the machine changes less: 1, 4 and 16 conditions of `builtin` for
three numbers of images; committing vectors, building an index and the bytes on disk for three numbers of images and of
dimensions.
`memory`: the driver's, while workers give vectors faster than it commits them.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import measuring
import numpy as np
from PIL import Image

import conditional_image_embeddings as cie
from conditional_image_embeddings.collection.job.embedding_job import run_job
from conditional_image_embeddings.collection.storage.store import Store
from conditional_image_embeddings.datasets.car_renderer import render, sample_scene
from conditional_image_embeddings.inputs.sources import find
from conditional_image_embeddings.methods.request import Request
from conditional_image_embeddings.methods.settings import Setting

CONDITIONS = tuple(f"aspect {number}" for number in range(16))
BLOCK = 4096
RENDERED = 500


def overhead(images: int, rounds: int, model: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source = photos(Path(folder) / "all", images)
        few = photos(Path(folder) / "few", 1)
        if model == "small":
            import random_qwen

            model = str(random_qwen.save("small", Path(folder) / "model"))
        seconds: dict[tuple[str, int], list[float]] = {}
        for turn in range(rounds):
            for name, more in [("one process", []), ("--ray", ["--ray", "local", "--actors", "1"])][
                :: -1 if turn % 2 else 1
            ]:
                for place, number in ((few, 1), (source, images)):
                    db = Path(folder) / f"{name}-{turn}-{number}"
                    line = ["embed", str(place), "-m", model, "-e", str(db), *more]
                    if model != "builtin-clip":
                        line += ["-c", "car color", "-c", "car model"]
                    started = time.perf_counter()
                    subprocess.run(  # noqa: S603
                        [sys.executable, "-m", "conditional_image_embeddings", *line], check=True, capture_output=True
                    )
                    seconds.setdefault((name, number), []).append(time.perf_counter() - started)
        print(measuring.machine())
        rows = []
        for name in ("one process", "--ray"):
            whole, start = (statistics.median(seconds[name, number]) for number in (images, 1))
            rows.append([name, f"{whole:.1f}", f"{start:.1f}", f"{(images - 1) / (whole - start):.1f}"])
        print(measuring.table(["", f"{images} images, s", "1 image, s", "images/s between"], rows))
        ratio = measuring.ratio(seconds["--ray", images], seconds["one process", images])
        print(f"--ray took {ratio:.3f} times as long, start included")


def growth() -> None:
    print(measuring.machine())
    embedder = cie.load("builtin", device="cpu")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for images in (100, 200, 400):
            (source,) = find([photos(Path(folder) / str(images), images)])
            for conditions in (1, 4, 16):
                started = time.process_time()
                request = Request(conditions=CONDITIONS[:conditions], top_words=5)
                run_job(
                    Store(Path(folder) / f"{images}-{conditions}"), source, embedder, request, show_progress_bar=False
                )
                taken = time.process_time() - started
                rows.append([str(images), str(conditions), f"{taken:.1f}", f"{1e3 * taken / images:.1f}"])
    print(measuring.table(["images", "conditions", "core-s", "core-ms per image"], rows))
    rows = []
    for images, dimensions in ((20_000, 1024), (60_000, 1024), (180_000, 1024), (60_000, 256), (60_000, 4096)):
        with tempfile.TemporaryDirectory() as folder:
            store, setting = Store(folder), Setting(dataset="random", method="random", model="random")
            started = time.process_time()
            for ids, vectors in blocks(images, dimensions):
                store.add_vectors(setting, ids, vectors)
            stored = time.process_time() - started
            size = bytes_below(Path(folder))
            started = time.process_time()
            built = store.build_index(setting)
            indexed = time.process_time() - started
            rows.append(
                [
                    f"{images:,}", str(dimensions), f"{1e6 * stored / images:.0f}", f"{size / images:,.0f}",
                    f"{(built.size_bytes or 0) / images:,.0f}", f"{1e6 * indexed / images:.0f}",
                ]
            )  # fmt: skip
    header = ["images", "dimensions", "commit, core-s per million", "bytes per image", "index, bytes per image"]
    print(measuring.table([*header, "index, core-s per million"], rows))


def memory(images: int) -> None:
    """With vectors of 48 KiB and a second's pause in each commit: what the driver has to itself after each."""
    import psutil

    from conditional_image_embeddings.collection.job import pending_rows
    from conditional_image_embeddings.collection.job.distributed.ray_embedder import RayEmbedder

    commit, held = pending_rows.PendingRows.commit, []

    def slowly(self: pending_rows.PendingRows) -> None:
        time.sleep(1)
        commit(self)
        found = psutil.Process().memory_info()
        held.append((found.rss - found.shared) / 2**20)  # without what it has mapped of Ray's object store

    pending_rows.PendingRows.commit = slowly  # type: ignore[method-assign]
    request = Request()
    embedder = RayEmbedder("pixels", {"method": "pixels", "size": 64}, request, address="local", workers=2)
    with tempfile.TemporaryDirectory() as folder:
        (source,) = find([photos(Path(folder) / "all", images)])
        run_job(Store(Path(folder) / "db"), source, embedder, request)
    shown = " ".join(f"{each:.0f}" for each in held)
    print(f"{images} images, {48 * images / 2**10:.0f} MiB of vectors; the driver's own MiB after each commit: {shown}")


def photos(folder: Path, images: int) -> Path:
    """Rendered cars; beyond `RENDERED` the same files again by other names."""
    folder.mkdir(parents=True)
    for number in range(images):
        file = folder / f"{number:06}.png"
        if number < RENDERED:
            Image.fromarray(render(sample_scene(np.random.default_rng([0, number])))).save(file)
        else:
            file.hardlink_to(folder / f"{number % RENDERED:06}.png")
    return folder


def blocks(images: int, dimensions: int) -> Iterator[tuple[list[str], np.ndarray]]:
    generator = np.random.default_rng(0)
    for start in range(0, images, BLOCK):
        rows = range(start, min(start + BLOCK, images))
        yield [f"{row:09}.png" for row in rows], generator.standard_normal((len(rows), dimensions), dtype=np.float32)


def bytes_below(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["overhead", "growth", "memory"])
    parser.add_argument("--images", type=int)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--model", choices=["builtin", "builtin-clip", "small"], default="builtin-clip")
    arguments = parser.parse_args()
    if arguments.what == "overhead":
        overhead(arguments.images or 5000, arguments.rounds, arguments.model)
    elif arguments.what == "growth":
        growth()
    else:
        memory(arguments.images or 20_000)


if __name__ == "__main__":
    main()
