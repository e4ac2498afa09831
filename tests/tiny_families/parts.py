"""What the builders of several families share: sizes, special tokens, and the table that every builder enters."""

from collections.abc import Callable
from typing import Any

Built = tuple[Any, Any]  # config, processor

BUILDERS: dict[str, Callable[[], Built]] = {}


def family(build: Callable[..., Built]) -> Callable[..., Built]:
    """Enter a builder, which needs no arguments, into the table under its own name."""
    BUILDERS[build.__name__] = build
    return build


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
FREE_SIZE = {key: value for key, value in VISION.items() if key != "image_size"}
SIGLIP = {**VISION, "model_type": "siglip_vision_model", "vision_use_head": False}
CLIP = {**VISION, "model_type": "clip_vision_model"}
SAM = {**VISION, "output_channels": 16, "mlp_dim": 48, "window_size": 8, "global_attn_indexes": []}
SQUARE = {"height": 56, "width": 56}
WINDOWS = {"sliding_window": 12, "layer_types": ["sliding_attention", "full_attention"] * 2}
MROPE = {"rope_type": "default", "mrope_section": [2, 1, 1], "rope_theta": 10000.0}
ROPE = {"rope_type": "default", "rope_theta": 10000.0}
PIXELS = {"shortest_edge": 28 * 28, "longest_edge": 28 * 28 * 24}
MLA = {
    "kv_lora_rank": 16,
    "q_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "num_key_value_heads": 4,
}
EXPERTS = {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "n_shared_experts": 1}

IMAGE = {"image_token": "<image>"}
QWEN = {
    "image_token": "<|image_pad|>",
    "video_token": "<|video_pad|>",
    "vision_start_token": "<|vision_start|>",
    "vision_end_token": "<|vision_end|>",
}
MUSE = {
    "image_token": "<|patch|>",
    "image_start_token": "<|image_start|>",
    "image_end_token": "<|image_end|>",
    "video_token": "<|video|>",
    "video_sep_token": "<|vid_frame_separator|>",
    "video_start_token": "<|vid_start|>",
    "video_end_token": "<|vid_end|>",
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
