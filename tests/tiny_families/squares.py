"""Square images, whole or cut into tiles: families with connectors of their own."""

import transformers as tf
from tiny_models import token_id, tokenizer
from transformers.models.llama4 import modeling_llama4

from tiny_families.parts import CLIP, HIDDEN, IMAGE, ROPE, SAM, SIGLIP, SQUARE, VISION, WINDOWS, Built, family, text


@family
def cohere2_vision() -> Built:
    named = {"boi_token": "<|START_OF_IMG|>", "eoi_token": "<|END_OF_IMG|>", "image_token": "<|IMG_PATCH|>"}
    tok = tokenizer("<|IMG_PATCH|>", {**named, "img_line_break_token": "<|IMG_LINE_BREAK|>"})
    config = tf.Cohere2VisionConfig(
        text_config=text(tok, model_type="cohere2", **WINDOWS),
        vision_config=dict(SIGLIP),
        image_token_id=tok.image_token_id,
        alignment_intermediate_size=64,
    )
    images = tf.Cohere2VisionImageProcessor(size=SQUARE, patch_size=2, max_patches=6)
    return config, tf.Cohere2VisionProcessor(images, tok, chat_template=tok.chat_template)


@family
def aria() -> Built:
    """Of the tower only what every layer needs; patches become a fixed number of tokens by cross attention."""
    tok = tokenizer("<image>", IMAGE)
    config = tf.AriaConfig(
        text_config=text(tok, model_type="aria_text", moe_num_experts=4, rope_parameters=dict(ROPE)),
        vision_config={**VISION, "model_type": "idefics3_vision", "image_size": 980, "patch_size": 140},
        projector_patch_to_query_dict={49: 4},
        image_token_index=token_id(tok, "<image>"),
    )
    return config, tf.AriaProcessor(tf.AriaImageProcessor(), tok, tok.chat_template, size_conversion={980: 4})


@family
def deepseek_vl() -> Built:
    tok = tokenizer("<image>", IMAGE)
    config = tf.DeepseekVLConfig(
        text_config=text(tok, model_type="llama"),
        vision_config=dict(SIGLIP),
        image_token_id=token_id(tok, "<image>"),
    )
    images = tf.DeepseekVLImageProcessor(size=SQUARE)
    return config, tf.DeepseekVLProcessor(images, tok, tok.chat_template, num_image_tokens=16)


@family
def deepseek_vl_hybrid() -> Built:
    """Two towers: SigLIP and SAM."""
    tok = tokenizer("<image>", IMAGE)
    config = tf.DeepseekVLHybridConfig(
        text_config=text(tok, model_type="llama"),
        vision_config=dict(SIGLIP),
        high_res_vision_config={
            **SAM,
            "model_type": "sam_vision_model",
            "image_size": 128,
            "patch_size": 16,
            "window_size": 4,
            "global_attn_indexes": [1],
        },
        image_token_id=token_id(tok, "<image>"),
    )
    images = tf.DeepseekVLHybridImageProcessor(size=SQUARE, high_res_size={"height": 128, "width": 128})
    return config, tf.DeepseekVLHybridProcessor(images, tok, tok.chat_template, num_image_tokens=16)


@family
def janus() -> Built:
    tok = tokenizer("<image>", {**IMAGE, "boi_token": "<boi>", "eoi_token": "<eoi>"})
    config = tf.JanusConfig(
        text_config=text(tok, model_type="llama"),
        vision_config={**VISION, "projection_dim": HIDDEN, "mlp_ratio": 2, "num_image_tokens": 16},
        vq_config={
            "num_embeddings": 16,
            "latent_channels": 8,
            "base_channels": 32,
            "channel_multiplier": [1, 1],
            "num_res_blocks": 1,
            "projection_dim": HIDDEN,
            "image_token_embed_dim": HIDDEN,
            "num_patches": 4,
        },
        image_token_id=token_id(tok, "<image>"),
    )
    images = tf.JanusImageProcessor(size=SQUARE)
    return config, tf.JanusProcessor(images, tok, tok.chat_template, num_image_tokens=16)


@family
def got_ocr2() -> Built:
    tok = tokenizer("<img><imgpad></img>", {"image_token": "<imgpad>", "a": "<img>", "b": "</img>"})
    config = tf.GotOcr2Config(
        text_config=text(tok, model_type="qwen2"),
        vision_config={**SAM, "image_size": 256, "patch_size": 4},
        image_token_index=token_id(tok, "<imgpad>"),
    )
    images = tf.GotOcr2ImageProcessor(size={"height": 256, "width": 256})
    return config, tf.GotOcr2Processor(images, tok, chat_template=tok.chat_template)


