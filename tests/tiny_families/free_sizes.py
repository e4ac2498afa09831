"""Images in their own shape: patches merged two by two, after Qwen, and Pixtral, SigLIP 2 and MoonViT towers."""

import transformers as tf
from tiny_models import token_id, token_ids, tokenizer

from tiny_families.parts import (
    EXPERTS,
    FREE_SIZE,
    GLM,
    HIDDEN,
    IMAGE,
    MLA,
    MROPE,
    MUSE,
    PIXELS,
    QWEN,
    ROPE,
    SIGLIP,
    VISION,
    WINDOWS,
    Built,
    family,
    text,
)
from tiny_families.positions import qwen_processor, qwen_tokenizer, qwen_vision


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


@family
def lighton_ocr() -> Built:
    named = {"image_token": "<|image_pad|>", "image_break_token": "<|break|>", "image_end_token": "<|end|>"}
    tok = tokenizer("<|image_pad|>", named)
    config = tf.LightOnOcrConfig(
        text_config=tf.Qwen3Config(**text(tok, head_dim=8)),
        vision_config={**VISION, "model_type": "pixtral", "image_size": 112, "head_dim": 16},
        image_token_id=tok.image_token_id,
    )
    images = tf.PixtralImageProcessor(patch_size={"height": 28, "width": 28}, size={"longest_edge": 112})
    return config, tf.LightOnOcrProcessor(images, tok, patch_size=14, chat_template=tok.chat_template)


@family
def mistral_large4() -> Built:
    tok = tokenizer("[IMG]", {"image_token": "[IMG]", "break_token": "[IMG_BREAK]", "end_token": "[IMG_END]"})
    config = tf.MistralLarge4Config(
        text_config=text(
            tok,
            head_dim=8,
            index_topk=8,
            index_head_dim=16,
            index_n_heads=2,
            rope_parameters=dict(ROPE),
            **{k: v for k, v in MLA.items() if k != "q_lora_rank"},
            **EXPERTS,
        ),
        vision_config={**VISION, "model_type": "pixtral", "image_size": 112, "head_dim": 16},
        image_token_index=token_id(tok, "[IMG]"),
        spatial_merge_size=2,
    )
    images = tf.PixtralImageProcessor(patch_size={"height": 28, "width": 28}, size={"longest_edge": 112})
    return config, tf.PixtralProcessor(
        images, tok, patch_size=14, spatial_merge_size=2, chat_template=tok.chat_template
    )


@family
def paddleocr_vl() -> Built:
    tok = qwen_tokenizer()
    config = tf.PaddleOCRVLConfig(
        text_config=text(tok, head_dim=8, rope_parameters=dict(MROPE)),
        vision_config=dict(VISION),
        **token_ids(tok, QWEN),
    )
    images = tf.PaddleOCRVLImageProcessor(size=PIXELS)
    return config, tf.PaddleOCRVLProcessor(images, tok, tok.chat_template)


@family
def video_llama_3() -> Built:
    tok = tokenizer("<image>", {"image_token": "<image>", "video_token": "<video>"})
    config = tf.VideoLlama3Config(
        text_config=tf.Qwen2Config(**text(tok)),
        vision_config=dict(FREE_SIZE),
        image_token_id=tok.image_token_id,
        video_token_id=tok.video_token_id,
    )
    images = tf.VideoLlama3ImageProcessor(patch_size=14, size=PIXELS, merge_size=2)
    return config, tf.VideoLlama3Processor(images, tok, tf.VideoLlama3VideoProcessor(), tok.chat_template)


@family
def ernie4_5_vl_moe() -> Built:
    """Experts of their own for image tokens and for text tokens."""
    tok = tokenizer("<|begin_of_image|><|image|><|end_of_image|>", GLM)
    config = tf.Ernie4_5_VLMoeConfig(
        text_config=text(
            tok,
            moe_intermediate_size=[32, 24],
            moe_k=2,
            moe_num_experts=4,
            mlp_layer_types=["dense", "sparse", "sparse", "sparse"],
            rope_parameters={**MROPE, "mrope_section": [1, 1, 2]},
        ),
        vision_config=qwen_vision(),
        **token_ids(tok, GLM),
    )
    images = tf.Ernie4_5_VLMoeImageProcessor(size=PIXELS)
    videos = tf.Ernie4_5_VLMoeVideoProcessor(draw_on_frames=False)  # drawing wants a font
    return config, tf.Ernie4_5_VLMoeProcessor(images, tok, videos, tok.chat_template)


