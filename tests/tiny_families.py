"""What `tiny_models` builds: each family's smallest config with everything that makes it special, and its processor.

A new family is one function here and one line in `BUILDERS`.
"""

from collections.abc import Callable
from typing import Any

import transformers as tf
from tiny_models import token_id, token_ids, tokenizer

Built = tuple[Any, Any]  # config, processor

HIDDEN = 32
TEXT: dict[str, Any] = {
    "hidden_size": HIDDEN,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "pad_token_id": 1,
    "bos_token_id": 2,
    "eos_token_id": 3,
}
VISION: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 56,
    "patch_size": 14,
}
SIGLIP = {**VISION, "model_type": "siglip_vision_model", "vision_use_head": False}
CLIP = {**VISION, "model_type": "clip_vision_model"}
SQUARE = {"height": 56, "width": 56}
WINDOWS = {"sliding_window": 12, "layer_types": ["sliding_attention", "full_attention"] * 2}
MROPE = {"rope_type": "default", "mrope_section": [2, 1, 1], "rope_theta": 10000.0}
ROPE = {"rope_type": "default", "rope_theta": 10000.0}
PIXELS = {"shortest_edge": 28 * 28, "longest_edge": 28 * 28 * 24}

IMAGE = {"image_token": "<image>"}
QWEN = {
    "image_token": "<|image_pad|>",
    "video_token": "<|video_pad|>",
    "vision_start_token": "<|vision_start|>",
    "vision_end_token": "<|vision_end|>",
}
GLM = {
    "image_token": "<|image|>",
    "video_token": "<|video|>",
    "image_start_token": "<|begin_of_image|>",
    "image_end_token": "<|end_of_image|>",
    "video_start_token": "<|begin_of_video|>",
    "video_end_token": "<|end_of_video|>",
}


def text(tok: Any, **more: Any) -> dict[str, Any]:
    return {**TEXT, "vocab_size": len(tok), **more}


# --- positions in three dimensions: Qwen and GLM ---


def qwen_tokenizer() -> Any:
    return tokenizer("<|vision_start|><|image_pad|><|vision_end|>", QWEN)


