"""The engine at the size of the real models: Qwen2.5-VL's published shapes, random weights made on the device.

    uv run --group benchmarks python benchmarks/engine_gpu.py [--shapes 3b 7b] [--conditions 1 4 8] [--batches 1 4 16]
        [--variants default sdpa flex_attention flash_attention_2 compile]

Prints images and embeddings a second from the file to the vector, with decoding beside the model; how many times as
many these are as those of the reference's procedure (a) and its cache mode (b); the model's share of the bf16 matrix
rate measured in the same run, without decoding; and peak memory. A variant is one of transformers' attention
implementations, or "compile": the default with compiled layers; one that is not installed is left out, and said. Needs
torch with torchvision, transformers (5.17 or later), Pillow, threadpoolctl, and this package on the path
(PYTHONPATH=src); no network.
`--shapes tiny --device cpu` runs it small on a CPU.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import measuring
import random_qwen
import rivals
import torch
from engine_vs_rivals import write_images

from conditional_image_embeddings.errors import ModelError
from conditional_image_embeddings.inputs.conditions import prompt
from conditional_image_embeddings.inputs.images import read_image
from conditional_image_embeddings.methods.dior import DIOR
from conditional_image_embeddings.methods.request import Request


@dataclass(kw_only=True)
class InMemory:
    """A checkpoint that is made rather than loaded."""

    shape: str
    device: torch.device
    dtype: torch.dtype
    name: str = "random"
    revision: str | None = None
    random_weights: bool = True
    setting_extra: dict[str, Any] = field(default_factory=dict)

    @property
    def config(self) -> Any:
        return random_qwen.config(random_qwen.SHAPES[self.shape], random_qwen.tokenizer())

    def load_model(self, _: Any, **kwargs: Any) -> Any:
        return random_qwen.model(self.shape, device=str(self.device), dtype=self.dtype, **kwargs)

    def load_processor(self) -> Any:
        return random_qwen.processor()


def synchronised(run: Callable[[], Any], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """The best rate of a large square product here, in TFLOP/s."""
    side = 8192 if device.type == "cuda" else 1024
    a = torch.randn(side, side, device=device, dtype=dtype)
    seconds = min(synchronised(lambda: a @ a, device) for _ in range(20))
    return 2 * side**3 / seconds / 1e12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", nargs="+", choices=list(random_qwen.SHAPES), default=["3b", "7b"])
    parser.add_argument("--conditions", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--variants", nargs="+", default=["default"], metavar="VARIANT")
    parser.add_argument("--side", type=int, default=700)
    parser.add_argument("--images", type=int, default=32, help="images a measurement, or a batch if that is more")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    rate = matrix_rate(device, dtype)
    print(measuring.machine())
    print(f"matrix rate of this machine, {dtype}: {rate:.1f} TFLOP/s; images of {arguments.side} px\n")
    rows: list[dict[str, Any]] = []
    for shape, variant in product(arguments.shapes, arguments.variants):
        try:
            rows += measure(shape, variant, arguments, device, dtype, rate)
        except (ImportError, ValueError, ModelError) as error:
            print(f"{shape}, {variant}: left out: {error}")
        if device.type == "cuda":
            torch.cuda.empty_cache()
    if not rows:
        parser.exit(1, "nothing could be measured\n")
    print(measuring.table(list(rows[0]), [[_cell(value) for value in row.values()] for row in rows]))
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": measuring.machine(), "tflops": rate, "rows": rows}, indent=1))


def measure(
    shape: str, variant: str, arguments: argparse.Namespace, device: torch.device, dtype: torch.dtype, rate: float
) -> list[dict[str, Any]]:
    """All K and batches of one shape."""
    checkpoint: Any = InMemory(shape=shape, device=device, dtype=dtype)
    attention = None if variant in {"default", "compile"} else variant
    embedder = DIOR(checkpoint, attn_implementation=attention, compile=variant == "compile")
    procedure = rivals.Reference(embedder.lvlm.model, embedder.lvlm.processor)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        file = write_images(Path(folder), 1, arguments.side)[0]
        for k in arguments.conditions:
            names = list(random_qwen.CONDITIONS[:k])
            prompts = [prompt(name) for name in names]
            slow = {}
            for mode, procedure_of in (("a", procedure.full_passes), ("b", procedure.cache_mode)):
                call = partial(procedure_of, [file], prompts)
                slow[mode] = measuring.median([synchronised(call, device) for _ in range(1 + arguments.rounds)][1:])
            request = Request(conditions=tuple(names))
            prepared = embedder.prepare(read_image(file), request)
            work = measuring.gflop(partial(embedder.forward_batch, [prepared], request)) / 1e3
            for batch in arguments.batches:
                if device.type == "cuda":
                    torch.cuda.reset_peak_memory_stats()
                embedder.budget = batch * embedder.cost(prepared)
                files = [file] * max(batch, arguments.images)
                model = partial(embedder.forward_batch, [prepared] * batch, request)
                whole = partial(embedder.encode, files, names, batch_size=batch, show_progress_bar=False)
                try:
                    inside, wall = (
                        measuring.median([synchronised(run, device) for _ in range(1 + arguments.rounds)][1:])
                        for run in (model, whole)
                    )
                except torch.OutOfMemoryError:
                    print(f"{shape}, K = {k}: a batch of {batch} does not fit")
                    break
                if embedder.budget < batch * embedder.cost(prepared):  # halved, where memory was too small
                    print(f"{shape}, K = {k}: a batch of {batch} does not fit")
                    break
                images = len(files) / wall
                rows.append({
                    "shape": shape, "variant": variant, "strategy": embedder.plan.strategy, "K": k, "batch": batch,
                    "images/s": images, "embeddings/s": images * k,
                    "times (a)": slow["a"] * images, "times (b)": slow["b"] * images,
                    "share of matrix rate": work * batch / inside / rate,
                    "peak GiB": torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else float("nan"),
                })  # fmt: skip
    return rows


def _cell(value: Any) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