@family
def exaone4_5() -> Built:
    tok = qwen_tokenizer()
    config = tf.Exaone4_5_Config(
        text_config=tf.Exaone4Config(**text(tok, sliding_window=8, sliding_window_pattern=2)),
        vision_config=qwen_vision(window_size=56, fullatt_block_indexes=[1], num_key_value_heads=2),
        image_token_id=tok.image_token_id,
        video_token_id=tok.video_token_id,
    )
    return config, qwen_processor(tf.Exaone4_5_Processor, tf.Qwen2VLVideoProcessor, tok)


@family
def hyperclovax_vision_v2() -> Built:
    tok = qwen_tokenizer()
    config = tf.HyperCLOVAXVisionV2Config(
        text_config=text(tok, model_type="hyperclovax", rope_parameters=dict(ROPE)),
        vision_config=qwen_vision(model_type="qwen2_5_vl_vision", window_size=56, fullatt_block_indexes=[1]),
        image_token_id=tok.image_token_id,
        video_token_id=tok.video_token_id,
    )
    return config, qwen_processor(tf.HyperCLOVAXVisionV2Processor, tf.Qwen2VLVideoProcessor, tok)


@family
def cosmos3_edge() -> Built:
    tok = qwen_tokenizer()
    config = tf.Cosmos3EdgeConfig(
        text_config=text(tok, head_dim=8, rope_parameters=dict(MROPE)),
        vision_config={**FREE_SIZE, "num_patches": 16},
        projector_hidden_size=48,
        **token_ids(tok, QWEN),
    )
    images = tf.Cosmos3EdgeImageProcessor(patch_size=14, size=PIXELS)
    return config, tf.Cosmos3EdgeProcessor(images, tok, tf.Cosmos3EdgeVideoProcessor(), tok.chat_template)


@family
def cohere_compass() -> Built:
    named = {name: token.upper() for name, token in QWEN.items()}
    tok = tokenizer("<|VISION_START|><|IMAGE_PAD|><|VISION_END|>", named)
    config = tf.CohereCompassConfig(
        text_config=text(
            tok, rope_parameters=dict.fromkeys(WINDOWS["layer_types"], ROPE), **{**WINDOWS, "sliding_window": 8}
        ),
        vision_config=qwen_vision(deepstack_visual_indexes=[0, 1], num_position_embeddings=64),
        **token_ids(tok, named),
    )
    images = tf.CohereCompassImageProcessor(patch_size=14, size=PIXELS)
    return config, tf.CohereCompassProcessor(images, tok, tf.CohereCompassVideoProcessor(), tok.chat_template)


@family
def hunyuan_vl() -> Built:
    named = {"image_token": "<image>", "image_start_token": "<img>", "image_end_token": "</img>"}
    tok = tokenizer("<img><image></img>", named)
    config = tf.HunYuanVLConfig(
        text_config=text(tok, head_dim=8, rope_parameters={**ROPE, "mrope_section": [1, 1, 1, 1]}),
        vision_config={**FREE_SIZE, "out_hidden_size": HIDDEN, "text_hidden_size": HIDDEN, "max_image_size": 112},
        image_token_id=tok.image_token_id,
        im_start_id=tok.image_start_token_id,
        im_end_id=tok.image_end_token_id,
    )
    images = tf.HunYuanVLImageProcessor(patch_size=14, size=PIXELS)
    return config, tf.HunYuanVLProcessor(images, tok, tok.chat_template)


@family
def lfm3_vl() -> Built:
    tok = qwen_tokenizer()
    config = tf.Lfm3VlConfig(
        text_config=text(tok, model_type="lfm3", head_dim=8, layer_types=["conv", "full_attention"] * 2),
        vision_config={**FREE_SIZE, "num_key_value_heads": 2, "layer_types": ["conv", "full_attention"]},
        projector_hidden_size=48,
        **token_ids(tok, QWEN),
    )
    return config, qwen_processor(tf.Lfm3VlProcessor, tf.Qwen2VLVideoProcessor, tok)