def qwen_vision(**more: Any) -> dict[str, Any]:
    sizes = {"depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "patch_size": 14}
    return {**sizes, "out_hidden_size": HIDDEN, "spatial_merge_size": 2, **more}


def qwen_processor(kind: Any, video: Any, tok: Any) -> Any:
    return kind(tf.Qwen2VLImageProcessor(size=PIXELS), tok, video(), tok.chat_template)


def qwen2_vl() -> Built:
    tok = qwen_tokenizer()
    vision = {"depth": 2, "embed_dim": 32, "hidden_size": HIDDEN, "num_heads": 2, "patch_size": 14, "mlp_ratio": 2}
    config = tf.Qwen2VLConfig(
        text_config=text(tok, rope_parameters=dict(MROPE)), vision_config=vision, **token_ids(tok, QWEN)
    )
    return config, qwen_processor(tf.Qwen2VLProcessor, tf.Qwen2VLVideoProcessor, tok)


def qwen2_5_vl(**more: Any) -> Built:
    tok = qwen_tokenizer()
    config = tf.Qwen2_5_VLConfig(
        text_config=text(tok, rope_parameters=dict(MROPE), **more),
        vision_config=qwen_vision(window_size=56, fullatt_block_indexes=[1]),
        **token_ids(tok, QWEN),
    )
    return config, qwen_processor(tf.Qwen2_5_VLProcessor, tf.Qwen2VLVideoProcessor, tok)


def qwen2_5_vl_sliding() -> Built:
    return qwen2_5_vl(use_sliding_window=True, sliding_window=8, max_window_layers=2)


def qwen3_vl(config_class: Any = tf.Qwen3VLConfig, **more: Any) -> Built:
    tok = qwen_tokenizer()
    config = config_class(
        text_config=text(tok, head_dim=8, rope_parameters={**MROPE, "mrope_interleaved": True}, **more),
        vision_config=qwen_vision(deepstack_visual_indexes=[0, 1], num_position_embeddings=64),
        **token_ids(tok, QWEN),
    )
    return config, qwen_processor(tf.Qwen3VLProcessor, tf.Qwen3VLVideoProcessor, tok)


def qwen3_vl_moe() -> Built:
    return qwen3_vl(tf.Qwen3VLMoeConfig, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32)


def qwen3_5(config_class: Any = tf.Qwen3_5Config, **more: Any) -> Built:
    """Every other layer carries a state (gated delta rule) instead of attending."""
    tok = qwen_tokenizer()
    linear = {"key_head_dim": 8, "value_head_dim": 8, "num_key_heads": 2, "num_value_heads": 4}
    config = config_class(
        text_config=text(
            tok,
            head_dim=8,
            layer_types=["linear_attention", "full_attention"] * 2,
            rope_parameters={**MROPE, "mrope_interleaved": True, "partial_rotary_factor": 1.0},
            **{f"linear_{key}": value for key, value in linear.items()},
            **more,
        ),
        vision_config=qwen_vision(num_position_embeddings=64),
        **token_ids(tok, QWEN),
    )
    return config, qwen_processor(tf.Qwen3VLProcessor, tf.Qwen3VLVideoProcessor, tok)


def qwen3_5_moe() -> Built:
    experts = {"moe_intermediate_size": 32, "shared_expert_intermediate_size": 32}
    return qwen3_5(tf.Qwen3_5MoeConfig, num_experts=4, num_experts_per_tok=2, **experts)


def glm4v(config_class: Any = tf.Glm4vConfig, **more: Any) -> Built:
    tok = tokenizer("<|begin_of_image|><|image|><|end_of_image|>", GLM)
    config = config_class(
        text_config=text(tok, rope_parameters={**MROPE, "partial_rotary_factor": 1.0}, **more),
        vision_config=qwen_vision(image_size=56),
        **token_ids(tok, GLM),
    )
    images = tf.Glm4vImageProcessor(size=PIXELS)
    return config, tf.Glm4vProcessor(images, tok, tf.Glm4vVideoProcessor(), tok.chat_template)


def glm_ocr() -> Built:
    return glm4v(tf.GlmOcrConfig, head_dim=8)


# --- tiles, each a square image: Idefics, LLaVA and their relatives ---


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


def smolvlm() -> Built:
    """With image splitting, so that images differ in their number of tiles. (Its own processor wants num2words.)"""
    config, processor = idefics3(split=True, side="right")
    same = {key: value for key, value in config.to_dict().items() if key not in {"model_type", "architectures"}}
    return tf.SmolVLMConfig(**same), processor


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


def vipllava() -> Built:
    return llava(tf.VipLlavaConfig, vision_feature_layer=[-2, -1])


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


# --- images in their own shape: Pixtral and SigLIP 2 towers ---


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


# --- Gemma: windows, image tokens that see each other, prefix-LM ---


def gemma3(window: int = 512) -> Built:
    named = {"image_token": "<image_soft_token>", "boi_token": "<start_of_image>", "eoi_token": "<end_of_image>"}
    tok = tokenizer("<start_of_image>", named)
    config = tf.Gemma3Config(
        text_config=text(tok, head_dim=8, query_pre_attn_scalar=8, **{**WINDOWS, "sliding_window": window}),
        vision_config=dict(SIGLIP),
        mm_tokens_per_image=4,
        **{key.replace("token_id", "token_index"): value for key, value in token_ids(tok, named).items()},
    )
    images = tf.Gemma3ImageProcessor(size=SQUARE, image_seq_length=4)
    return config, tf.Gemma3Processor(images, tok, chat_template=tok.chat_template, image_seq_length=4)


def gemma3_window() -> Built:
    """A window shorter than the prompts."""
    return gemma3(window=10)


def gemma4() -> Built:
    """The last layers reuse the keys and values of earlier ones, and every layer has embeddings of its own."""
    named = {
        "image_token": "<|image|>",
        "boi_token": "<|image>",
        "eoi_token": "<image|>",
        "video_token": "<|video|>",
        "audio_token": "<|audio|>",
        "boa_token": "<|audio>",
    }
    tok = tokenizer("<|image|>", {**named, "eoa_token": "<audio|>"})
    config = tf.Gemma4Config(
        text_config=text(
            tok,
            vocab_size_per_layer_input=len(tok),
            hidden_size_per_layer_input=8,
            head_dim=8,
            global_head_dim=8,
            num_kv_shared_layers=2,
            use_bidirectional_attention="vision",
            **WINDOWS,
        ),
        vision_config={
            **{key: value for key, value in VISION.items() if key != "image_size"},
            "num_key_value_heads": 2,
            "head_dim": 16,
            "pooling_kernel_size": 2,
            "position_embedding_size": 64,
        },
        audio_config=None,
        eoa_token_index=token_id(tok, "<audio|>"),
        **token_ids(tok, named),
    )
    images = tf.Gemma4ImageProcessor(patch_size=14, max_soft_tokens=70, pooling_kernel_size=2)
    return config, tf.Gemma4Processor(
        tf.Gemma4AudioFeatureExtractor(), images, tok, tf.Gemma4VideoProcessor(), chat_template=tok.chat_template
    )


def paligemma() -> Built:
    """A prefix-LM without a chat template: the image sees the text behind it, so nothing can be shared."""
    tok = tokenizer("<image>", IMAGE, chat=False)
    images = tf.SiglipImageProcessor(size=SQUARE)
    images.image_seq_length = 16
    processor = tf.PaliGemmaProcessor(images, tok)  # adds tokens
    config = tf.PaliGemmaConfig(
        text_config=text(tok, model_type="gemma", head_dim=8),
        vision_config=dict(SIGLIP),
        image_token_index=token_id(tok, "<image>"),
        projection_dim=HIDDEN,
    )
    return config, processor


BUILDERS: dict[str, Callable[[], Built]] = {
    build.__name__: build
    for build in (
        *(qwen2_vl, qwen2_5_vl, qwen2_5_vl_sliding, qwen3_vl, qwen3_vl_moe, qwen3_5, qwen3_5_moe, glm4v, glm_ocr),
        *(idefics2, idefics3, smolvlm, llava, vipllava, llava_next, llava_onevision, internvl, aya_vision, mllama),
        *(mistral3, lfm2_vl, gemma3, gemma3_window, gemma4, paligemma),
    )
}
