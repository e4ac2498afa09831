"""A fixed number of query tokens that a Q-Former reads from the image; processors that place the image themselves."""

import re
import string
from typing import Any

import transformers as tf
from tiny_models import BASE_TOKENS, token_id, tokenizer
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from tiny_families.parts import HIDDEN, ROPE, SQUARE, VISION, Built, family, text

OPT = {"word_embed_proj_dim": HIDDEN, "ffn_dim": 64, "dropout": 0.0}


def queried(config_class: Any, tok: Any, language_model: Any = None) -> Any:
    return config_class(
        text_config=language_model or tf.OPTConfig(**text(tok), **OPT),
        vision_config=dict(VISION),
        qformer_config={
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "vocab_size": len(tok),
        },
        num_query_tokens=4,
        image_token_index=token_id(tok, "<image>"),
    )


@family
def blip_2() -> Built:
    tok = tokenizer("<image>", {"placeholder": "<image>"}, chat=False)
    images = tf.BlipImageProcessor(size=SQUARE)
    processor = tf.Blip2Processor(images, tok, num_query_tokens=4)
    return queried(tf.Blip2Config, tok), processor


@family
def instructblip() -> Built:
    """The Q-Former reads the prompt too, so that image features are those of one condition."""
    tok = tokenizer("<image>", {"placeholder": "<image>"}, chat=False)
    images = tf.BlipImageProcessor(size=SQUARE)
    processor = tf.InstructBlipProcessor(images, tok, tokenizer("", {}, chat=False), num_query_tokens=4)
    return queried(tf.InstructBlipConfig, tok), processor


@family
def fuyu() -> Built:
    """No vision tower: a linear map of patches. The processor drops the first token, the space that is put there."""
    marks = ["|SPEAKER|", "|NEWLINE|", "<0x04>"]
    vocabulary = [*BASE_TOKENS, *marks, "\u2581", *string.printable]
    spelled = Tokenizer(models.WordLevel({token: i for i, token in enumerate(vocabulary)}, unk_token="<unk>"))  # noqa: S106
    spelled.normalizer = normalizers.Prepend("\u2581")
    pieces = "|".join(re.escape(token) for token in [*marks, "<s>"])
    spelled.pre_tokenizer = pre_tokenizers.Split(Regex(f"{pieces}|."), "isolated")
    tok = tf.PreTrainedTokenizerFast(tokenizer_object=spelled, unk_token="<unk>", pad_token="<pad>")  # noqa: S106
    config = tf.FuyuConfig(
        text_config=tf.PersimmonConfig(
            **{key: value for key, value in text(tok).items() if key != "num_key_value_heads"},
            rope_parameters=dict(ROPE),
        ),
        image_size=112,
        patch_size=14,
        image_token_id=token_id(tok, "|SPEAKER|"),
    )
    images = tf.FuyuImageProcessor(size={"height": 84, "width": 84}, patch_size={"height": 14, "width": 14})
    return config, tf.FuyuProcessor(images, tok)