@family
def kimi_k25() -> Built:
    named = {**QWEN, "image_token": "<|media_pad|>"}
    tok = tokenizer("<|vision_start|><|media_pad|><|vision_end|>", named)
    config = tf.Kimi_K25Config(
        text_config=text(
            tok, model_type="deepseek_v3", n_group=1, topk_group=1, first_k_dense_replace=1, **MLA, **EXPERTS
        ),
        vision_config={**FREE_SIZE, "pos_emb_height": 8, "pos_emb_width": 8},
        projection_hidden_size=HIDDEN,
        **token_ids(tok, named),
    )
    images = tf.Kimi_K25ImageProcessor(size={"max_height": 112, "max_width": 112}, max_patches=64)
    return config, tf.Kimi_K25Processor(images, tok, tf.Kimi_K25VideoProcessor(), tok.chat_template)


@family
def muse_glimmer() -> Built:
    tok = tokenizer("<|image_start|><|patch|><|image_end|>", MUSE)
    config = tf.MuseGlimmerConfig(
        text_config=text(tok, head_dim=8, **{**WINDOWS, "sliding_window": 8}),
        vision_config={**FREE_SIZE, "pos_emb_height": 8, "pos_emb_width": 8},
        image_token_id=tok.image_token_id,
        video_token_id=tok.video_token_id,
        out_hidden_size=4 * HIDDEN,
        projector_hidden_size=48,
    )
    images = tf.MuseGlimmerImageProcessor(max_image_tokens=16)
    return config, tf.MuseGlimmerProcessor(images, tf.MuseGlimmerVideoProcessor(), tok, tok.chat_template)


@family
def minimax_m3_vl() -> Built:
    kind = tf.MiniMaxM3VLProcessor
    named = {
        "image_token": kind.IMAGE_TOKEN,
        "video_token": kind.VIDEO_TOKEN,
        "a": kind.VISION_START_TOKEN,
        "b": kind.VISION_END_TOKEN,
    }
    tok = tokenizer(kind.IMAGE_TOKEN, named)
    config = tf.MiniMaxM3VLConfig(
        text_config=text(
            tok,
            head_dim=8,
            rotary_dim=4,
            num_local_experts=4,
            num_experts_per_tok=2,
            dense_intermediate_size=64,
            shared_intermediate_size=32,
            index_head_dim=8,
            index_n_heads=2,
            index_block_size=8,
            index_topk_blocks=2,
            layer_types=["full_attention", "minimax_m3_sparse"] * 2,
        ),
        vision_config={**VISION, "image_size": 112},
        image_token_index=tok.image_token_id,
        video_token_index=tok.video_token_id,
        projector_hidden_size=48,
    )
    images = tf.MiniMaxM3VLImageProcessor(size=PIXELS)
    return config, kind(images, tok, tf.MiniMaxM3VLVideoProcessor(), tok.chat_template)


@family
def inkling2() -> Built:
    tok = tokenizer("<image>", IMAGE)
    config = tf.Inkling2Config(
        text_config=text(
            tok,
            unpadded_vocab_size=len(tok),
            head_dim=8,
            swa_head_dim=8,
            sliding_window_size=8,
            d_rel=4,
            rel_extent=16,
            layer_types=["hybrid_sliding", "hybrid"] * 2,
            n_layers_per_attn_res_block=2,
            moe_intermediate_size=32,
            n_routed_experts=4,
            num_experts_per_tok=2,
        ),
        vision_config={
            **FREE_SIZE,
            "patch_size": 20,
            "posemb_grid_size": 8,
            "projection_hidden_dim": 48,
            "text_hidden_size": HIDDEN,
        },
        image_token_id=tok.image_token_id,
    )
    return config, tf.Inkling2Processor(tf.Inkling2ImageProcessor(), tok, tok.chat_template)


@family
def inkling2_loop() -> Built:
    """Some layers run several times over."""
    config, processor = inkling2()
    looped = {
        key: value for key, value in config.text_config.to_dict().items() if key not in {"model_type", "architectures"}
    }
    loop = {"loop_layer_index_start": 2, "loop_layer_index_end": 4, "loop_num_passes": 2, "loop_gate_rank": 4}
    return tf.Inkling2LoopConfig(
        text_config={**looped, **loop, "n_layers_per_attn_res_block": 2},
        vision_config=config.vision_config.to_dict(),
        image_token_id=config.image_token_id,
    ), processor


