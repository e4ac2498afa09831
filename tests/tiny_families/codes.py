"""Images that become tokens of the vocabulary."""

import transformers as tf
from tiny_models import token_id, tokenizer

from tiny_families.parts import IMAGE, ROPE, Built, family, text


@family
def chameleon() -> Built:
    """The image becomes tokens of the vocabulary."""
    named = {**IMAGE, "boi_token": "<racm3:break>", "eoi_token": "<eoss>"}
    codes = {f"code_{i}": f"IMGIMG{'ABCDEFGHIJ'[i]}Z" for i in range(10)}
    tok = tokenizer("<image>", {**named, **codes}, chat=False)
    tok.sep_token = "</s>"  # noqa: S105 - no password
    vocabulary = {token: token_id(tok, token) for token in [*named.values(), *codes.values()]}
    config = tf.ChameleonConfig(
        **text(tok, rope_parameters=dict(ROPE)),
        vocabulary_map=vocabulary,
        vq_config={
            "embed_dim": 8,
            "num_embeddings": 10,
            "latent_channels": 8,
            "resolution": 32,
            "base_channels": 32,
            "channel_multiplier": [1, 1, 1],
            "num_res_blocks": 1,
        },
    )
    images = tf.ChameleonImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    return config, tf.ChameleonProcessor(images, tok, image_seq_length=64)


@family
def emu3() -> Built:
    named = {
        **IMAGE,
        "boi_token": "<|image start|>",
        "eoi_token": "<|image end|>",
        "image_wrapper_token": "<|image token|>",
        "eof_token": "<|extra_201|>",
        "eol_token": "<|extra_200|>",
    }
    codes = {f"code_{i}": f"<|visual token {i:06d}|>" for i in range(16)}
    tok = tokenizer("<image>", {**named, **codes})
    vocabulary = {token: token_id(tok, token) for token in [*named.values(), *codes.values()]}
    config = tf.Emu3Config(
        text_config=text(tok, rope_parameters=dict(ROPE)),
        vocabulary_map=vocabulary,
        vq_config={
            "codebook_size": 16,
            "base_channels": 32,
            "channel_multiplier": [1, 1, 1, 1],
            "num_res_blocks": 1,
            "hidden_size": 32,
            "attn_resolutions": [],
        },
    )
    images = tf.Emu3ImageProcessor(min_pixels=64 * 64, max_pixels=96 * 96)
    return config, tf.Emu3Processor(images, tok, chat_template=tok.chat_template)


@family
def apertus1p5() -> Built:
    named = {
        **IMAGE,
        "audio_token": "<audio>",
        "boi_token": "<|image start|>",
        "eoi_token": "<|image end|>",
        "image_wrapper_token": "<|image token|>",
        "eol_token": "<|eol|>",
        "boa_token": "<|audio start|>",
        "eoa_token": "<|audio end|>",
    }
    tok = tokenizer("<image>", named)
    images_start, codes, audio_codes = len(tok), 16, 4  # ids behind the tokenizer's own
    config = tf.Apertus1p5Config(
        text_config={
            **text(tok, rope_parameters=dict(ROPE)),
            "vocab_size": images_start + codes + audio_codes,
        },
        vision_config={
            "codebook_size": codes,
            "embed_dim": 8,
            "latent_channels": 8,
            "base_channels": 32,
            "channel_multiplier": [1, 1, 1, 1],
            "num_res_blocks": 1,
            "attn_resolutions": [],
        },
        audio_config={
            "model_type": "wavtokenizer_encoder",
            "codebook_size": audio_codes,
            "codebook_dim": 8,
            "hidden_size": 8,
            "num_filters": 4,
            "upsampling_ratios": [2, 2],
            "num_lstm_layers": 1,
            "decoder_hidden_size": 32,
            "decoder_num_layers": 1,
            "decoder_intermediate_size": 8,
        },
        image_token_id=tok.image_token_id,
        audio_token_id=tok.audio_token_id,
        image_token_offset=images_start,
        audio_token_offset=images_start + codes,
    )
    images = tf.Apertus1p5ImageProcessor(size={"min_pixels": 64 * 64, "max_pixels": 96 * 96}, spatial_factor=8)
    return config, tf.Apertus1p5Processor(images, tf.WavTokenizerFeatureExtractor(), tok, tok.chat_template)
