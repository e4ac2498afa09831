"""Square images, whole or cut into tiles: Idefics, LLaVA and their relatives."""

from typing import Any

import transformers as tf
from tiny_models import token_id, tokenizer

from tiny_families.parts import CLIP, HIDDEN, IMAGE, ROPE, SIGLIP, SQUARE, VISION, WINDOWS, Built, family, text


@family
def idefics3(*, split: bool = False, side: str = "left") -> Built:
    named = {
        "fake_image_token": "<fake_token_around_image>",
        "image_token": "<image>",
        "global_image_token": "<global-img>",
    }
    tok = tokenizer("<image>", {**named, "end_of_utterance_token": "<end_of_utterance>"}, side=side)
    config = tf.Idefics3Config(
        text_config=tf.LlamaConfig(**text(tok)),
        vision_config=dict(VISION),
        scale_factor=2,
        image_token_id=token_id(tok, "<image>"),
        pad_token_id=1,
    )
    images = tf.Idefics3ImageProcessor(
        size={"longest_edge": 112 if split else 56}, max_image_size={"longest_edge": 56}, do_image_splitting=split
    )
    return config, tf.Idefics3Processor(images, tok, image_seq_len=4, chat_template=tok.chat_template)


@family
def smolvlm() -> Built:
    """With image splitting, so that images differ in their number of tiles."""
    config, processor = idefics3(split=True, side="right")
    same = {key: value for key, value in config.to_dict().items() if key not in {"model_type", "architectures"}}
    sizes = {"size": {"longest_edge": 112}, "max_image_size": {"longest_edge": 56}}
    tok = processor.tokenizer
    own = tf.SmolVLMProcessor(
        tf.SmolVLMImageProcessor(do_image_splitting=True, **sizes),
        tok,
        tf.SmolVLMVideoProcessor(**sizes, num_frames=2, fps=1),
        image_seq_len=4,
        chat_template=tok.chat_template,
    )
    return tf.SmolVLMConfig(**same), own


@family
def idefics2() -> Built:
    """A window in the text model (Mistral's) that no small prompt reaches."""
    named = {"image_boundary_token": "<fake_token_around_image>", "image_token": "<image>"}
    tok = tokenizer("<image>", {**named, "end_of_utterance_token": "<end_of_utterance>"})
    config = tf.Idefics2Config(
        text_config=tf.MistralConfig(**text(tok)),
        vision_config=dict(VISION),
        perceiver_config={
            "hidden_size": HIDDEN,
            "resampler_n_latents": 4,
            "resampler_depth": 1,
            "resampler_n_heads": 4,
            "resampler_head_dim": 8,
            "num_key_value_heads": 2,
        },
        image_token_id=token_id(tok, "<image>"),
    )
    images = tf.Idefics2ImageProcessor(size={"longest_edge": 56, "shortest_edge": 28}, do_image_splitting=False)
    return config, tf.Idefics2Processor(images, tok, image_seq_len=4, chat_template=tok.chat_template)


@family
def llava(config_class: Any = tf.LlavaConfig, **more: Any) -> Built:
    tok = tokenizer("<image>", IMAGE)
    config = config_class(
        text_config=tf.LlamaConfig(**text(tok)),
        vision_config=dict(CLIP),
        image_token_index=token_id(tok, "<image>"),
        image_seq_length=16,
        **{"vision_feature_layer": -1, **more},
    )
    images = tf.CLIPImageProcessor(size={"shortest_edge": 56}, crop_size=SQUARE)
    return config, llava_processor(tf.LlavaProcessor, images, tok)


def llava_processor(kind: Any, images: Any, tok: Any) -> Any:
    return kind(
        images,
        tok,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=tok.chat_template,
    )


@family
def vipllava() -> Built:
    return llava(tf.VipLlavaConfig, vision_feature_layer=[-2, -1])


@family
def llava_next() -> Built:
    tok = tokenizer("<image>", IMAGE, side="right")
    pinpoints = [[56, 112], [112, 56], [112, 112]]
    config = tf.LlavaNextConfig(
        text_config=tf.MistralConfig(**text(tok), sliding_window=None),
        vision_config=dict(CLIP),
        image_token_index=token_id(tok, "<image>"),
        image_grid_pinpoints=pinpoints,
        vision_feature_layer=-1,
        image_seq_length=16,
    )
    images = tf.LlavaNextImageProcessor(size={"shortest_edge": 56}, crop_size=SQUARE, image_grid_pinpoints=pinpoints)
    return config, llava_processor(tf.LlavaNextProcessor, images, tok)