@family
def inkling_mm_model() -> Built:
    named = {**IMAGE, "audio_token": "<audio>", "a": "<|content_image|>", "b": "<|content_audio_input|>"}
    tok = tokenizer("<|content_image|><image>", named)
    config = tf.InklingConfig(
        text_config=text(
            tok,
            unpadded_vocab_size=len(tok),
            head_dim=8,
            swa_num_attention_heads=4,
            swa_num_key_value_heads=2,
            swa_head_dim=8,
            sliding_window_size=8,
            d_rel=4,
            rel_extent=16,
            layer_types=["hybrid_sliding", "hybrid"] * 2,
            mlp_layer_types=["dense", "sparse", "sparse", "sparse"],
            logits_mup_width_multiplier=1.0,
            **EXPERTS,
        ),
        vision_config={"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2},
        audio_config={"n_mel_bins": 4, "mel_vocab_size": 8},
        image_token_id=tok.image_token_id,
        audio_token_id=tok.audio_token_id,
        image_bos_token_id=token_id(tok, "<|content_image|>"),
        audio_bos_token_id=token_id(tok, "<|content_audio_input|>"),
    )
    return config, tf.InklingProcessor(tf.InklingFeatureExtractor(), tf.InklingImageProcessor(), tok, tok.chat_template)


@family
def muse_spark() -> Built:
    named = {
        **MUSE,
        "audio_token": "<|audio|>",
        "audio_start_token": "<|soft_audio_start|>",
        "audio_end_token": "<|soft_audio_end|>",
    }
    tok = tokenizer("<|patch|>", named)
    config = tf.MuseSparkConfig(
        text_config=text(
            tok,
            head_dim=8,
            moe_intermediate_size=32,
            moe_hidden_size=16,
            qk_scale_factor=1.0,
            num_local_experts=4,
            num_experts_per_tok=2,
            **{**WINDOWS, "sliding_window": 8},
        ),
        vision_config={**FREE_SIZE, "pos_emb_height": 8, "pos_emb_width": 8},
        audio_config={
            "patch_sizes": [4],
            "hidden_sizes": [16],
            "depths": [1],
            "num_hidden_layers": 1,
            "out_hidden_size": HIDDEN,
        },
        image_token_id=tok.image_token_id,
        video_token_id=tok.video_token_id,
        audio_token_id=tok.audio_token_id,
        out_hidden_size=4 * HIDDEN,
        projector_hidden_size=48,
    )
    images = tf.MuseGlimmerImageProcessor(max_image_tokens=16)
    return config, tf.MuseSparkProcessor(
        images, tf.MuseGlimmerVideoProcessor(), tok, tf.MuseSparkFeatureExtractor(), tok.chat_template
    )


@family
def nemotron_h_omni() -> Built:
    """Each layer is one of attention, a carried state (Mamba 2) or an MLP."""
    named = {
        **IMAGE,
        "video_token": "<video>",
        "audio_token": "<so_embedding>",
        "image_start_token": "<img>",
        "image_end_token": "</img>",
    }
    tok = tokenizer("<image>", named)
    config = tf.NemotronH_Omni_Reasoning_V3_Config(
        text_config=text(
            tok,
            model_type="nemotron_h",
            head_dim=8,
            layers_block_type=["linear_attention", "full_attention", "moe", "mlp"],
            ssm_state_size=8,
            mamba_num_heads=4,
            mamba_head_dim=8,
            n_groups=2,
            chunk_size=8,
            n_routed_experts=4,
            moe_intermediate_size=32,
            moe_shared_expert_intermediate_size=32,
        ),
        vision_config={
            **{key: value for key, value in FREE_SIZE.items() if key != "intermediate_size"},
            "model_type": "radio",
            "image_size": 56,
            "max_img_size": 224,
            "video_temporal_patch_size": 2,
        },
        audio_config=None,
        vision_hidden_size=32,
        projector_hidden_size=48,
        image_token_id=tok.image_token_id,
        video_token_id=tok.video_token_id,
        audio_token_id=tok.audio_token_id,
    )
    images = tf.NemotronH_Omni_Reasoning_V3ImageProcessor(patch_size=14, min_num_patches=4, max_num_patches=64)
    return config, tf.NemotronH_Omni_Reasoning_V3Processor(
        images, tf.NemotronH_Omni_Reasoning_V3VideoProcessor(), tok, tf.ParakeetFeatureExtractor(), tok.chat_template
    )
