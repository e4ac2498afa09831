"""Qwen2.5-VL with random weights, made here: the same shapes as the published models, or a small one for a CPU.

Weights do not change what a forward pass costs, so speed and memory can be measured without a download. The tokenizer
is trained on the prompts, in which a word is then about a token, as with the real one.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
)

from conditional_image_embeddings.inputs.conditions import PROMPTS

CONDITIONS = (
    "car color", "car model", "background color", "viewpoint", "paint pattern", "time of day", "weather", "fabric",
    "clothing category", "fit type", "movie genre", "bird species", "season", "number of people", "mood", "material",
)  # fmt: skip

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>",
           "<|video_pad|>")  # fmt: skip

CHAT_TEMPLATE = (
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True)
class Shape:
    """The numbers of a published configuration."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    intermediate: int
    vocabulary: int
    tied: bool
    vision_depth: int
    vision_hidden: int
    vision_heads: int
    vision_intermediate: int
    full_attention_blocks: tuple[int, ...]
    window: int = 112


VISION = {
    "vision_depth": 32, "vision_hidden": 1280, "vision_heads": 16, "vision_intermediate": 3420,
    "full_attention_blocks": (7, 15, 23, 31),
}  # fmt: skip

SHAPES = {
    # Small enough for two cores, of the same make: 70 million parameters.
    "small": Shape(512, 8, 8, 2, 1408, 32768, False, 8, 320, 5, 1024, (3, 7)),
    "tiny": Shape(64, 4, 4, 2, 128, 1024, False, 4, 64, 4, 128, (1, 3)),
    "3b": Shape(2048, 36, 16, 2, 11008, 151936, True, **VISION),
    "7b": Shape(3584, 28, 28, 4, 18944, 152064, False, **VISION),
}


def tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE in which the prompts' words are single tokens."""
    model = Tokenizer(models.BPE())
    model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = decoders.ByteLevel()
    corpus = [
        template.format(c=condition) for both in PROMPTS.values() for template in both for condition in CONDITIONS
    ]
    corpus += ["You are a helpful assistant.", "system\n", "user\n", "assistant\n"] * 20
    trainer = trainers.BpeTrainer(
        vocab_size=900, special_tokens=list(SPECIAL), show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    model.train_from_iterator(corpus, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=model, pad_token="<|endoftext|>", eos_token="<|im_end|>", padding_side="left",  # noqa: S106
        chat_template=CHAT_TEMPLATE,
    )  # fmt: skip


def processor() -> Qwen2_5_VLProcessor:
    pixels = {"min_pixels": 56 * 56, "max_pixels": 12845056}
    return Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(**pixels),
        tokenizer=tokenizer(),
        video_processor=Qwen2VLVideoProcessor(**pixels),
        chat_template=CHAT_TEMPLATE,
    )


def config(shape: Shape, words: PreTrainedTokenizerFast) -> Qwen2_5_VLConfig:
    """The model's configuration; the mrope sections split half a head as the published ones do (2:3:3 eighths)."""
    ids = {name: words.convert_tokens_to_ids(name) for name in SPECIAL}
    eighth = shape.hidden // shape.heads // 16
    text = {
        "vocab_size": shape.vocabulary, "hidden_size": shape.hidden, "intermediate_size": shape.intermediate,
        "num_hidden_layers": shape.layers, "num_attention_heads": shape.heads, "num_key_value_heads": shape.kv_heads,
        "rms_norm_eps": 1e-6, "tie_word_embeddings": shape.tied, "max_position_embeddings": 32768,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6,
                            "mrope_section": [2 * eighth, 3 * eighth, 3 * eighth]},
        "pad_token_id": ids["<|endoftext|>"], "bos_token_id": ids["<|endoftext|>"], "eos_token_id": ids["<|im_end|>"],
    }  # fmt: skip
    vision = {
        "depth": shape.vision_depth, "hidden_size": shape.vision_hidden, "num_heads": shape.vision_heads,
        "intermediate_size": shape.vision_intermediate, "out_hidden_size": shape.hidden, "patch_size": 14,
        "spatial_merge_size": 2, "temporal_patch_size": 2, "window_size": shape.window,
        "fullatt_block_indexes": list(shape.full_attention_blocks), "tokens_per_second": 2,
    }  # fmt: skip
    return Qwen2_5_VLConfig(
        text_config=text, vision_config=vision, tie_word_embeddings=shape.tied,
        image_token_id=ids["<|image_pad|>"], video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"], vision_end_token_id=ids["<|vision_end|>"],
    )  # fmt: skip


@contextlib.contextmanager
def _made_on(device: str, dtype: torch.dtype) -> Iterator[None]:
    """Parameters are made where they will live, in the type that they will have: 7 billion do not fit twice."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            yield
    finally:
        torch.set_default_dtype(before)


def model(name: str, *, device: str = "cpu", dtype: torch.dtype = torch.float32, **kwargs: Any) -> Any:
    """The model of that shape in evaluation mode, seeded."""
    torch.manual_seed(0)
    with _made_on(device, dtype):
        made = Qwen2_5_VLForConditionalGeneration._from_config(config(SHAPES[name], tokenizer()), dtype=dtype, **kwargs)
    return made.eval()


def save(name: str, directory: Path, *, dtype: torch.dtype = torch.float32) -> Path:
    """Write model and processor to a directory, unless they are there."""
    if not (directory / "model.safetensors").exists():
        model(name, dtype=dtype).save_pretrained(directory)
        processor().save_pretrained(directory)
    return directory
