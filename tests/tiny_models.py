"""Tiny random-weight models of many families, saved to disk with their processors and loaded as a user loads any model.

`save(family, directory)` builds one from its config classes, offline. Weights are drawn so that outputs react: a wrong
mask or position moves a hidden state by far more than rounding (`test_engine.py` proves it).
"""

import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers as tf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

CHAT = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% for c in m['content'] %}{% if c['type'] == 'image' %}"
    "IMAGE{% else %}{{ c['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SAVED = tempfile.TemporaryDirectory(prefix="tiny-models-")  # removed with the interpreter
BASE_TOKENS = ["<unk>", "<pad>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"]  # ids 0 to 5


@cache
def _trained(special: tuple[str, ...]) -> str:
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trained.decoder = decoders.ByteLevel()
    corpus = ['Describe this image in one word regarding car color: "', 'Convey this image in terms of the model: "']
    trainer = trainers.BpeTrainer(
        vocab_size=340,
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    trained.train_from_iterator(corpus * 10, trainer)
    return str(trained.to_str())


def tokenizer(image: str, named: dict[str, str], *, chat: bool = True, side: str = "left") -> Any:
    """A byte-level BPE tokenizer with a family's special tokens; `image` stands for an image in its chat template."""
    special = [*BASE_TOKENS, *dict.fromkeys(named.values())]
    return tf.PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_trained(tuple(special))),
        **dict(zip(("unk_token", "pad_token", "bos_token", "eos_token"), BASE_TOKENS, strict=False)),
        padding_side=side,
        chat_template=CHAT.replace("IMAGE", image) if chat else None,
        extra_special_tokens=named,
    )


def token_id(tok: Any, token: str) -> int:
    return int(tok.convert_tokens_to_ids(token))


def token_ids(tok: Any, named: dict[str, str]) -> dict[str, int]:
    """`image_token="<image>"` as the configs want it: `image_token_id=7`."""
    return {f"{name}_id": token_id(tok, token) for name, token in named.items()}


def make_react(model: torch.nn.Module, *, calm: bool = False) -> None:
    """Draw weights that let a mask, a position or an image make a difference; gates that start closed are opened.

    Such weights also amplify rounding: `calm` ones are for comparisons in half precision.
    """
    gains = (0.5, 0.5) if calm else (2.0, 1.2)
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if parameter.ndim < 2:
            if "gate" in name:
                torch.nn.init.ones_(parameter)
            continue
        if "embed" in name:
            std = 1.0
        else:
            attends = any(part in name for part in ("q_proj", "k_proj", "attn.qkv"))
            fan_in = parameter.shape[-1] if parameter.ndim == 3 else parameter[0].numel()  # 3: a row of experts
            std = gains[not attends] / fan_in**0.5
        torch.nn.init.normal_(parameter, 0, std, generator=generator)


def save(
    family: str, directory: Path, *, padding_side: str | None = None, chat: bool = True, calm: bool = False
) -> Path:
    """A family's tiny model and processor, as a checkpoint on the hub would be; built once per process, then copied.

    Args:
        family: A key of `tiny_families.BUILDERS`.
        directory: Where to save; returned.
        padding_side: Another one than the family's tokenizer has.
        chat: Without chat templates if False.
        calm: With weights that amplify rounding less.
    """
    from tiny_families import BUILDERS

    saved = _saved(BUILDERS[family], padding_side, chat, calm)  # by the builder: a test may put another in its place
    return Path(shutil.copytree(saved, directory, dirs_exist_ok=True))


@cache
def _saved(build: Callable[[], Any], padding_side: str | None, chat: bool, calm: bool) -> Path:
    directory = Path(tempfile.mkdtemp(dir=SAVED.name))
    config, processor = build()
    if padding_side is not None:
        processor.tokenizer.padding_side = padding_side
    if not chat:
        processor.chat_template = processor.tokenizer.chat_template = None
    torch.manual_seed(0)
    model = tf.AutoModelForImageTextToText.from_config(config)
    make_react(model, calm=calm)
    model.generation_config.eos_token_id = 3
    model.save_pretrained(directory)
    processor.save_pretrained(directory)
    return directory
