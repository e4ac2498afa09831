"""What clients of OpenAI, Infinity and vLLM send, and what they get: the vectors that `encode` gives."""

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import numpy as np
import pytest
from commands import ROOT
from PIL import Image
from serving_at_hand import Colors, Served, data_uri, message, picture, png, serving, vectors_of

import conditional_image_embeddings as cie
from conditional_image_embeddings.engine.texts import text_prompt
from conditional_image_embeddings.methods.request import Request

pytestmark = pytest.mark.usefixtures("checked_once")

if TYPE_CHECKING:
    from openai import OpenAI

PICTURES = [picture(seed) for seed in range(4)]
URIS = [data_uri(each) for each in PICTURES]
PAIR = ["car color", "car model"]


@pytest.fixture(scope="module")
def model() -> Iterator[cie.Embedder]:
    with cie.load("builtin", device="cpu") as embedder:
        yield embedder


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving(lambda: cie.load("builtin", device="cpu")) as running:
        yield running


@pytest.fixture(scope="module")
def client(served: Served) -> Iterator[httpx2.Client]:
    with served.client() as asking:
        yield asking


@pytest.fixture(scope="module")
def official(served: Served) -> "Iterator[OpenAI]":
    import openai

    with openai.OpenAI(base_url=f"{served.address}v1", api_key="none", max_retries=0) as asking:
        yield asking


def test_the_official_client_works(official: "OpenAI", model: cie.Embedder) -> None:
    import openai

    offline = model.encode(PICTURES, PAIR)
    for encoding in ("float", "base64", None):
        how = {} if encoding is None else {"encoding_format": encoding}
        found = official.embeddings.create(model="colors", input=URIS, extra_body={"conditions": PAIR}, **how)
        assert [each.index for each in found.data] == [0, 0, 1, 1, 2, 2, 3, 3]
        told: list[Any] = list(found.data)  # its types know neither conditions nor base64
        assert [each.condition for each in told] == PAIR * 4
        vectors = [
            np.frombuffer(base64.b64decode(each.embedding), "<f4")
            if isinstance(each.embedding, str)
            else each.embedding
            for each in told
        ]
        np.testing.assert_allclose(np.array(vectors, np.float32).reshape(offline.shape), offline, atol=1e-5)
    assert found.model == "colors"
    assert [each.id for each in official.models.list()] == ["colors"]
    assert official.models.retrieve("colors").id == "colors"
    texts = official.embeddings.create(model="colors", input=["red", "blue"], dimensions=5)
    expected = model.encode_text(["red", "blue"], truncate_dim=5)
    np.testing.assert_allclose([each.embedding for each in texts.data], expected, atol=1e-5)
    with pytest.raises(openai.NotFoundError, match="no model"):
        official.embeddings.create(model="gpt", input="red")
    with pytest.raises(openai.BadRequestError, match="image 1 is no image"):
        official.embeddings.create(model="colors", input=[URIS[0], data_uri(b"none")])
    with pytest.raises(openai.UnprocessableEntityError, match="token ids are not taken"):
        official.embeddings.create(model="colors", input=[1, 2, 3])


