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
        sharing: "packed" (one pass for all conditions), "cached" (the prefix once, then all suffixes) or "plain" (a
            pass for each condition, where nothing else is exact).
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
    Family("glm4v", "GLM-4V", "glm4v", "packed"),
    Family("glm_ocr", "GLM-OCR", "glm_ocr", "packed"),
    Family("idefics2", "Idefics2", "idefics2", "cached", "sliding windows"),
    Family("idefics3", "Idefics3", "idefics3", "packed"),
    Family("smolvlm", "SmolVLM", "smolvlm", "packed"),
    Family("llava", "LLaVA", "llava", "packed"),
    Family("vipllava", "VipLLaVA", "vipllava", "packed"),
    Family("llava_next", "LLaVA-NeXT", "llava_next", "packed"),
    Family("llava_onevision", "LLaVA-OneVision", "llava_onevision", "packed"),
    Family("internvl", "InternVL", "internvl", "packed"),
    Family("aya_vision", "Aya Vision", "aya_vision", "cached", "sliding windows"),
    Family("mllama", "Llama 3.2 Vision", "mllama", "packed"),
    Family("mistral3", "Mistral Small 3", "mistral3", "packed"),
    Family("lfm2_vl", "LFM2-VL", "lfm2_vl", "cached", "convolutions"),
    Family("gemma3", "Gemma 3", "gemma3", "cached", "image tokens see each other"),
    Family("gemma3_window", "Gemma 3, longer than its window", "gemma3", "cached", "sliding windows"),
    Family("gemma4", "Gemma 4", "gemma4", "cached", "sliding windows"),
    Family("paligemma", "PaliGemma", "paligemma", "plain", "prefix-LM: the image sees the text behind it"),
)

_IN_THE_BOX = (
    {"name": "builtin", "kind": "in the box", "family": "idefics3", "exact": "packed"},
    {"name": "builtin-clip", "kind": "in the box", "family": "clip", "exact": "no condition"},
)


def describe() -> list[dict[str, str]]:
    """The models in the box and the families, as `cie models` prints them: `{name, kind, family, exact}`.

    `exact` says how the image is shared so that vectors stay those of a plain pass.
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
