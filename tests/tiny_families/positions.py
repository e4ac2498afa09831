"""Positions in three dimensions: Qwen and GLM."""

from typing import Any

import transformers as tf
from tiny_models import token_ids, tokenizer

from tiny_families.parts import EXPERTS, FREE_SIZE, GLM, HIDDEN, MLA, MROPE, PIXELS, QWEN, ROPE, Built, family, text


def qwen_tokenizer() -> Any:
    return tokenizer("<|vision_start|><|image_pad|><|vision_end|>", QWEN)


def qwen_vision(**more: Any) -> dict[str, Any]:
    sizes = {"depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "patch_size": 14}
    return {**sizes, "out_hidden_size": HIDDEN, "spatial_merge_size": 2, **more}


def qwen_processor(kind: Any, video: Any, tok: Any) -> Any:
    return kind(tf.Qwen2VLImageProcessor(size=PIXELS), tok, video(), tok.chat_template)


@family
def qwen2_vl() -> Built:
    tok = qwen_tokenizer()
    vision = {"depth": 2, "embed_dim": 32, "hidden_size": HIDDEN, "num_heads": 2, "patch_size": 14, "mlp_ratio": 2}
    config = tf.Qwen2VLConfig(
        text_config=text(tok, rope_parameters=dict(MROPE)), vision_config=vision, **token_ids(tok, QWEN)
    )
    return config, qwen_processor(tf.Qwen2VLProcessor, tf.Qwen2VLVideoProcessor, tok)


@family
def qwen2_5_vl(**more: Any) -> Built:
    tok = qwen_tokenizer()
    config = tf.Qwen2_5_VLConfig(
        text_config=text(tok, rope_parameters=dict(MROPE), **more),
        vision_config=qwen_vision(window_size=56, fullatt_block_indexes=[1]),
        **token_ids(tok, QWEN),
    )
    return config, qwen_processor(tf.Qwen2_5_VLProcessor, tf.Qwen2VLVideoProcessor, tok)


@family
def qwen2_5_vl_sliding() -> Built:
    return qwen2_5_vl(use_sliding_window=True, sliding_window=8, max_window_layers=2)


@family
def qwen3_vl(config_class: Any = tf.Qwen3VLConfig, **more: Any) -> Built:
    tok = qwen_tokenizer()
    config = config_class(
        text_config=text(tok, head_dim=8, rope_parameters={**MROPE, "mrope_interleaved": True}, **more),
        vision_config=qwen_vision(deepstack_visual_indexes=[0, 1], num_position_embeddings=64),
        **token_ids(tok, QWEN),
    )
    return config, qwen_processor(tf.Qwen3VLProcessor, tf.Qwen3VLVideoProcessor, tok)


@family
def qwen3_vl_moe() -> Built:
    return qwen3_vl(tf.Qwen3VLMoeConfig, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32)


def hybrid_text(tok: Any, **more: Any) -> dict[str, Any]:
    """Every other layer carries a state (gated delta rule) instead of attending."""
    linear = {"key_head_dim": 8, "value_head_dim": 8, "num_key_heads": 2, "num_value_heads": 4}
    return text(
        tok,
        head_dim=8,
        rope_parameters={**MROPE, "mrope_interleaved": True, "partial_rotary_factor": 1.0},
        **{f"linear_{key}": value for key, value in linear.items()},
        **{"layer_types": ["linear_attention", "full_attention"] * 2, **more},
    )


@family
def qwen3_5(config_class: Any = tf.Qwen3_5Config, **more: Any) -> Built:
    tok = qwen_tokenizer()
    config = config_class(
        text_config=hybrid_text(tok, **more),
        vision_config=qwen_vision(num_position_embeddings=64),
        **token_ids(tok, QWEN),
    )
    return config, qwen_processor(tf.Qwen3VLProcessor, tf.Qwen3VLVideoProcessor, tok)


@family
def qwen3_5_moe() -> Built:
    experts = {"moe_intermediate_size": 32, "shared_expert_intermediate_size": 32}
    return qwen3_5(tf.Qwen3_5MoeConfig, num_experts=4, num_experts_per_tok=2, **experts)


@family
def glm4v(config_class: Any = tf.Glm4vConfig, **more: Any) -> Built:
    tok = tokenizer("<|begin_of_image|><|image|><|end_of_image|>", GLM)
    config = config_class(
        text_config=text(tok, rope_parameters={**MROPE, "partial_rotary_factor": 1.0}, **more),
        vision_config=qwen_vision(image_size=56),
        **token_ids(tok, GLM),
    )
    images = tf.Glm4vImageProcessor(size=PIXELS)
    return config, tf.Glm4vProcessor(images, tok, tf.Glm4vVideoProcessor(), tok.chat_template)


@family
def glm_ocr() -> Built:
    return glm4v(tf.GlmOcrConfig, head_dim=8)


@family
def glm4v_moe() -> Built:
    experts = {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
    return glm4v(tf.Glm4vMoeConfig, head_dim=8, **experts)


@family
def glm46v(
    config_class: Any = tf.Glm46VConfig, images: Any = tf.Glm46VImageProcessor, videos: Any = tf.Glm46VVideoProcessor
) -> Built:
    config, processor = glm4v()
    text_config, vision_config = config.text_config.to_dict(), config.vision_config.to_dict()
    tok = processor.tokenizer
    config = config_class(text_config=text_config, vision_config=vision_config, **token_ids(tok, GLM))
    return config, tf.Glm46VProcessor(images(size=PIXELS), tok, videos(), tok.chat_template)


@family
def qwen2_5_omni_thinker() -> Built:
    tok = qwen_tokenizer()
    config = tf.Qwen2_5OmniThinkerConfig(
        text_config=text(tok, rope_parameters=dict(MROPE)),
        vision_config=qwen_vision(window_size=56, fullatt_block_indexes=[1]),
        audio_config={
            "d_model": 16,
            "encoder_layers": 1,
            "encoder_attention_heads": 2,
            "encoder_ffn_dim": 16,
            "output_dim": HIDDEN,
        },
        image_token_index=tok.image_token_id,
        video_token_index=tok.video_token_id,
        vision_start_token_id=tok.vision_start_token_id,
        vision_end_token_id=tok.vision_end_token_id,
    )
    return config, qwen_processor(tf.Qwen2_5_VLProcessor, tf.Qwen2VLVideoProcessor, tok)


@family
def qwen3_omni_moe_thinker() -> Built:
    tok = qwen_tokenizer()
    config = tf.Qwen3OmniMoeThinkerConfig(
        text_config=text(
            tok,
            head_dim=8,
            rope_parameters={**MROPE, "mrope_interleaved": True},
            num_experts=4,
            num_experts_per_tok=2,
            moe_intermediate_size=32,
        ),
        vision_config=qwen_vision(deepstack_visual_indexes=[0, 1], num_position_embeddings=64),
        audio_config={
            "d_model": 16,
            "encoder_layers": 1,
            "encoder_attention_heads": 2,
            "encoder_ffn_dim": 16,
            "output_dim": HIDDEN,
        },
        image_token_id=tok.image_token_id,
        video_token_id=tok.video_token_id,
        vision_start_token_id=tok.vision_start_token_id,
    )
    return config, qwen_processor(tf.Qwen3VLProcessor, tf.Qwen3VLVideoProcessor, tok)


@family
def cosmos3_omni() -> Built:
    return qwen3_vl(tf.Cosmos3OmniConfig)


@family
def glmga() -> Built:
    return glm46v(tf.GlmgaConfig, tf.GlmgaImageProcessor, tf.GlmgaVideoProcessor)


@family
def glm5_next() -> Built:
    """Layers that carry a state beside layers in which an indexer picks the keys."""
    tok = tokenizer("<|begin_of_image|><|image|><|end_of_image|>", GLM)
    latent = {**MLA, "qk_rope_head_dim": 0, "num_key_value_heads": 4}
    config = tf.Glm5NextConfig(
        text_config=text(
            tok,
            layer_types=["linear_attention", "indexed_attention"] * 2,
            index_topk=8,
            index_kpool=4,
            index_head_dim=16,
            index_n_heads=2,
            linear_head_dim=8,
            linear_num_heads=4,
            hc_mult=2,
            hc_sinkhorn_iters=2,
            mlp_layer_types=["dense", "sparse", "sparse", "sparse"],
            **{**latent, **EXPERTS},
        ),
        vision_config=qwen_vision(image_size=56, projection_intermediate_size=48),
        **token_ids(tok, GLM),
    )
    images = tf.Glm5NextImageProcessor(min_image_tokens=1, max_image_tokens=24)
    return config, tf.Glm5NextProcessor(images, tok, tf.Glm5NextVideoProcessor(), tok.chat_template)


@family
def qwen4_exp() -> Built:
    tok = qwen_tokenizer()
    linear = {"key_head_dim": 8, "value_head_dim": 8, "num_key_heads": 2, "num_value_heads": 4}
    config = tf.Qwen4ExpConfig(
        text_config=text(
            tok,
            head_dim=8,
            rope_parameters={**MROPE, "mrope_interleaved": True, "partial_rotary_factor": 1.0},
            layer_types=["linear_attention", "indexed_attention"] * 2,
            moe_intermediate_size=32,
            shared_expert_intermediate_size=32,
            num_experts=4,
            num_experts_per_tok=2,
            hc_count=2,
            hc_lowrank=8,
            indexer_n_heads=2,
            indexer_kv_heads=1,
            indexer_head_dim=8,
            indexer_budget=8,
            indexer_compress_ratio=4,
            **{f"linear_{key}": value for key, value in linear.items()},
        ),
        vision_config=qwen_vision(num_position_embeddings=64),
        **token_ids(tok, QWEN),
    )
    return config, qwen_processor(tf.Qwen3VLProcessor, tf.Qwen3VLVideoProcessor, tok)


@family
def hy_v4_vl() -> Built:
    tok = qwen_tokenizer()
    config = tf.HYV4VLConfig(
        text_config=text(
            tok,
            index_topk=8,
            index_head_dim=16,
            index_n_heads=2,
            hc_mult=2,
            rope_parameters={**ROPE, "mrope_section": [2, 1, 1]},
            **MLA,
            **EXPERTS,
        ),
        vision_config={**FREE_SIZE, "out_hidden_size": HIDDEN, "max_image_size": 112},
        image_token_id=tok.image_token_id,
        video_token_id=tok.video_token_id,
    )
    images = tf.HYV4VLImageProcessor(patch_size=14, size=PIXELS)
    return config, tf.HYV4VLProcessor(images, tok, tf.HYV4VLVideoProcessor(), tok.chat_template)


@family
def dots3_note() -> Built:
    """An indexer picks the keys of some layers, a window those of others."""
    named = {
        "image_token": "<|imgpad|>",
        "video_token": "<|video_pad|>",
        "audio_token": "<|audio_comp_pad|>",
    }
    tok = tokenizer("<|imgpad|>", named)
    sliding = {"num_attention_heads": 4, "num_key_value_heads": 4, "q_lora_rank": 16, "kv_lora_rank": 16}
    heads = {"head_dim": 16, "qk_nope_head_dim": 8, "v_head_dim": 8}
    config = tf.Dots3NoteConfig(
        text_config=text(
            tok,
            head_dim=16,
            index_topk=8,
            index_head_dim=16,
            index_n_heads=2,
            layer_types=["indexed_attention", "sliding_attention"] * 2,
            sliding_window=8,
            shared_experts_intermediate_size=32,
            **{f"swa_{key}": value for key, value in {**sliding, **heads}.items()},
            **MLA,
            **EXPERTS,
        ),
        vision_config={
            **FREE_SIZE,
            "moe_intermediate_size": 32,
            "mlp_layer_types": ["dense", "sparse"],
            "num_local_experts": 4,
            "adapter_in_dim": 32,
            "adapter_out_dim": HIDDEN,
        },
        audio_config={
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "downsample_hidden_size": 8,
            "feature_size": 16,
            "adapter_input_size": 16,
            "adapter_out_dim": HIDDEN,
        },
        image_token_id=tok.image_token_id,
        video_token_id=tok.video_token_id,
        audio_token_id=tok.audio_token_id,
    )
    images = tf.Qwen2VLImageProcessor(size=PIXELS, temporal_patch_size=1)
    return config, tf.Dots3NoteProcessor(
        images, tok, tf.Qwen3VLVideoProcessor(), tf.Dots3NoteFeatureExtractor(), tok.chat_template
    )