def test_what_the_page_shows_of_that_client_runs(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.jpg").write_bytes(PICTURES[0])
    (shown,) = re.findall(r"```py\n(.*?)```", (ROOT / "docs" / "serving.md").read_text(), re.DOTALL)
    shown = shown.replace("http://127.0.0.1:8900/", served.address).replace('model="builtin"', 'model="colors"')
    exec(compile(shown, "serving.md", "exec"), {})
    assert re.fullmatch(r"\[(\d+), \1\]\n", capsys.readouterr().out)


URI = URIS[0]
MESSAGE = {"type": "image_url", "image_url": {"url": URI}}
FORMS = {
    "data uri": {"input": URI, "condition": "car color"},
    "list": {"input": [URI], "condition": "car color"},
    "object": {"input": {"image": URI}, "condition": "car color"},
    "base64": {"input": [{"image": URI.partition(",")[2]}], "condition": "car color"},
    "conditions": {"input": URI, "conditions": ["car color"]},
    "modality": {"input": [URI], "modality": "image", "condition": "car color"},
    "modality base64": {"input": [URI.partition(",")[2]], "modality": "image", "condition": "car color"},
    "messages": {"messages": [{"role": "user", "content": [MESSAGE, {"type": "text", "text": "car color"}]}]},
    "messages, condition": {"messages": [{"role": "user", "content": [MESSAGE]}], "condition": "car color"},
    "broken lines": {
        "input": {"image": base64.encodebytes(PICTURES[0]).decode()},
        "condition": " Car  color "[1:-1].lower(),
    },
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_means_the_image_under_the_condition(form: str, client: httpx2.Client, model: cie.Embedder) -> None:
    found = vectors_of(client.post("/v1/embeddings", json=FORMS[form]))
    np.testing.assert_allclose(found, [model.encode(PICTURES[0], "car color")], atol=1e-5)


def test_texts_and_images_mix_and_null_is_no_condition(client: httpx2.Client, model: cie.Embedder) -> None:
    asked = {"input": [{"text": "red"}, URI, "blue", {"image": URIS[1]}], "conditions": [None, "car color"]}
    found = vectors_of(client.post("/v1/embeddings", json=asked)).reshape(4, 2, -1)
    conditions = [None, "car color"]
    np.testing.assert_allclose(found[[1, 3]], model.encode(PICTURES[:2], conditions), atol=1e-5)
    np.testing.assert_allclose(found[[0, 2]], model.encode_text(["red", "blue"], conditions), atol=1e-5)
    said = {"messages": [{"role": "user", "content": "red"}]}
    np.testing.assert_allclose(
        vectors_of(client.post("/v1/embeddings", json=said)), model.encode_text(["red"]), atol=1e-5
    )


def test_options_are_those_of_encode(client: httpx2.Client, model: cie.Embedder) -> None:
    asked = {"input": URI, "condition": "car color", "prompt_type": "express", "layer": -2, "token": -2,
             "dimensions": 16, "normalize": True}  # fmt: skip
    expected = model.encode(PICTURES[0], "car color", prompt_type="express", layer=-2, token=-2, truncate_dim=16,
                            normalize_embeddings=True)  # fmt: skip
    np.testing.assert_allclose(vectors_of(client.post("/v1/embeddings", json=asked)), [expected], atol=1e-5)


def test_usage_counts_the_tokens_of_every_prompt_whatever_is_shared(client: httpx2.Client) -> None:
    def usage(given: list[Any], *conditions: str | None) -> int:
        answer = client.post("/v1/embeddings", json={"input": given, "conditions": conditions}).json()["usage"]
        assert answer["prompt_tokens"] == answer["total_tokens"]
        return int(answer["total_tokens"])

    dior: Any = cie.load("builtin", device="cpu")
    image = dior.read(PICTURES[0])
    for condition in (*PAIR, None):
        asked = Request(conditions=(condition,))
        own = [len(dior.lvlm.chat.text_ids(text_prompt(text, condition))) for text in ("red", "a blue car")]
        assert usage(URIS[:1], condition) == sum(dior.prepare(image, asked).lengths)
        assert usage(["red"], condition) == own[0] == dior.text_tokens(["red"], asked)[0]
        assert usage([URIS[0], "red", "a blue car"], condition) == usage(URIS[:1], condition) + sum(own)
    for given in (URIS[:2], ["red", "a blue car"]):
        assert usage(given, *PAIR, None) == sum(usage(given, condition) for condition in (*PAIR, None)) > 0


def test_words_are_those_of_the_model(client: httpx2.Client, model: cie.Embedder) -> None:
    answer = client.post("/v1/words", json={"input": URIS[:2], "conditions": PAIR, "k": 3})
    found = [[(each["word"], each["probability"]) for each in row["words"]] for row in answer.json()["data"]]
    expected = [words for of_image in model.words(PICTURES[:2], PAIR, k=3) for words in of_image]
    assert [[word for word, _ in row] for row in found] == [[word for word, _ in row] for row in expected]
    np.testing.assert_allclose([p for row in found for _, p in row], [p for row in expected for _, p in row], atol=1e-5)
    assert "words are told of images" in message(client.post("/v1/words", json={"input": "red"}))


def test_the_smallest_image_is_one(client: httpx2.Client, model: cie.Embedder) -> None:
    pixel = png(Image.new("RGB", (1, 1), "red"))
    found = vectors_of(client.post("/v1/embeddings", json={"input": data_uri(pixel), "condition": "car color"}))
    np.testing.assert_allclose(found, [model.encode(pixel, "car color")], atol=1e-5)


REFUSED = [
    ({"input": data_uri(b"")}, 400, "image 0 is empty"),
    ({"input": [URI, data_uri(b"<svg/>")]}, 400, "image 1 is no image"),
    ({"input": data_uri(png(Image.new("1", (20_000, 20_000))))}, 400, "pixels"),
    ({"input": URI, "conditions": ["color"] * 10_000}, 400, "at most 64"),
    ({"input": URI, "conditions": []}, 422, "conditions"),
    ({"input": URI, "condition": " "}, 400, "condition is empty"),
    ({"input": URI, "condition": "x" * 501}, 400, "at most 500"),
    ({"input": URI, "condition": 5}, 422, "condition"),
    ({"input": URI, "condition": "a", "conditions": ["b"]}, 400, "said twice"),
    ({"input": URI, "condition": "half \ud800"}, 422, "half of a character pair"),
    ({"input": "half \ud800"}, 422, "half of a character pair"),
    ({"\ud800": 1, "input": "a"}, 422, ""),
    ({"input": URI, "prompt_type": "sing"}, 400, "unknown prompt type"),
    ({"input": URI, "layer": 99}, 400, "layer"),
    ({"input": URI, "token": -5000}, 400, "token"),
    ({"input": URI, "dimensions": 0}, 422, "dimensions"),
    ({"input": URI, "dimensions": 100_000}, 400, "dimensions is 100000"),
    ({"input": URI, "encoding_format": "hex"}, 422, "encoding_format"),
    ({"input": URI, "surprise": 1}, 422, "surprise"),
    ({"input": [URI] * 65}, 400, "at most 64"),
    ({"input": []}, 422, "input"),
    ({"input": None}, 400, "either input or messages"),
    ({}, 400, "either input or messages"),
    ({"input": ""}, 400, "text 0 is empty"),
    ({"input": "x" * 20_000}, 400, "at most 10000"),
    ({"input": [1, 2, 3]}, 422, "token ids are not taken"),
    ({"input": [[1, 2], [3]]}, 422, "token ids are not taken"),
    ({"input": 5}, 422, "input"),
    ({"input": [{"image": URI, "text": "red"}]}, 422, "input"),
    ({"input": "not base64!", "modality": "image"}, 400, "no base64"),
    ({"input": "data:image/png;base64"}, 400, "without a comma"),
    ({"input": {"image": "http://169.254.169.254/latest"}}, 400, "URLs are not fetched"),
    ({"input": {"image": "file:///etc/passwd"}}, 400, "no base64"),
    ({"input": {"image": "/etc/passwd"}}, 400, ""),
    ({"messages": [{"role": "system", "content": "red"}]}, 422, "role"),
    ({"messages": [{"role": "user", "content": [MESSAGE, MESSAGE]}]}, 400, "one image"),
    ({"messages": [{"role": "user", "content": []}]}, 400, "one image"),
    ({"messages": [{"role": "user", "content": [{"type": "text", "text": "color"}, MESSAGE]}]}, 400, "after the image"),
    ({"messages": [], "input": None}, 422, "messages"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "status", "said"), REFUSED)
def test_what_is_wrong_is_said_in_one_line(body: dict, status: int, said: str, client: httpx2.Client) -> None:
    answer = client.post("/v1/embeddings", content=json.dumps(body), headers={"Content-Type": "application/json"})
    assert answer.status_code == status, answer.text
    assert said in message(answer)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"[" * 100_000, b'{"input": NaN}', b"\xff\xfe", b'"a"'])
def test_what_is_no_request_is_refused(body: bytes, client: httpx2.Client) -> None:
    for kind in ("application/json", "text/plain"):
        answer = client.post("/v1/embeddings", content=body, headers={"Content-Type": kind})
        assert answer.status_code in {400, 422}
        assert message(answer)


def test_a_poisonous_image_fails_its_own_request_only(client: httpx2.Client) -> None:
    embedder = Colors()
    with serving(lambda: embedder) as running, running.client() as asking:
        answer = asking.post("/v1/embeddings", json={"input": data_uri(png(Image.new("RGB", (8, 8), (1, 2, 3))))})
        assert answer.status_code == 400
        assert "makes the model fail: RuntimeError: this picture is poison" in message(answer)
        answer = asking.post("/v1/embeddings", json={"input": "poison"})
        assert answer.status_code == 400
        assert "the model fails on what was sent" in message(answer)
        assert asking.post("/v1/embeddings", json={"input": [URI, "red"]}).status_code == 200
        assert asking.get("/health").status_code == 200
