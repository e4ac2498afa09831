"""Where the text comes before the image, the vision tower runs once per image, and vectors are as without sharing."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_models import save
from transformers import AutoProcessor

import conditional_image_embeddings as cie

RANDOM = np.random.default_rng(0)
IMAGES = [Image.fromarray(RANDOM.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in ((84, 112), (112, 56))]
CONDITIONS = ["color", None, "the number of people"]
TEXT_FIRST = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% for c in m['content'] | reverse %}"
    "{% if c['type'] == 'image' %}IMAGE{% else %}{{ c['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PLACEHOLDERS = {
    "qwen2_5_vl": "<|vision_start|><|image_pad|><|vision_end|>",
    "qwen3_vl": "<|vision_start|><|image_pad|><|vision_end|>",  # its tower gives features of several layers
    "llava_next": "<image>",  # and this one reads tiles
    "gemma3": "<start_of_image>",
}


@pytest.mark.parametrize("family", PLACEHOLDERS)
def test_the_tower_runs_once_and_changes_nothing(family: str, tmp_path: Path) -> None:
    directory = save(family, tmp_path)
    processor = AutoProcessor.from_pretrained(directory)
    processor.chat_template = processor.tokenizer.chat_template = TEXT_FIRST.replace("IMAGE", PLACEHOLDERS[family])
    processor.save_pretrained(directory)
    shared: Any = cie.load(str(directory), device="cpu")
    separate: Any = cie.load(str(directory), device="cpu", share=False)
    assert (shared.sharing, separate.sharing) == ("tower", "separate")
    expected = separate.encode(IMAGES, CONDITIONS)
    np.testing.assert_allclose(shared.encode(IMAGES, CONDITIONS), expected, atol=1e-4)
    for layer in (0, 2):
        one = shared.encode(IMAGES[0], CONDITIONS, layer=layer)
        np.testing.assert_allclose(one, separate.encode(IMAGES[0], CONDITIONS, layer=layer), atol=1e-4)
    rows = {each: _rows_read(each, CONDITIONS) for each in (shared, separate)}
    assert len(CONDITIONS) * rows[shared] == rows[separate]


def _rows_read(embedder: Any, conditions: list[str | None]) -> int:
    """How long the first axis of all is that the tower makes of an image."""
    read: list[int] = []
    tower = embedder.lvlm.model.get_encoder(modality="image")
    inner = next(module for module in tower.modules() if module is not tower and list(module.parameters(recurse=False)))
    handle = inner.register_forward_hook(lambda _, args, __: read.append(len(args[0])))
    embedder.encode(IMAGES[0], conditions)
    handle.remove()
    return sum(read)
