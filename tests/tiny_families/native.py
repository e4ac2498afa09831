"""Images in their own shape: Pixtral and SigLIP 2 towers."""

from typing import Any

import transformers as tf
from tiny_models import token_id, tokenizer

from tiny_families.parts import IMAGE, SIGLIP, VISION, Built, family, text


@family
def mistral3() -> Built:
    tok = tokenizer("[IMG]", {"image_token": "[IMG]", "break_token": "[IMG_BREAK]", "end_token": "[IMG_END]"})
    config = tf.Mistral3Config(
        text_config=tf.MistralConfig(**text(tok), head_dim=8, sliding_window=None),
        vision_config={**VISION, "model_type": "pixtral", "image_size": 112, "head_dim": 16},
        image_token_index=token_id(tok, "[IMG]"),
        spatial_merge_size=2,
    )
    images = tf.PixtralImageProcessor(patch_size={"height": 28, "width": 28}, size={"longest_edge": 112})
    return config, tf.PixtralProcessor(
        images, tok, patch_size=14, spatial_merge_size=2, chat_template=tok.chat_template
    )


@family
def lfm2_vl() -> Built:
    """Every other layer is a convolution over the last three tokens."""
    named = {"image_start_token": "<|image_start|>", "image_end_token": "<|image_end|>"}
    tok = tokenizer("<image>", {**IMAGE, **named, "image_thumbnail_token": "<|img_thumbnail|>"})
    convolution = {"layer_types": ["conv", "full_attention"] * 2, "conv_L_cache": 3, "block_auto_adjust_ff_dim": False}
    vision = {key: value for key, value in SIGLIP.items() if key != "image_size"}
    config = tf.Lfm2VlConfig(
        text_config=text(tok, model_type="lfm2", **convolution),
        vision_config={**vision, "model_type": "siglip2_vision_model", "num_patches": 16},
        image_token_id=token_id(tok, "<image>"),
        projector_hidden_size=48,
        downsample_factor=2,
    )
    limits = {"min_image_tokens": 2, "max_image_tokens": 8, "min_tiles": 1, "max_tiles": 4}
    images = tf.Lfm2VlImageProcessor(tile_size=56, encoder_patch_size=14, do_image_splitting=False, **limits)
    return config, tf.Lfm2VlProcessor(images, tok, chat_template=tok.chat_template)
