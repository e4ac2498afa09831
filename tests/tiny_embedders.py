"""Tiny random-weight embedders of each family that takes instructions, on disk as their publishers lay them out.

What matters of the real ones is there: their tokens under their names, what the tokenizer's post-processor adds, their
chat template or that there is none, and VLM2Vec's LoRA (DoRA) weights beside a base model.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import peft
import torch
from tiny_models import save
from tokenizers import processors
from transformers import AutoModelForImageTextToText, AutoProcessor

QWEN = {"<pad>": "<|endoftext|>"}  # which is Qwen's padding too
LLAMA3 = {
    "<s>": "<|begin_of_text|>",
    "<|im_start|>": "<|start_header_id|>",
    "</s>": "<|end_header_id|>",
    "<|im_end|>": "<|eot_id|>",
}
NAMES = {
    "qwen3-vl-embedding": "Qwen3-VL-Embedding-2B",
    "vlm2vec-v2": "VLM2Vec-V2.0",
    "e5-v": "e5-v",
    "gme": "gme-Qwen2-VL-2B-Instruct",
}


def save_family(family: str, folder: Path) -> Path:
    """An embedder of a family of `models.instructed`, in a directory of its publisher's name for it."""
    directory = folder / NAMES[family]
    if family == "qwen3-vl-embedding":
        _renamed(save("qwen3_vl", directory), QWEN, post="$A <|endoftext|>")
    elif family == "gme":
        _renamed(save("qwen2_vl", directory), QWEN)
    elif family == "e5-v":
        _renamed(save("llava_next", directory, chat=False, padding_side="left"), LLAMA3, post="<|begin_of_text|> $A")
    else:
        _vlm2vec(_renamed(save("qwen2_vl", folder / "Qwen2-VL-2B-Instruct"), QWEN), directory)
    return directory


def _renamed(directory: Path, names: Mapping[str, str], *, post: str | None = None) -> Path:
    """With some of the tokenizer's tokens under other names, and a post-processor."""
    for file in directory.glob("*.json*"):
        text = file.read_text(encoding="utf-8")
        for old, new in names.items():
            text = text.replace(json.dumps(old), json.dumps(new))
        file.write_text(text, encoding="utf-8")
    if post:
        processor = AutoProcessor.from_pretrained(directory)
        tokenizer = processor.tokenizer
        special = [(each, tokenizer.convert_tokens_to_ids(each)) for each in post.split() if each != "$A"]
        tokenizer._tokenizer.post_processor = processors.TemplateProcessing(single=post, special_tokens=special)
        processor.save_pretrained(directory)
    return directory


def _vlm2vec(base: Path, directory: Path) -> None:
    torch.manual_seed(1)
    options: Any = {"r": 4, "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"], "use_dora": True}
    model = peft.get_peft_model(AutoModelForImageTextToText.from_pretrained(base), peft.LoraConfig(**options))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, 0, 0.3)
    model.save_pretrained(directory)
    AutoProcessor.from_pretrained(base).save_pretrained(directory)
