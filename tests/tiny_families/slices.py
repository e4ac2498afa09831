"""Images cut into tiles whose tokens are laid out in ways of their own; some cannot be put into one batch."""

import transformers as tf
from tiny_models import token_id, tokenizer

from tiny_families.parts import EXPERTS, HIDDEN, IMAGE, ROPE, SAM, SIGLIP, SQUARE, VISION, Built, family, text
from tiny_families.positions import hybrid_text


@family
def granite4_vision() -> Built:
    tok = tokenizer("<image>", IMAGE)
    pinpoints = [[56, 112], [112, 56], [112, 112]]
    config = tf.Granite4VisionConfig(
        text_config=text(tok, rope_parameters=dict(ROPE)),
        vision_config={**SIGLIP, "hidden_size": 64},  # the Q-Former has a head for each 64
        qformer_config={"model_type": "blip_2_qformer", "num_hidden_layers": 1, "intermediate_size": 48},
        image_token_index=token_id(tok, "<image>"),
        image_grid_pinpoints=pinpoints,
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
        image_seq_length=16,
        downsample_rate="2/4",
        deepstack_layer_map=[[-1, 1]],
        spatial_target_layers=[0, 0, 0, 0],
    )
    images = tf.LlavaNextImageProcessor(size={"shortest_edge": 56}, crop_size=SQUARE, image_grid_pinpoints=pinpoints)
    return config, tf.Granite4VisionProcessor(
        images,
        tok,
        patch_size=14,
        vision_feature_select_strategy="full",
        downsample_rate="2/4",
        chat_template=tok.chat_template,
    )


@family
def granite_docling() -> Built:
    tiles = {f"tile_{r}_{c}": f"<row_{r}_col_{c}>" for r in range(1, 4) for c in range(1, 4)}
    named = {"fake_image_token": "<fake_token_around_image>", **IMAGE, "global_image_token": "<global-img>", **tiles}
    tok = tokenizer("<image>", named)
    config = tf.GraniteDoclingConfig(
        text_config=text(
            tok, rope_parameters=dict(ROPE), embedding_multiplier=1, residual_multiplier=1, attention_multiplier=0.35
        ),
        vision_config={
            **VISION,
            "out_hidden_size": HIDDEN,
            "scale_factor": 2,
            "deepstack_visual_indexes": [0],
            "use_fine_route": False,
        },
        image_token_id=token_id(tok, "<image>"),
        pad_token_id=1,
    )
    images = tf.GraniteDoclingImageProcessor(size=SQUARE, max_patches=4)
    return config, tf.GraniteDoclingProcessor(images, tok, image_seq_len=4, chat_template=tok.chat_template)


@family
def molmo2() -> Built:
    named = {
        "image_token": "<|image|>",
        "video_token": "<|video|>",
        **{
            name: f"<{name}>"
            for name in (
                "im_patch",
                "im_col",
                "im_start",
                "low_res_im_start",
                "frame_start",
                "im_end",
                "frame_end",
                "im_low",
            )
        },
    }
    tok = tokenizer("<|image|>", named)
    config = tf.Molmo2Config(
        text_config=text(tok, head_dim=8, additional_vocab_size=8, rope_parameters=dict(ROPE)),
        vision_config={
            **VISION,
            "image_size": [56, 56],
            "head_dim": 16,
            "num_key_value_heads": 2,
            "num_position_embeddings": 16,
        },
        adapter_config={
            "vision_feature_layer": [-1],
            "hidden_size": 32,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "intermediate_size": 48,
            "text_hidden_size": HIDDEN,
        },
        image_start_token_id=token_id(tok, "<im_start>"),
        low_res_image_start_token_id=token_id(tok, "<low_res_im_start>"),
        image_end_token_id=token_id(tok, "<im_end>"),
        image_patch_id=token_id(tok, "<im_patch>"),
        frame_start_token_id=token_id(tok, "<frame_start>"),
        frame_end_token_id=token_id(tok, "<frame_end>"),
    )
    images = tf.Molmo2ImageProcessor(size=SQUARE, max_crops=4, overlap_margins=[1, 1])
    return config, tf.Molmo2Processor(images, tf.Molmo2VideoProcessor(), tok, chat_template=tok.chat_template)


@family
def minicpmv4_6() -> Built:
    named = {
        **IMAGE,
        "video_token": "<video>",
        **{
            f"{name}_token": f"<{name}>"
            for name in ("image_start", "image_end", "slice_start", "slice_end", "image_id_start", "image_id_end")
        },
    }
    tok = tokenizer("<image>", named)
    config = tf.MiniCPMV4_6Config(
        text_config=text(tok, model_type="qwen3", head_dim=8),
        vision_config={**VISION, "insert_layer_id": 0},
        insert_layer_id=0,
        image_size=112,
        image_token_id=tok.image_token_id,
        video_token_id=tok.video_token_id,
    )
    images = tf.MiniCPMV4_6ImageProcessor(scale_resolution=112, max_slice_nums=2)
    return config, tf.MiniCPMV4_6Processor(images, tf.MiniCPMV4_6VideoProcessor(), tok, tok.chat_template)


