"""Requests that work against any server of a model that takes conditions; the OpenAPI description shows them."""

from typing import Any

from .schemas import PIXEL

EMBEDDINGS: dict[str, Any] = {
    "conditions": {
        "summary": "An image under two conditions",
        "value": {"input": PIXEL, "conditions": ["car color", "car model"]},
    },
    "openai": {
        "summary": "OpenAI: texts",
        "value": {"input": ["a red car", "a blue car"], "encoding_format": "base64"},
    },
    "infinity": {
        "summary": "Infinity: images by their modality",
        "value": {"input": [PIXEL], "modality": "image"},
    },
    "objects": {
        "summary": "Images and texts",
        "value": {"input": [{"image": PIXEL}, {"text": "red"}], "condition": "car color", "normalize": True},
    },
    "vllm": {
        "summary": "vLLM: a message, whose text is the condition",
        "value": {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "image_url", "image_url": {"url": PIXEL}},
                        {"type": "text", "text": "car color"},
                    ],
                }
            ]
        },
    },
}
WORDS: dict[str, Any] = {
    "words": {"summary": "Words under a condition", "value": {"input": PIXEL, "condition": "car color", "k": 3}}
}
SEARCH: dict[str, Any] = {
    "text": {"summary": "Near to a text", "value": {"text": "red", "conditions": ["car color"], "k": 5}},
    "image": {
        "summary": "Like an image in color, unlike it in kind",
        "value": {
            "image": PIXEL,
            "conditions": [{"condition": "car color"}, {"condition": "car model", "weight": -0.5}],
        },
    },
}
