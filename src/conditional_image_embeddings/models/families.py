"""The families of vision-language models that the tests run, and how each shares its image among conditions.

A record of what was measured, for readers and for `cie models`: the engine never reads it, and decides for any model by
`self_check`.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """A family, or a kind of configuration of one.

    Attributes:
        key: Its name in the tests.
        title: Its name for readers.
        model_type: What transformers calls it.
        sharing: "packed" (the prefix once, then all prompts in one row), "cached" (... then in a row each) or
            "separate" (a pass for each condition, where nothing else is exact).
        why: What in the architecture decides, where it is not plain causal attention.
    """

    key: str
    title: str
    model_type: str
    sharing: str
    why: str = ""


FAMILIES = (
    Family("qwen2_vl", "Qwen2-VL", "qwen2_vl", "packed"),
    Family("qwen2_5_vl", "Qwen2.5-VL", "qwen2_5_vl", "packed"),
    Family("qwen2_5_vl_sliding", "Qwen2.5-VL, sliding layers", "qwen2_5_vl", "cached", "sliding windows"),
    Family("qwen3_vl", "Qwen3-VL", "qwen3_vl", "packed"),
    Family("qwen3_vl_moe", "Qwen3-VL, mixture of experts", "qwen3_vl_moe", "packed"),
    Family("qwen3_5", "Qwen3.5", "qwen3_5", "cached", "linear attention"),
    Family("qwen3_5_moe", "Qwen3.5, mixture of experts", "qwen3_5_moe", "cached", "linear attention"),
    Family("qwen4_exp", "Qwen4 Exp", "qwen4_exp", "separate", "an indexer picks the keys"),
    Family("qwen2_5_omni_thinker", "Qwen2.5-Omni", "qwen2_5_omni_thinker", "packed"),
    Family("qwen3_omni_moe_thinker", "Qwen3-Omni", "qwen3_omni_moe_thinker", "packed"),
    Family("video_llama_3", "VideoLLaMA 3", "video_llama_3", "packed"),
    Family("hyperclovax_vision_v2", "HyperCLOVA X Vision", "hyperclovax_vision_v2", "packed"),
    Family("exaone4_5", "EXAONE 4.5", "exaone4_5", "cached", "sliding windows"),
    Family("cosmos3_edge", "Cosmos 3 Edge", "cosmos3_edge", "packed"),
    Family("cosmos3_omni", "Cosmos 3 Omni", "cosmos3_omni", "packed"),
    Family("glm4v", "GLM-4V", "glm4v", "packed"),
    Family("glm4v_moe", "GLM-4.5V", "glm4v_moe", "packed"),
    Family("glm46v", "GLM-4.6V", "glm46v", "packed"),
    Family("glmga", "GLM-GA", "glmga", "packed"),
    Family("glm5_next", "GLM-5 Next", "glm5_next", "separate", "an indexer picks the keys"),
    Family("glm_ocr", "GLM-OCR", "glm_ocr", "packed"),
    Family("ernie4_5_vl_moe", "ERNIE 4.5 VL", "ernie4_5_vl_moe", "packed"),
    Family("paddleocr_vl", "PaddleOCR-VL", "paddleocr_vl", "packed"),
    Family("hunyuan_vl", "HunyuanVL", "hunyuan_vl", "packed"),
    Family("hy_v4_vl", "Hunyuan V4", "hy_v4_vl", "separate", "an indexer picks the keys"),
    Family("dots3_note", "dots3 note", "dots3_note", "separate", "an indexer picks the keys"),
    Family("kimi_k25", "Kimi K2.5", "kimi_k25", "packed"),
    Family("idefics2", "Idefics2", "idefics2", "cached", "sliding windows"),
    Family("idefics3", "Idefics3", "idefics3", "packed"),
    Family("smolvlm", "SmolVLM", "smolvlm", "packed"),
    Family("granite_docling", "Granite Docling", "granite_docling", "packed"),
    Family("llava", "LLaVA", "llava", "packed"),
    Family("vipllava", "VipLLaVA", "vipllava", "packed"),
    Family("llava_next", "LLaVA-NeXT", "llava_next", "packed"),
    Family("llava_next_video", "LLaVA-NeXT-Video", "llava_next_video", "packed"),
    Family("granite4_vision", "Granite 4 Vision", "granite4_vision", "packed"),
    Family("llava_onevision", "LLaVA-OneVision", "llava_onevision", "packed"),
    Family("fast_vlm", "FastVLM", "fast_vlm", "packed"),
    Family("perception_lm", "PerceptionLM", "perception_lm", "packed"),
    Family("video_llava", "Video-LLaVA", "video_llava", "packed"),
    Family("internvl", "InternVL", "internvl", "packed"),
    Family("qianfan_ocr", "Qianfan-OCR", "qianfan_ocr", "packed"),
    Family("deepseek_vl", "DeepSeek-VL", "deepseek_vl", "packed"),
    Family("deepseek_vl_hybrid", "DeepSeek-VL, two towers", "deepseek_vl_hybrid", "packed"),
    Family("deepseek_ocr2", "DeepSeek-OCR 2", "deepseek_ocr2", "packed"),
    Family("unlimited_ocr", "Unlimited-OCR", "unlimited_ocr", "separate", "a window behind the prompt"),
    Family("got_ocr2", "GOT-OCR 2", "got_ocr2", "packed"),
    Family("pp_chart2table", "PP-Chart2Table", "pp_chart2table", "packed"),
    Family("janus", "Janus", "janus", "packed"),
    Family("aria", "Aria", "aria", "packed"),
    Family("ovis2", "Ovis2", "ovis2", "packed"),
    Family("molmo2", "Molmo 2", "molmo2", "packed"),
    Family("minicpmv4_6", "MiniCPM-V 4.6", "minicpmv4_6", "packed"),
    Family("minicpmv4_7", "MiniCPM-V 4.7", "minicpmv4_7", "cached", "linear attention"),
    Family("minicpm_ocr", "MiniCPM-OCR", "minicpm_ocr", "packed"),
    Family("step3p7", "Step 3.7", "step3p7", "cached", "sliding windows"),
    Family("aya_vision", "Aya Vision", "aya_vision", "cached", "sliding windows"),
    Family("cohere2_vision", "Command A Vision", "cohere2_vision", "cached", "sliding windows"),
    Family("cohere_compass", "Cohere Compass", "cohere_compass", "cached", "sliding windows"),
    Family("mllama", "Llama 3.2 Vision", "mllama", "packed"),
    Family("llama4", "Llama 4", "llama4", "cached", "chunks"),
    Family("muse_glimmer", "Muse Glimmer", "muse_glimmer", "cached", "sliding windows"),
    Family("muse_spark", "Muse Spark", "muse_spark", "cached", "sliding windows"),
    Family("chameleon", "Chameleon", "chameleon", "packed"),
    Family("emu3", "Emu3", "emu3", "packed"),
    Family("blip_2", "BLIP-2", "blip-2", "separate", "its forward wants the image in every pass"),
    Family("instructblip", "InstructBLIP", "instructblip", "separate", "the image is read under the prompt"),
    Family("idefics", "IDEFICS", "idefics", "separate", "its forward wants the image in every pass"),
    Family("fuyu", "Fuyu", "fuyu", "packed"),
    Family("apertus1p5", "Apertus 1.5", "apertus1p5", "packed"),
    Family("mistral3", "Mistral Small 3", "mistral3", "packed"),
    Family("mistral_large4", "Mistral Large 4", "mistral_large4", "separate", "an indexer picks the keys"),
    Family("lighton_ocr", "LightOnOCR", "lighton_ocr", "packed"),
    Family("lfm2_vl", "LFM2-VL", "lfm2_vl", "cached", "convolutions"),
    Family("lfm3_vl", "LFM3-VL", "lfm3_vl", "cached", "convolutions"),
    Family("nemotron_h_omni", "Nemotron H Omni", "nemotron_h_omni", "cached", "linear attention"),
    Family("inkling_mm_model", "Inkling", "inkling_mm_model", "cached", "sliding windows and convolutions"),
    Family("inkling2", "Inkling 2", "inkling2", "cached", "sliding windows and convolutions"),
    Family("inkling2_loop", "Inkling 2, looped", "inkling2_loop", "cached", "sliding windows and convolutions"),
    Family("minimax_m3_vl", "MiniMax M3", "minimax_m3_vl", "separate", "an indexer picks the keys"),
    Family("gemma3", "Gemma 3", "gemma3", "cached", "image tokens see each other"),
    Family("gemma3_window", "Gemma 3, longer than its window", "gemma3", "cached", "sliding windows"),
    Family("gemma3n", "Gemma 3n", "gemma3n", "cached", "sliding windows"),
    Family("gemma4", "Gemma 4", "gemma4", "cached", "sliding windows"),
    Family("gemma4_unified", "Gemma 4, no vision tower", "gemma4_unified", "cached", "sliding windows"),
    Family("paligemma", "PaliGemma", "paligemma", "separate", "prefix-LM: the image sees the text behind it"),
)

_IN_THE_BOX = (
    {"name": "builtin", "kind": "in the box", "family": "idefics3", "exact": "packed"},
    {"name": "builtin-clip", "kind": "in the box", "family": "clip", "exact": "no condition"},
)


def describe() -> list[dict[str, str]]:
    """The models in the box and the families, as `cie models` prints them: `{name, kind, family, exact}`.

    `exact` says how the image is shared so that vectors stay those of a separate pass.
    """
    return [
        *_IN_THE_BOX,
        *(
            {
                "name": family.title,
                "kind": "image-text-to-text",
                "family": family.model_type,
                "exact": f"{family.sharing} ({family.why})" if family.why else family.sharing,
            }
            for family in FAMILIES
        ),
    ]