@family
def minicpmv4_7() -> Built:
    config, processor = minicpmv4_6()
    config = tf.MiniCPMV4_7Config(
        text_config=hybrid_text(processor.tokenizer, model_type="qwen3_5_text"),
        vision_config={**VISION, "insert_layer_id": 0},
        insert_layer_id=0,
        image_size=112,
        image_token_id=config.image_token_id,
        video_token_id=config.video_token_id,
    )
    return config, tf.MiniCPMV4_7Processor(
        processor.image_processor, processor.video_processor, processor.tokenizer, processor.chat_template
    )


@family
def minicpm_ocr() -> Built:
    config, processor = minicpmv4_6()
    return tf.MiniCPMOcrConfig(
        text_config=config.text_config.to_dict(),
        vision_config={**VISION, "insert_layer_id": 0},
        insert_layer_id=0,
        image_token_id=config.image_token_id,
        video_token_id=config.video_token_id,
    ), tf.MiniCPMOcrProcessor(
        tf.MiniCPMOcrImageProcessor(scale_resolution=56, max_slice_nums=2),
        tf.MiniCPMOcrVideoProcessor(),
        processor.tokenizer,
        processor.chat_template,
    )


@family
def step3p7() -> Built:
    tok = tokenizer(
        "<im_patch>",
        {n: f"<{n}>" for n in ("im_patch", "im_start", "im_end", "patch_start", "patch_end", "patch_newline")},
    )
    config = tf.Step3p7Config(
        text_config=text(
            tok,
            head_dim=8,
            sliding_window=8,
            layer_types=["sliding_attention", "full_attention"] * 2,
            num_local_experts=4,
            n_routed_experts=4,
            num_experts_per_tok=2,
            moe_intermediate_size=32,
            share_expert_dim=32,
        ),
        vision_config={**VISION, "image_size": 112, "max_position_embeddings": 64},
        image_token_id=token_id(tok, "<im_patch>"),
    )
    images = tf.Step3p7ImageProcessor(size={"height": 112, "width": 112}, patch_size=56)
    return config, tf.Step3p7Processor(images, tok, tok.chat_template)


@family
def deepseek_ocr2() -> Built:
    tok = tokenizer("<image>", IMAGE)
    sam = {**SAM, "image_size": 1024, "patch_size": 16, "downsample_channels": [16, 32]}
    encoder = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
    }
    config = tf.DeepseekOcr2Config(
        text_config=text(
            tok,
            mlp_layer_types=["dense", "sparse", "sparse", "sparse"],
            n_group=1,
            topk_group=1,
            rope_parameters=dict(ROPE),
            head_dim=8,
            **EXPERTS,
        ),
        vision_config={"sam_config": sam, "encoder_config": encoder},
        image_token_id=tok.image_token_id,
    )
    images = tf.DeepseekOcr2ImageProcessor(size={"height": 1024, "width": 1024}, crop_to_patches=False)
    return config, tf.DeepseekOcr2Processor(images, tok, tok.chat_template)


@family
def pp_chart2table() -> Built:
    """Its processor expands nothing: the chat template holds every token of the image."""
    tok = tokenizer("<img>" + "<imgpad>" * 16 + "</img>", {"image_token": "<imgpad>", "a": "<img>", "b": "</img>"})
    config = tf.PPChart2TableConfig(
        text_config=text(tok, model_type="qwen2"),
        vision_config={**SAM, "image_size": 256, "patch_size": 16},
        image_token_index=token_id(tok, "<imgpad>"),
    )
    images = tf.PPChart2TableImageProcessor(size={"height": 256, "width": 256})
    return config, tf.PPChart2TableProcessor(images, tok, chat_template=tok.chat_template)


@family
def unlimited_ocr() -> Built:
    """A window behind the prompt: what is read first stays in sight."""
    tok = tokenizer("<image>", IMAGE)
    sam = {**SAM, "image_size": 64, "patch_size": 4, "downsample_channels": [16, 32]}
    encoder = {**VISION, "image_size": 64, "patch_size": 16}
    config = tf.UnlimitedOcrConfig(
        text_config=text(
            tok,
            mlp_layer_types=["dense", "sparse", "sparse", "sparse"],
            sliding_window=8,
            rope_parameters=dict(ROPE),
            **EXPERTS,
        ),
        vision_config={"sam_config": sam, "encoder_config": encoder},
        image_token_id=tok.image_token_id,
    )
    images = tf.UnlimitedOcrImageProcessor(size={"height": 64, "width": 64}, tile_size=48, max_patches=4)
    return config, tf.UnlimitedOcrProcessor(images, tok, tok.chat_template, patch_size=4)
