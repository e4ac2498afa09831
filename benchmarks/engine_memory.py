"""Peak memory over the model: this engine against the reference's procedure, eight images a batch, K conditions.

    uv run --group benchmarks python benchmarks/engine_memory.py [--batch 8] [--conditions 4]

Each contender runs in a process of its own; the figure is its peak resident memory (on a GPU: the allocator's peak)
less what the process held with the model loaded and one tiny image embedded.
"""

import argparse
import multiprocessing
import resource
import tempfile
from pathlib import Path
from typing import Any

import measuring
import random_qwen
import torch
from engine_vs_rivals import write_images
from transformers import AutoModelForImageTextToText, AutoProcessor

import conditional_image_embeddings as cie
from conditional_image_embeddings.inputs.conditions import prompt

MIB = 2**20
CONTENDERS = ("reference's procedure, batched", "separate base-model passes", "this engine")


def held() -> int:
    """Peak bytes so far: the allocator's on a GPU, the process's on a CPU."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(name: str, directory: Path, files: list[Path], warm: list[Path], k: int, answer: Any) -> None:
    """In a child process: peak over the model, in MiB."""
    torch.set_num_threads(2)
    conditions = list(random_qwen.CONDITIONS[:k])
    if name == CONTENDERS[0]:
        run = _reference_batched(directory, conditions)
    else:
        embedder = cie.load(str(directory), share=name == CONTENDERS[2])
        request_all = len(files) * 10**6  # the whole batch at once, whatever the budget would say
        embedder.budget = request_all

        def run(images: list[Path]) -> None:
            embedder.encode(images, conditions, batch_size=len(images), show_progress_bar=False)

    run(warm)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    before = held()
    run(files)
    answer.put((held() - before) / MIB)


def _reference_batched(directory: Path, conditions: list[str]) -> Any:
    """What the reference's batch mode computes: per condition, logits and every layer's hidden states of all rows."""
    from PIL import Image

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = AutoModelForImageTextToText.from_pretrained(directory, dtype=torch.float32).eval().to(device)
    processor = AutoProcessor.from_pretrained(directory)

    @torch.no_grad()
    def run(images: list[Path]) -> None:
        opened = [[Image.open(file).convert("RGB")] for file in images]
        for condition in conditions:
            chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": prompt(condition)}]}]
            text = processor.apply_chat_template(chat, add_generation_prompt=True)
            inputs = processor(text=[text] * len(opened), images=opened, return_tensors="pt", padding=True).to(device)
            model(**inputs, output_hidden_states=True)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--conditions", type=int, default=4)
    parser.add_argument("--side", type=int, default=448)
    parser.add_argument("--shape", choices=list(random_qwen.SHAPES), default="small")
    arguments = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        directory = random_qwen.save(arguments.shape, Path(folder) / "model")
        files = write_images(Path(folder) / "images", arguments.batch, arguments.side)
        warm = write_images(Path(folder) / "warm", 1, 56)
        peaks = {}
        for name in CONTENDERS:
            answer = spawn.Queue()
            child = spawn.Process(target=measure, args=(name, directory, files, warm, arguments.conditions, answer))
            child.start()
            peaks[name] = answer.get()
            child.join()
    print(measuring.machine())
    print(f"{arguments.batch} images of {arguments.side} px, {arguments.conditions} conditions\n")
    ours = peaks[CONTENDERS[2]]
    rows = [[name, f"{peak:.0f}", f"{peak / ours:.2f}"] for name, peak in peaks.items()]
    print(measuring.table(["contender", "peak over the model, MiB", "relative to this engine"], rows))


if __name__ == "__main__":
    main()
