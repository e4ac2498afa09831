"""What those who run a server see: health, metrics, logs, options from the environment, an end that loses nothing."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from collections_at_hand import Cars
from commands import cie as command
from commands import error_of
from prometheus_client.parser import text_string_to_metric_families
from serving_at_hand import Colors, data_uri, message, picture, serving, until, vectors_of

import conditional_image_embeddings as cie
from conditional_image_embeddings.cli.serve import serve
from conditional_image_embeddings.models.checkpoint import Checkpoint
from conditional_image_embeddings.server.logs import JsonLines

pytestmark = pytest.mark.usefixtures("checked_once")

ASKED = {"input": data_uri(picture(0))}


def test_health_is_503_until_the_model_has_answered() -> None:
    loaded = threading.Event()
    embedder = Colors()
    embedder.gate.clear()

    def load() -> Colors:
        loaded.wait(60)
        return embedder

    with serving(load, wait=False) as running, running.client() as client:
        for moment in (loaded, embedder.gate):
            health = client.get("/health")
            assert (health.status_code, health.json()["status"]) == (503, "loading")
            answer = client.post("/v1/embeddings", json=ASKED)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
            assert "being loaded" in message(answer)
            assert client.get("/v1/models").json()["data"][0]["id"] == "colors"
            moment.set()
        until(lambda: client.get("/health").status_code == 200)
        told = client.get("/health").json()
        assert told["status"] == "ready"
        assert told["versions"]["conditional-image-embeddings"] == cie.__version__
        assert {"torch", "transformers"} <= told["versions"].keys()
        assert told["queue"] == {"waiting": 0, "room": 256}
        assert client.post("/v1/embeddings", json=ASKED).status_code == 200


def test_metrics_count_what_was_done() -> None:
    with serving() as running, running.client() as client:
        for _ in range(3):
            client.post("/v1/embeddings", json={**ASKED, "conditions": ["a", "b"]})
        client.post("/v1/embeddings", json={"input": ["red", "blue"]})
        client.post("/v1/embeddings", json={})
        client.get("/nowhere/that/has/a/name")
        text = client.get("/metrics").text
        found = {(sample.name, *sample.labels.values()): sample.value
                 for family in text_string_to_metric_families(text) for sample in family.samples}  # fmt: skip
        assert found["cie_requests_total", "/v1/embeddings", "200"] == 4
        assert found["cie_requests_total", "/v1/embeddings", "400"] == 1
        assert found["cie_requests_total", "other", "404"] == 1
        assert found["cie_images_total",] == 3
        assert found["cie_texts_total",] == 2
        assert found["cie_batch_images_count",] == 3
        assert found["cie_devices_ready",] == 1
        assert found["cie_queue_waiting",] == 0
        assert found["cie_requests_under_way",] == 1  # this one
        assert found["process_resident_memory_bytes",] > 0
        assert "that/has" not in text


def test_one_thread_runs_a_model_on_a_cpu() -> None:
    for threads, expected in ((None, 1), (3, 3)):
        before = {*threading.enumerate()}
        with serving(threads=threads) as running:
            until(lambda running=running: running.service.has_answered)  # type: ignore[misc]
            begun = [each.name for each in threading.enumerate() if each not in before]
            assert sum(name.startswith("model-") for name in begun) == expected


def test_search_is_that_of_the_collection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cars = Cars(tmp_path, 24, "car color", "car model")
    image = next((tmp_path / "datasets").rglob("*.png"), None) or next((tmp_path / "datasets").rglob("*.jpg"))
    loads: list[int] = []
    found = Checkpoint.find

    @wraps(found)
    def counted(*given: Any, **how: Any) -> Any:
        loads.append(1)
        return found(*given, **how)

    monkeypatch.setattr(Checkpoint, "find", counted)
    with serving(lambda: cie.load("builtin", device="cpu"), db=cars.db) as running, running.client() as client:
        loads.clear()
        known = cars.collection.image_ids("car color")[0]
        for asked, same in (
            ({"text": "red", "conditions": ["car color"]}, {"text": "red", "conditions": "car color"}),
            ({"image_id": known, "conditions": ["car color", {"condition": "car model", "weight": -0.5}], "k": 5},
             {"image_id": known, "conditions": {"car color": 1.0, "car model": -0.5}, "k": 5}),
            ({"image": data_uri(image.read_bytes()), "conditions": ["car model"], "cut": "auto"},
             {"image": image.read_bytes(), "conditions": "car model", "k": 20, "cut": "auto"}),
        ):  # fmt: skip
            answer = client.post("/v1/search", json=asked).json()
            assert not loads  # the model that is served is used
            expected = cars.collection.search(**same)
            loads.clear()
            assert [each["image_id"] for each in answer["data"]] == [each.image_id for each in expected]
            np.testing.assert_allclose([each["score"] for each in answer["data"]], [each.score for each in expected],
                                       atol=1e-5)  # fmt: skip
            assert answer["images"] == expected.images
        for asked, status, said in (
            ({"conditions": ["car color"]}, 400, "nothing to search for"),
            ({"text": "red", "conditions": ["fabric"]}, 404, "fabric"),
            ({"image": "nothing!"}, 400, "no base64"),
            ({"image": data_uri(b"none"), "conditions": ["car color"]}, 400, "no image"),
            ({"image_id": "none", "conditions": ["car color"]}, 404, "no vector"),
            ({"text": "red", "conditions": ["car color"], "where": "1=1; DROP TABLE images"}, 400, ""),
            ({"text": "red", "conditions": ["car color"], "k": 10**6}, 422, "k"),
        ):  # fmt: skip
            answer = client.post("/v1/search", json=asked)
            assert answer.status_code == status, answer.text
            assert said in message(answer)


@contextmanager
def process(*arguments: str, **environment: str) -> Iterator[tuple[subprocess.Popen, str]]:
    """`cie serve` as a user starts it, and its address."""
    run = [sys.executable, "-m", "conditional_image_embeddings", "serve", *arguments]
    started = subprocess.Popen(run, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment})
    try:
        assert started.stderr is not None
        line = next(each for each in started.stderr if "http://" in each)
        yield started, re.findall(r"http://\S+?/", line)[0]
    finally:
        started.kill()
        started.wait(30)


def test_sigterm_finishes_what_was_accepted_and_options_are_variables(tmp_path: Path) -> None:
    """With requests in flight; a key and logs as the environment says."""
    images = [data_uri(picture(seed, (600, 450))) for seed in range(12)]
    key = tmp_path / "key"
    key.write_text("secret\n")
    environment = {"CIE_SERVE_MODEL": "builtin", "CIE_SERVE_DEVICE": "cpu", "CIE_SERVE_API_KEY_FILE": str(key),
                   "CIE_SERVE_LOG_JSON": "1", "CIE_SERVE_SERVED_MODEL_NAME": "cars"}  # fmt: skip
    with process(**environment) as (started, address), ThreadPoolExecutor(12) as pool:
        own = {"Authorization": "Bearer secret"}
        with httpx2.Client(base_url=address, timeout=120, headers=own) as client:
            until(lambda: _is_ready(client), 120)
            assert httpx2.get(f"{address}v1/models").status_code == 401
            assert client.get("/v1/models").json()["data"][0]["id"] == "cars"
            body = {"conditions": ["car color", "car model", "background color", None]}
            asked = [pool.submit(client.post, "/v1/embeddings", json={**body, "input": each}) for each in images]
            until(lambda: _value(client.get("/metrics").text, "cie_requests_under_way") > 6
                  or sum(each.done() for each in asked) > 6)  # fmt: skip
            started.send_signal(signal.SIGTERM)
            answers = []
            for each in asked:
                try:
                    answers.append(each.result())
                except httpx2.ConnectError:  # it came after the end began
                    continue
            assert len(answers) > 6
            assert {each.status_code for each in answers} == {200}
            assert all(vectors_of(each).shape[0] == 4 for each in answers)
        _, logged = started.communicate(timeout=120)
        assert started.returncode in {0, -signal.SIGTERM, 128 + signal.SIGTERM}
    lines = [json.loads(line) for line in logged.splitlines()]
    told = [each for each in lines if each.get("path") == "/v1/embeddings"]
    assert {each["status"] for each in told} == {200}
    assert all({"time", "level", "logger", "message", "method", "seconds", "client"} <= each.keys() for each in told)


def _is_ready(client: httpx2.Client) -> bool:
    try:
        return client.get("/health").status_code == 200
    except httpx2.ConnectError:
        return False


def _value(text: str, name: str) -> float:
    return float(re.findall(rf"^{name} (\S+)$", text, re.MULTILINE)[0])


def test_every_option_is_a_variable_by_its_own_name() -> None:
    names = {max(each.opts, key=len).removeprefix("--").replace("-", "_"): each.name for each in serve.params}
    assert {name for name, own in names.items() if name != own} == set()


def test_a_model_that_is_not_there_ends_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "conditional_image_embeddings", "serve", "-m", "./nowhere"],
                          capture_output=True, text=True, check=False, timeout=120)  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "nowhere" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [(["--queue", "10"], 1, "--max-inputs"), (["--db", "./nowhere"], 1, "nowhere"), (["--api-key", " "], 1, "empty"),
     (["--api-key-file", "./nowhere"], 1, "nowhere"), (["--api-key-file", os.devnull], 1, "empty"),
     (["--api-key", "k", "--api-key-file", os.devnull], 1, "twice"), (["--method", "clay"], 2, "clay"),
     (["--timeout", "nan"], 2, "timeout"), (["--max-body", "0"], 2, "max-body"),
     (["--host", "192.0.2.1"], 1, "192.0.2.1")],
)  # fmt: skip
def test_options_that_cannot_be_are_refused(options: list[str], status: int, said: str, tmp_path: Path) -> None:
    assert said in error_of(command("serve", "-m", "builtin", *options, cwd=tmp_path), status)


def test_an_error_is_one_line_of_json(caplog: pytest.LogCaptureFixture) -> None:
    import logging

    try:
        raise ValueError("two\nlines")
    except ValueError:
        logging.getLogger("a").exception("failed %d", 1)
    line = JsonLines().format(caplog.records[0])
    assert "\n" not in line
    told = json.loads(line)
    assert (told["level"], told["logger"], told["message"]) == ("error", "a", "failed 1")
    assert "two" in told["traceback"]
