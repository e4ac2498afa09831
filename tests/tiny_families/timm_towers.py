"""Vision towers of the package timm, in its own smallest architectures."""

import transformers as tf
from tiny_models import token_id, token_ids, tokenizer

from tiny_families.parts import IMAGE, ROPE, WINDOWS, Built, family, text

SIDE = {"height": 64, "width": 64}


@family
def fast_vlm() -> Built:
    tok = tokenizer("<image>", IMAGE)
    config = tf.FastVlmConfig(
        text_config=tf.Qwen2Config(**text(tok)),
        vision_config={"model_type": "timm_wrapper", "architecture": "test_convnext", "hidden_size": 64},
        image_token_index=token_id(tok, "<image>"),
        image_seq_length=4,
    )
    images = tf.CLIPImageProcessor(size={"shortest_edge": 64}, crop_size=SIDE)
    return config, tf.LlavaProcessor(
        images, tok, patch_size=32, vision_feature_select_strategy="full", chat_template=tok.chat_template
    )


@family
def perception_lm() -> Built:
    tok = tokenizer("<image>", {**IMAGE, "video_token": "<video>"})
    config = tf.PerceptionLMConfig(
        text_config=text(tok, model_type="llama", rope_parameters=dict(ROPE)),
        vision_config={
            "model_type": "timm_wrapper",
            "architecture": "test_vit",
            "model_args": {"img_size": 64, "embed_dim": 64},
        },
        projector_pooling_ratio=2,
        image_token_id=tok.image_token_id,
        video_token_id=tok.video_token_id,
    )
    images = tf.PerceptionLMImageProcessor(tile_size=64, max_num_tiles=4, size=SIDE)
    return config, tf.PerceptionLMProcessor(
        tf.PerceptionLMVideoProcessor(), images, tok, patch_size=16, chat_template=tok.chat_template
    )


@family
def gemma3n() -> Built:
    """Several streams a token (AltUp); the last layers reuse the keys and values of earlier ones."""
    named = {
        "image_token": "<image_soft_token>",
        "boi_token": "<start_of_image>",
        "eoi_token": "<end_of_image>",
        "audio_token": "<audio_soft_token>",
        "boa_token": "<start_of_audio>",
        "eoa_token": "<end_of_audio>",
    }
    tok = tokenizer("<image_soft_token>", named)
    config = tf.Gemma3nConfig(
        text_config=text(
            tok,
            head_dim=8,
            vocab_size_per_layer_input=len(tok),
            hidden_size_per_layer_input=8,
            laurel_rank=4,
            altup_num_inputs=2,
            num_kv_shared_layers=2,
            **WINDOWS,
        ),
        vision_config={
            "architecture": "test_efficientnet",
            "hidden_size": 256,
            "vocab_size": 4,
            "vocab_offset": len(tok),
        },
        audio_config={
            "hidden_size": 16,
            "vocab_size": 4,
            "vocab_offset": len(tok) + 4,
            "conf_num_attention_heads": 2,
            "conf_num_hidden_layers": 1,
            "sscp_conv_channel_size": [4, 4],
        },
        vision_soft_tokens_per_image=4,
        **token_ids(tok, named),
    )
    images = tf.SiglipImageProcessor(size=SIDE)
    return config, tf.Gemma3nProcessor(
        tf.Gemma3nAudioFeatureExtractor(), images, tok, tok.chat_template, image_seq_length=4
    )
