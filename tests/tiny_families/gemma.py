"""Gemma: windows, image tokens that see each other, prefix-LM."""

import transformers as tf
from tiny_models import token_id, token_ids, tokenizer

from tiny_families.parts import HIDDEN, IMAGE, SIGLIP, SQUARE, VISION, WINDOWS, Built, family, text


@family
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


@family
def gemma3_window() -> Built:
    """A window shorter than the prompts."""
    return gemma3(window=10)


@family
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


@family
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


@family
def gemma4_unified() -> Built:
    named = {
        "image_token": "<|image|>",
        "boi_token": "<|image>",
        "eoi_token": "<image|>",
        "video_token": "<|video|>",
        "audio_token": "<|audio|>",
        "boa_token": "<|audio>",
    }
    tok = tokenizer("<|image|>", {**named, "eoa_token": "<audio|>"})
    config = tf.Gemma4UnifiedConfig(
        text_config=text(tok, head_dim=8, global_head_dim=8, use_bidirectional_attention="vision", **WINDOWS),
        vision_config={
            "patch_size": 14,
            "pooling_kernel_size": 2,
            "mm_embed_dim": 32,
            "mm_posemb_size": 64,
            "output_proj_dims": HIDDEN,
        },
        audio_config=None,
        eoa_token_index=token_id(tok, "<audio|>"),
        **token_ids(tok, named),
    )
    images = tf.Gemma4UnifiedImageProcessor(patch_size=14, max_soft_tokens=70, pooling_kernel_size=2)
    return config, tf.Gemma4UnifiedProcessor(
        tf.Gemma4UnifiedAudioFeatureExtractor(),
        images,
        tok,
        tf.Gemma4UnifiedVideoProcessor(),
        chat_template=tok.chat_template,
    )
