"""Tiny random-weight dual encoders, saved to disk with their processors as a user would find them."""

from pathlib import Path
from typing import Any

import torch
import transformers as tf
from tiny_models import tokenizer
from tokenizers.processors import TemplateProcessing

SIDE = 32
TEXT = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 400}
VISION = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
IDS = {"pad_token_id": 1, "bos_token_id": 2, "eos_token_id": 3}
POSITIONS = {"max_position_embeddings": 64}
PATCHES = {"image_size": SIDE, "patch_size": 8}


def clip() -> tuple[Any, Any]:
    config = tf.CLIPConfig(text_config=TEXT | IDS | POSITIONS, vision_config=VISION | PATCHES, projection_dim=16)
    return config, tf.CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})


def siglip2() -> tuple[Any, Any]:
    config = tf.Siglip2Config(
        text_config=TEXT | IDS | POSITIONS | {"projection_size": 32},
        vision_config=VISION | {"num_patches": 16, "patch_size": 8},
    )
    return config, tf.Siglip2ImageProcessor(patch_size=8, max_num_patches=16)


def siglip() -> tuple[Any, Any]:
    config = tf.SiglipConfig(
        text_config=TEXT | IDS | POSITIONS | {"projection_size": 32}, vision_config=VISION | PATCHES
    )
    return config, tf.SiglipImageProcessor(size={"height": SIDE, "width": SIDE})


def chinese_clip() -> tuple[Any, Any]:
    config = tf.ChineseCLIPConfig(text_config=TEXT | POSITIONS, vision_config=VISION | PATCHES, projection_dim=16)
    size = {"height": SIDE, "width": SIDE}
    return config, tf.ChineseCLIPImageProcessor(size=size, crop_size=size)


def align() -> tuple[Any, Any]:
    vision = {"image_size": SIDE, "hidden_dim": 32, "width_coefficient": 1.0, "depth_coefficient": 1.0}
    vision |= {"in_channels": [32, 8], "out_channels": [8, 8], "kernel_sizes": [3, 3], "strides": [1, 2]}
    vision |= {"expand_ratios": [1, 2], "num_block_repeats": [1, 1], "depthwise_padding": [], "num_hidden_layers": 2}
    config = tf.AlignConfig(text_config=TEXT | POSITIONS, vision_config=vision, projection_dim=8)
    size = {"height": SIDE, "width": SIDE}
    return config, tf.EfficientNetImageProcessor(size=size, do_center_crop=False)


def vision_text_dual_encoder() -> tuple[Any, Any]:
    """Recognised by its two towers alone: transformers lists it under no task."""
    text, vision = tf.BertConfig(**TEXT | POSITIONS), tf.ViTConfig(**VISION | PATCHES)
    config = tf.VisionTextDualEncoderConfig(
        vision_config=vision.to_dict(), text_config=text.to_dict(), projection_dim=16
    )
    return config, tf.ViTImageProcessor(size={"height": SIDE, "width": SIDE})


FAMILIES = {made.__name__: made for made in (clip, siglip, siglip2, chinese_clip, align, vision_text_dual_encoder)}


def save(family: str, directory: Path) -> Path:
    """Build one and write it to the directory."""
    config, image_processor = FAMILIES[family]()
    torch.manual_seed(0)
    model = tf.AutoModel.from_config(config)
    for weights in model.parameters():
        if weights.ndim == 4:  # ALIGN's convolutions start so small that every image looks alike
            torch.nn.init.kaiming_normal_(weights)
    model.save_pretrained(directory)
    image_processor.save_pretrained(directory)
    words = tokenizer("<image>", {}, side="right")
    ends = [("<s>", IDS["bos_token_id"]), ("</s>", IDS["eos_token_id"])]  # CLIP reads the last one's state
    words.backend_tokenizer.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    words.model_max_length = 64
    words.save_pretrained(directory)
    return directory