@family
def llama4() -> Built:
    """Chunks instead of windows in some layers, experts, and no rotation in others."""
    named = {
        "image_token": "<|image|>",
        "start_of_image_token": "<|image_start|>",
        "end_of_image_token": "<|image_end|>",
        "patch_token": "<|patch|>",
        "tile_x_separator_token": "<|tile_x_separator|>",
        "tile_y_separator_token": "<|tile_y_separator|>",
    }
    tok = tokenizer("<|image|>", named)
    config = tf.Llama4Config(
        text_config=text(
            tok,
            head_dim=8,
            num_local_experts=4,
            intermediate_size_mlp=64,
            attention_chunk_size=16,
            layer_types=["chunked_attention", "full_attention"] * 2,
            rope_parameters=dict(ROPE),
        ),
        vision_config={
            **VISION,
            "vision_output_dim": HIDDEN,
            "intermediate_size": 128,
            "projector_input_dim": HIDDEN,
            "projector_output_dim": HIDDEN,
        },
        image_token_index=token_id(tok, "<|patch|>"),
    )
    # Transformers 5.24 reads this field, which nothing sets: for the references, since the engine minds itself.
    modeling_llama4.MoeCausalLMOutputWithPast.image_outputs = None
    images = tf.Llama4ImageProcessor(size=SQUARE, max_patches=4)
    return config, tf.Llama4Processor(images, tok, chat_template=tok.chat_template)


@family
def ovis2() -> Built:
    """Image features are a distribution over a visual vocabulary."""
    indicators = ["<IMG_START>", "<IMG_GRID>", "<IMG_COL>", "<IMG_ROW>", "<IMG_END>"]
    named = {f"indicator_{i}": token for i, token in enumerate(indicators)}
    tok = tokenizer("<image>", {**IMAGE, "image_atom": "<IMG_ATOM>", **named})
    config = tf.Ovis2Config(
        text_config=text(tok, model_type="qwen2"),
        vision_config={**VISION, "hidden_stride": 2, "vocab_size": 24},
        image_token_id=token_id(tok, "<IMG_ATOM>"),
        visual_indicator_token_ids=[token_id(tok, token) for token in indicators],
        vocab_size=len(tok),
        hidden_size=HIDDEN,
    )
    images = tf.Ovis2ImageProcessor(size=SQUARE, crop_to_patches=True, max_patches=6)
    return config, tf.Ovis2Processor(images, tok, chat_template=tok.chat_template, image_seq_length=4)


@family
def llava_next_video() -> Built:
    tok = tokenizer("<image>", {**IMAGE, "video_token": "<video>"})
    pinpoints = [[56, 112], [112, 56], [112, 112]]
    config = tf.LlavaNextVideoConfig(
        text_config=text(tok, model_type="llama"),
        vision_config=dict(CLIP),
        image_token_index=token_id(tok, "<image>"),
        video_token_index=token_id(tok, "<video>"),
        image_grid_pinpoints=pinpoints,
        vision_feature_layer=-1,
        image_seq_length=16,
    )
    images = tf.LlavaNextImageProcessor(size={"shortest_edge": 56}, crop_size=SQUARE, image_grid_pinpoints=pinpoints)
    return config, tf.LlavaNextVideoProcessor(
        tf.LlavaNextVideoVideoProcessor(),
        images,
        tok,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=tok.chat_template,
    )


@family
def video_llava() -> Built:
    tok = tokenizer("<image>", {**IMAGE, "video_token": "<video>"})
    config = tf.VideoLlavaConfig(
        text_config=text(tok, model_type="llama"),
        vision_config=dict(CLIP),
        image_token_index=token_id(tok, "<image>"),
        video_token_index=token_id(tok, "<video>"),
        vision_feature_layer=-1,
        image_seq_length=16,
    )
    images = tf.VideoLlavaImageProcessor(size={"shortest_edge": 56}, crop_size=SQUARE)
    return config, tf.VideoLlavaProcessor(images, tf.VideoLlavaVideoProcessor(), tok, chat_template=tok.chat_template)


@family
def qianfan_ocr() -> Built:
    named = {"start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>"}
    tok = tokenizer("<image>", {**named, "placeholder": "<image>"})
    config = tf.QianfanOCRConfig(
        text_config=tf.Qwen3Config(**text(tok, head_dim=8)),
        vision_config={**VISION, "image_size": [56, 56], "patch_size": [14, 14]},
        image_token_id=token_id(tok, "<IMG_CONTEXT>"),
        image_seq_length=4,
    )
    images = tf.GotOcr2ImageProcessor(size=SQUARE, crop_to_patches=True, max_patches=6)
    return config, tf.QianfanOCRProcessor(images, tok, image_seq_length=4, chat_template=tok.chat_template)
