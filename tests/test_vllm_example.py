"""The script that compares vLLM's vectors with ours, against a stand-in that takes what vLLM's server takes.

The stand-in is no vLLM: it knows the fields of its requests, and answers with this library's own vectors.
"""

import base64
import http.server
import json
import runpy
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import ROOT
from serving_at_hand import picture

import conditional_image_embeddings as cie

FIELDS = {"model", "messages", "add_generation_prompt", "chat_template_kwargs", "use_activation", "encoding_format"}
SCRIPT = runpy.run_path(str(ROOT / "examples" / "vllm_vectors.py"))


@contextmanager
def stand_in(embedder: Any, scale: bool) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server, and what it was asked; `scale` to unit length, as vLLM does where it was not told otherwise."""
    asked: list[dict[str, Any]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append({"path": self.path, **body})
            image, text = body["messages"][0]["content"]
            condition = text["text"].removeprefix("Describe this image in one word regarding ").removesuffix(': "')
            data = base64.b64decode(image["image_url"]["url"].partition(",")[2])
            vector = embedder.encode(data, condition)
            vector = vector / np.linalg.norm(vector) if scale else vector
            answer = {"data": [{"index": 0, "embedding": vector.tolist()}], "usage": {"prompt_tokens": 7}}
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("scale", [False, True])
def test_vectors_are_compared_and_what_was_scaled_shows(
    scale: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.png").write_bytes(picture(3, (900, 300)))
    with cie.load("builtin", device="cpu") as embedder, stand_in(embedder, scale) as (url, asked):
        SCRIPT["compare"](url, "builtin", str(tmp_path / "a.png"), "car color", "car model")
        ours = embedder.encode(tmp_path / "a.png", ["car color", "car model"])
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["cosine", "length", "tokens", "theirs", "condition"]
    for row, vector, condition in zip(rows, ours, ("car color", "car model"), strict=True):
        cosine, length, tokens, theirs, *words = row.split()
        assert float(cosine) == pytest.approx(1, abs=1e-5)
        assert float(length) == pytest.approx(1 / np.linalg.norm(vector) if scale else 1, abs=1e-3)
        assert int(tokens) > 16
        assert int(theirs) == 7
        assert " ".join(words) == condition
    for body in asked:
        assert body.pop("path") == "/v1/embeddings"
        assert body.keys() == FIELDS
        assert body["add_generation_prompt"] is True
        assert body["use_activation"] is False
        kinds = [each["type"] for each in body["messages"][0]["content"]]
        assert kinds == ["image_url", "text"]


def test_the_page_shows_the_request_of_the_script(capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "docs" / "vllm.md").read_text()
    shown = json.loads(page.split("```json\n")[1].split("```")[0])
    SCRIPT["show"]("car color")
    asked = json.loads(capsys.readouterr().out)
    assert shown["messages"][0]["content"][1] == asked["messages"][0]["content"][1]
    assert {key: value for key, value in shown.items() if key != "messages"} == {
        key: value for key, value in asked.items() if key not in {"messages", "chat_template_kwargs"}
    }
