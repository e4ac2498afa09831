"""The engine against its rivals, end to end: image files in, vectors out, for K conditions an image.

    uv run --group benchmarks python benchmarks/engine_vs_rivals.py [--images 4] [--rounds 5] [--reference DIR]

Rivals: (a) the reference's procedure, (b) its cache mode, (c) sentence-transformers, (d) separate passes of the base
model. All run the same random-weight Qwen2.5-VL of 70 million parameters on the same 448-pixel images, in turn.

With `--instructed after` or `--instructed system` the method is `instruct`, with the condition behind the image or in a
system turn before it, against (c) and (d).
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import measuring
import numpy as np
import random_qwen
import rivals
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

import conditional_image_embeddings as cie
from conditional_image_embeddings.inputs.conditions import prompt

OURS = "this engine"
INSTRUCTION = "Represent the image regarding {c}."


def write_images(folder: Path, count: int, side: int) -> list[Path]:
    """Smooth random pictures as JPEG files."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    files = [folder / f"{index}.jpg" for index in range(count)]
    for file in files:
        small = Image.fromarray(random.integers(0, 255, (16, 16, 3), dtype=np.uint8))
        small.resize((side, side), Image.Resampling.BICUBIC).save(file, quality=92)
    return files


def contenders(directory: Path, reference: Path | None) -> dict[str, Callable[[list[Path], list[str]], Any]]:
    """Each by its name in the table: a function of files and conditions."""
    model = AutoModelForImageTextToText.from_pretrained(directory, dtype=torch.float32).eval()
    processor = AutoProcessor.from_pretrained(directory)
    procedure = rivals.Reference(model, processor)
    shared = cie.load(str(directory), device="cpu")
    found: dict[str, Callable[[list[Path], list[str]], Any]] = {
        "(a) reference's procedure": lambda files, names: procedure.full_passes(files, [prompt(n) for n in names]),
        "(b) its cache mode": lambda files, names: procedure.cache_mode(files, [prompt(n) for n in names]),
        "(c) sentence-transformers": rivals.sentence_transformers(directory, prompt, "cpu", torch.float32),
        "(d) separate base-model passes": lambda files, names: procedure.base_model(files, [prompt(n) for n in names]),
        OURS: lambda files, names: shared.encode(files, names, show_progress_bar=False),
    }
    if reference:
        found["(a) its real code"] = rivals.reference_code(reference, model, processor, use_cache=False)
    return found


def instructed(directory: Path, place: str) -> dict[str, Callable[[list[Path], list[str]], Any]]:
    """The same for the method `instruct`, with the condition in this place."""
    model = AutoModelForImageTextToText.from_pretrained(directory, dtype=torch.float32).eval()
    procedure = rivals.Reference(model, AutoProcessor.from_pretrained(directory), place)
    record = {"place": place, "with_condition": INSTRUCTION, "normalized": False}
    shared = cie.load(str(directory), method="instruct", instruction=record, device="cpu")

    def told(condition: str) -> str:
        return INSTRUCTION.replace("{c}", condition)

    return {
        "(c) sentence-transformers": rivals.sentence_transformers(directory, told, "cpu", torch.float32, place),
        "(d) separate base-model passes": lambda files, names: procedure.base_model(files, [told(n) for n in names]),
        OURS: lambda files, names: shared.encode(files, names, show_progress_bar=False),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=4, help="images a measurement")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--side", type=int, default=448, help="pixels")
    parser.add_argument("--conditions", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--shape", choices=list(random_qwen.SHAPES), default="small")
    parser.add_argument("--instructed", choices=rivals.PLACES, help="the method instruct, the condition in this place")
    parser.add_argument("--reference", type=Path, help="a checkout of the reference implementation")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--plot", type=Path, help="draw the ratio against K there")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        files = write_images(Path(folder) / "images", arguments.images, arguments.side)
        directory = random_qwen.save(arguments.shape, Path(folder) / "model")
        place = arguments.instructed
        runs = instructed(directory, place) if place else contenders(directory, arguments.reference)
        print(measuring.machine())
        print(f"{arguments.images} images of {arguments.side} px a measurement, {arguments.rounds} rounds in turn\n")
        rows, figures = [], []
        for k in arguments.conditions:
            names = list(random_qwen.CONDITIONS[:k])
            difference = _difference(runs, files[:1], names)
            seconds = measuring.interleaved(
                {name: lambda run=run, names=names: run(files, names) for name, run in runs.items()}, arguments.rounds
            )
            for name, values in seconds.items():
                milliseconds = 1000 * measuring.median(values) / len(files)
                ratio = measuring.ratio(values, seconds[OURS])
                work = measuring.gflop(lambda run=runs[name], names=names: run(files[:1], names))
                rows.append([str(k), name, f"{milliseconds:.0f}", f"{ratio:.2f}", f"{work:.1f}", difference[name]])
                figures.append({"k": k, "rival": name, "ms_per_image": milliseconds, "ratio": ratio, "gflop": work})
        header = ["K", "rival", "ms per image", "its time / ours", "GFLOP per image", "max. difference"]
        print(measuring.table(header, rows))
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": measuring.machine(), "figures": figures}, indent=1))
    if arguments.plot:
        plot(figures, arguments.plot)


def _difference(runs: dict[str, Any], files: list[Path], names: list[str]) -> dict[str, str]:
    """How far each rival's vectors lie from the engine's: the ones that are right agree."""
    with torch.random.fork_rng():
        ours = torch.as_tensor(runs[OURS](files, names))
        return {name: f"{(torch.as_tensor(run(files, names)) - ours).abs().max():.0e}" for name, run in runs.items()}


def plot(figures: list[dict[str, Any]], file: Path) -> None:
    """The ratio of each rival's time to ours against the number of conditions."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 3.6), dpi=150)
    for name in dict.fromkeys(row["rival"] for row in figures):
        points = [(row["k"], row["ratio"]) for row in figures if row["rival"] == name]
        axes.plot(*zip(*points, strict=True), marker="o", label=name, linewidth=2 if name == OURS else 1.4)
    ticks = sorted({row["k"] for row in figures})
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set_xticks(ticks, [str(k) for k in ticks])
    axes.yaxis.set_major_formatter(mpl.ticker.FormatStrFormatter("%g"))
    axes.set_xlabel("conditions an image")
    axes.set_ylabel("time relative to this engine")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    figure.tight_layout()
    figure.savefig(file)


if __name__ == "__main__":
    main()
