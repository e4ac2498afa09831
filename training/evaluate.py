"""The tables of the model cards, computed from the shipped half-precision files loaded as float32.

    B=src/conditional_image_embeddings/models/builtin
    uv run python training/evaluate.py --lvlm $B/lvlm --clip $B/clip

It renders the benchmark's 1,000 test frames, which include the pairs of model and colour that training left out.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from prompts import HELD_OUT, PAPER_PROMPTS, PARAPHRASES
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from render_images import ASPECTS, labels
from rendered_cars import pixels
from train_clip import embedding
from transformers import AutoModelForImageTextToText, AutoProcessor, CLIPModel, CLIPProcessor

from conditional_image_embeddings.datasets.car_renderer import is_held_out, render, sample_scene
from conditional_image_embeddings.datasets.synthetic_cars import SEED

NAMES = list(ASPECTS)
CLIP_TEXTS = {
    "car model": "a {}",
    "car color": "a {} car",
    "background color": "a car on a {} background",
    "viewpoint": "a car, {} view",
    "paint pattern": "a {} car",
}
CALCULATOR = AccuracyCalculator(include=("mean_average_precision_at_r", "precision_at_1"), device=torch.device("cpu"))


def scores(vectors: torch.Tensor, targets: np.ndarray) -> str:
    """MAP@R / Precision@1 of every aspect, in percent, as cells of a table; by cosine."""
    unit, cells = F.normalize(vectors.float(), dim=-1).numpy(), []
    for k in range(len(NAMES)):
        result = CALCULATOR.get_accuracy(unit, targets[:, k])
        cells.append(f"{100 * result['mean_average_precision_at_r']:.1f} / {100 * result['precision_at_1']:.1f}")
    return " | ".join(cells)


class Answers:
    """DIOR's vector and the model's word for every image under a prompt."""

    def __init__(self, path: Path, images: list[Image.Image], random_weights: bool = False) -> None:
        self.processor = AutoProcessor.from_pretrained(path, local_files_only=True)
        self.model = AutoModelForImageTextToText.from_pretrained(
            path, dtype=torch.float32, local_files_only=True
        ).eval()
        if random_weights:
            torch.manual_seed(0)
            self.model = type(self.model)(self.model.config).eval()
        self.images = images

    @torch.inference_mode()
    def __call__(self, text: str, chat: bool = True, batch: int = 50) -> tuple[torch.Tensor, list[str]]:
        message = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}]
        prompt = self.processor.apply_chat_template(message, add_generation_prompt=True) if chat else f"<image>{text}"
        vectors, tokens = [], []
        for start in range(0, len(self.images), batch):
            images = self.images[start : start + batch]
            inputs = self.processor(
                text=[prompt] * len(images), images=[[image] for image in images], padding=True, return_tensors="pt"
            )
            hidden = self.model.model(**inputs, use_cache=False).last_hidden_state[:, -1]
            vectors.append(hidden)
            tokens += self.model.lm_head(hidden).argmax(-1).tolist()
        return torch.cat(vectors), [self.processor.tokenizer.decode([token]).strip() for token in tokens]


def lvlm_tables(path: Path, images: list[Image.Image], targets: np.ndarray, unseen: np.ndarray) -> None:
    answers = Answers(path, images)
    print("| prompt | " + " | ".join(NAMES) + " |\n|" + "---|" * (len(NAMES) + 1))
    words = {}
    conditioned, plain = PAPER_PROMPTS[0]
    for name in NAMES:
        vectors, words[name] = answers(conditioned.format(name))
        print(f"| {name} | {scores(vectors, targets)} |", flush=True)
    print(f"| no condition | {scores(answers(plain)[0], targets)} |")
    random = Answers(path, images, random_weights=True)
    print(f"| random weights, car model | {scores(random(conditioned.format(NAMES[0]))[0], targets)} |")
    shown = pixels(np.stack([np.asarray(image) for image in images]))
    print(f"| pixels, 12 x 12 | {scores(F.avg_pool2d(shown, 8).flatten(1), targets)} |\n", flush=True)

    def accuracy(given: list[str], k: int, where: slice | np.ndarray = slice(None)) -> float:
        right = np.array([word == ASPECTS[NAMES[k]][target] for word, target in zip(given, targets[:, k], strict=True)])
        return 100 * float(right[where].mean())

    print(
        "| words right, % | all | unseen pairs | held-out paraphrases | worst paper prompt | raw prompt |\n"
        "|---|---|---|---|---|---|"
    )
    for k, name in enumerate(NAMES):
        held = [accuracy(answers(conditioned.format(text))[1], k) for text in HELD_OUT[name]]
        paper = [accuracy(answers(text.format(name))[1], k) for text, _ in PAPER_PROMPTS[1:]]
        raw = accuracy(answers(conditioned.format(name), chat=False)[1], k)
        print(
            f"| {name} | {accuracy(words[name], k):.1f} | {accuracy(words[name], k, unseen):.1f} | "
            f"{' / '.join(f'{value:.1f}' for value in held)} | {min(paper):.1f} | {raw:.1f} |",
            flush=True,
        )
    print("\nheld-out paraphrases, DIOR:\n")
    for name in NAMES:
        for text in HELD_OUT[name]:
            if text in PARAPHRASES[name]:
                raise ValueError(f"{text!r} is held out and trained")
        print(
            f"| {HELD_OUT[name][0]} | {scores(answers(conditioned.format(HELD_OUT[name][0]))[0], targets)} |",
            flush=True,
        )


@torch.inference_mode()
def clip_table(path: Path, images: list[Image.Image], targets: np.ndarray) -> None:
    processor = CLIPProcessor.from_pretrained(path, local_files_only=True)
    model = CLIPModel.from_pretrained(path, dtype=torch.float32, local_files_only=True).eval()
    inputs = processor(images=images, return_tensors="pt")["pixel_values"]
    seen = torch.cat([embedding(model.get_image_features(pixel_values=part)) for part in inputs.split(100)])
    print("\n| | " + " | ".join(NAMES) + " |\n|" + "---|" * (len(NAMES) + 1))
    print(f"| image embedding, MAP@R / P@1 | {scores(seen, targets)} |")
    cells = []
    for k, (name, template) in enumerate(CLIP_TEXTS.items()):
        texts = processor(text=[template.format(word) for word in ASPECTS[name]], padding=True, return_tensors="pt")
        read = embedding(model.get_text_features(input_ids=texts["input_ids"], attention_mask=texts["attention_mask"]))
        right = (seen @ read.T).argmax(-1).numpy() == targets[:, k]
        cells.append(f"{100 * right.mean():.1f}")
    print(f"| zero-shot words right, % | {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lvlm", type=Path)
    parser.add_argument("--clip", type=Path)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    scenes = [sample_scene(np.random.default_rng([SEED, frame])) for frame in range(1, options.images + 1)]
    images = [Image.fromarray(render(scene)) for scene in scenes]
    targets = np.array([labels(scene) for scene in scenes])
    unseen = np.array(
        [is_held_out(ASPECTS["car model"][model], ASPECTS["car color"][color]) for model, color, *_ in targets]
    )
    print(f"{len(images)} images, {unseen.sum()} of unseen pairs\n")
    if options.lvlm:
        lvlm_tables(options.lvlm, images, targets, unseen)
    if options.clip:
        clip_table(options.clip, images, targets)


if __name__ == "__main__":
    main()