@family
def llava_onevision() -> Built:
    tok = tokenizer("<image>", {**IMAGE, "video_token": "<video>"})
    pinpoints = [[56, 56], [56, 112], [112, 56], [112, 112]]
    config = tf.LlavaOnevisionConfig(
        text_config=tf.Qwen2Config(**text(tok)),
        vision_config=dict(SIGLIP),
        image_token_index=token_id(tok, "<image>"),
        video_token_index=token_id(tok, "<video>"),
        image_grid_pinpoints=pinpoints,
    )
    return config, tf.LlavaOnevisionProcessor(
        tf.LlavaOnevisionImageProcessor(size=SQUARE, image_grid_pinpoints=pinpoints),
        tok,
        tf.LlavaOnevisionVideoProcessor(size=SQUARE),
        num_image_tokens=16,
        vision_feature_select_strategy="full",
        chat_template=tok.chat_template,
    )


@family
def internvl() -> Built:
    named = {"start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>"}
    tok = tokenizer("<IMG_CONTEXT>", {**named, "video_token": "<video>"})
    config = tf.InternVLConfig(
        text_config=tf.Qwen2Config(**text(tok)),
        vision_config={**VISION, "image_size": [56, 56], "patch_size": [14, 14]},
        image_token_id=token_id(tok, "<IMG_CONTEXT>"),
        image_seq_length=4,
    )
    images = tf.GotOcr2ImageProcessor(size=SQUARE, crop_to_patches=True, max_patches=6)
    return config, tf.InternVLProcessor(
        images, tok, tf.InternVLVideoProcessor(), image_seq_length=4, chat_template=tok.chat_template
    )


@family
def aya_vision() -> Built:
    named = {
        "start_token": "<|START_OF_IMG|>",
        "end_token": "<|END_OF_IMG|>",
        "patch_token": "<|IMG_PATCH|>",
        "line_token": "<|IMG_LINE_BREAK|>",
        "tile_token": "TILE",
        "global_token": "TILE_GLOBAL",
        "placeholder_token": "<image>",
    }
    tok = tokenizer("<image>", named)
    config = tf.AyaVisionConfig(
        text_config=text(tok, model_type="cohere2", **WINDOWS),
        vision_config=dict(SIGLIP),
        image_token_index=token_id(tok, "<|IMG_PATCH|>"),
        downsample_factor=2,
        vision_feature_layer=-1,
    )
    images = tf.GotOcr2ImageProcessor(size=SQUARE, crop_to_patches=True, max_patches=6)
    return config, tf.AyaVisionProcessor(
        images, tok, patch_size=14, img_size=56, downsample_factor=2, chat_template=tok.chat_template
    )


@family
def mllama() -> Built:
    """The image is not in the sequence: some layers attend to it across."""
    tok = tokenizer("<|image|>", {"image_token": "<|image|>", "python_token": "<|python_tag|>"})
    config = tf.MllamaConfig(
        text_config=text(tok, cross_attention_layers=[1, 3], rope_parameters=dict(ROPE)),
        vision_config={
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_global_layers": 1,
            "attention_heads": 2,
            "intermediate_size": 48,
            "vision_output_dim": 64,
            "image_size": 56,
            "patch_size": 14,
            "intermediate_layers_indices": [0],
            "max_num_tiles": 4,
        },
        image_token_index=token_id(tok, "<|image|>"),
    )
    images = tf.MllamaImageProcessor(size=SQUARE, max_image_tiles=4)
    return config, tf.MllamaProcessor(images, tok, chat_template=tok.chat_template)


@family
def idefics() -> Built:
    """The image is not in the sequence: blocks between the layers attend to it across."""
    tok = tokenizer("", {"placeholder": "<image>", "around": "<fake_token_around_image>"}, chat=False)
    config = tf.IdeficsConfig(
        **{key: value for key, value in text(tok).items() if key != "num_key_value_heads"},
        rope_parameters=dict(ROPE),
        vision_config={**{key: value for key, value in VISION.items() if key != "hidden_size"}, "embed_dim": 32},
        alpha_initializer="ones",
        cross_layer_interval=2,
    )
    return config, tf.IdeficsProcessor(tf.IdeficsImageProcessor(image_size=56), tok)
