"""Ask a vLLM server for DIOR's vectors, and hold them against this library's: see docs/vllm.md.

uv run python examples/vllm_vectors.py URL MODEL IMAGE CONDITION...    without: what would be asked of a rendered car
"""

import base64
import io
import json
import sys
from typing import Any

import httpx2
import numpy as np
from PIL import Image

import conditional_image_embeddings as cie
from conditional_image_embeddings.datasets.car_renderer import render, sample_scene
from conditional_image_embeddings.inputs.conditions import prompt
from conditional_image_embeddings.methods.request import Request


def asked(model: str, image: Image.Image, condition: str) -> dict[str, Any]:
    """The body for `/v1/embeddings`: the image first, then DIOR's prompt, ending as an answer begins."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")  # without loss: both models are to see the same pixels
    url = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": prompt(condition)}]
    return {
        "model": model,
        "messages": [{"role": "user", "content": content}],
        "add_generation_prompt": True,  # vLLM's default is False: the last token would be another
        "chat_template_kwargs": {"enable_thinking": False},  # templates without a thought do not look at it
        "use_activation": False,  # the hidden state itself, not scaled to unit length
        "encoding_format": "float",
    }


def compare(url: str, model: str, path: str, *conditions: str) -> None:
    """Print how near vLLM's vectors are to those of `encode`."""
    embedder: Any = cie.load(model)
    image = embedder.read(path)  # upright, in RGB, at most 700 pixels
    ours = embedder.encode(image, conditions)
    print("   cosine   length  tokens  theirs  condition")
    for condition, vector in zip(conditions, ours, strict=True):
        body = asked(model, image, condition)
        found = httpx2.post(f"{url.rstrip('/')}/v1/embeddings", json=body, timeout=300).raise_for_status().json()
        theirs = np.asarray(found["data"][0]["embedding"], np.float32)
        cosine = float(cie.similarity(theirs[None], vector[None])[0, 0])
        length = float(np.linalg.norm(theirs) / np.linalg.norm(vector))
        (tokens,) = embedder.prepare(image, Request(conditions=(condition,))).lengths
        print(f"{cosine:9.6f}{length:9.4f}{tokens:8}{found['usage']['prompt_tokens']:8}  {condition}")


def show(condition: str = "car color") -> None:
    """Print what `compare` would ask."""
    car = Image.fromarray(render(sample_scene(np.random.default_rng(5))))
    body = asked("Qwen/Qwen2.5-VL-7B-Instruct", car, condition)
    image = body["messages"][0]["content"][0]["image_url"]
    image["url"] = image["url"][:40] + "..."
    print(json.dumps(body, indent=2))


if __name__ == "__main__":
    compare(*sys.argv[1:]) if len(sys.argv) > 1 else show()
