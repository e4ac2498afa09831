"""The bundled models: small files that load as any model does, answer about cars, and match images with words."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from conditional_image_embeddings.datasets.car_colors import COLORS, colour_name
from conditional_image_embeddings.datasets.car_renderer import render, sample_scene
from conditional_image_embeddings.models import builtin

SCENES = [sample_scene(np.random.default_rng([99, k])) for k in range(20)]
IMAGES = [Image.fromarray(render(scene)) for scene in SCENES]


@pytest.mark.parametrize("name", ["builtin", "builtin-clip"])
def test_files_are_small_readable_half_precision_and_have_a_card(name: str) -> None:
    directory = builtin.path(name)
    assert all(
        file.stat().st_size <= 16 * 2**20 and file.stat().st_mode & 0o044 == 0o044 for file in directory.iterdir()
    )
    assert json.loads((directory / "config.json").read_text())["dtype"] == "float16"
    assert not list(directory.glob("*.bin"))
    card = (directory / "README.md").read_text()
    assert card.startswith("---\n")
    assert "license: mit" in card
    assert "demonstration" in card


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ValueError, match="builtin-clip"):
        builtin.path("builtin-t5")


def _answers(directory: Path, question: str) -> list[str]:
    from transformers import AutoModelForImageTextToText, AutoProcessor

    processor = AutoProcessor.from_pretrained(directory, local_files_only=True)
    model = AutoModelForImageTextToText.from_pretrained(directory, dtype=torch.float32, local_files_only=True).eval()
    message = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}]
    prompt = processor.apply_chat_template(message, add_generation_prompt=True)
    inputs = processor(
        text=[prompt] * len(IMAGES), images=[[image] for image in IMAGES], padding=True, return_tensors="pt"
    )
    with torch.inference_mode():
        written = model.generate(**inputs, max_new_tokens=6, do_sample=False)
    return processor.batch_decode(written[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ("car color", [colour_name(*scene.color_hsv) for scene in SCENES]),
        ("car model", [scene.model for scene in SCENES]),
        ("viewpoint", [scene.viewpoint for scene in SCENES]),
    ],
)
def test_the_answer_is_the_word_and_nothing_else(condition: str, words: list[str]) -> None:
    answers = _answers(builtin.path("builtin"), f'Describe this image in one word regarding {condition}: "')
    right = sum(answer.strip() == f'{word}"' for answer, word in zip(answers, words, strict=True))
    assert right >= 16, list(zip(answers, words, strict=True))


def test_clip_finds_the_colour_in_words() -> None:
    from transformers import CLIPModel, CLIPProcessor

    directory = builtin.path("builtin-clip")
    processor = CLIPProcessor.from_pretrained(directory, local_files_only=True)
    model = CLIPModel.from_pretrained(directory, dtype=torch.float32, local_files_only=True).eval()
    inputs = processor(text=[f"a {color} car" for color in COLORS], images=IMAGES, padding=True, return_tensors="pt")
    with torch.inference_mode():
        found = model(**inputs).logits_per_image.argmax(-1)
    right = sum(COLORS[k] == colour_name(*scene.color_hsv) for k, scene in zip(found.tolist(), SCENES, strict=True))
    assert right >= 16
