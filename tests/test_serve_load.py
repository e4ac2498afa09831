"""Many clients at once: the vectors are those of `encode`, and what nobody waits for is let go of."""

import asyncio
import gc
import random
import socket
import threading
import tracemalloc
from concurrent.futures import CancelledError, ThreadPoolExecutor

import httpx2
import numpy as np
import pytest
from PIL import Image
from serving_at_hand import POISON, Colors, data_uri, message, picture, png, serving, until, vectors_of

import conditional_image_embeddings as cie
from conditional_image_embeddings.methods.request import Embedded, Request
from conditional_image_embeddings.server.api.batching import RUN, Alike, Job, Queue
from conditional_image_embeddings.server.api.limits import Limits
from conditional_image_embeddings.server.api.service import Service
from conditional_image_embeddings.server.problems import BusyError

ASPECTS = ["car color", "car model", "background color"]
KINDS = [Alike("image", Request(conditions=(name,))) for name in ASPECTS]
RESULT = Embedded(np.zeros((1, 1, 1, 1, 2), np.float32))


def test_every_vector_under_load_is_the_offline_one() -> None:
    """Mixed conditions, numbers and encodings, with images that fail among them."""
    draw = random.Random(0)
    pictures = [picture(seed, (draw.randrange(20, 60), draw.randrange(20, 60))) for seed in range(12)]
    bad = [data_uri(b"no image"), data_uri(b"")]
    with cie.load("builtin", device="cpu") as model:
        offline = model.encode(pictures, [*ASPECTS, None])

    async def one(client: httpx2.AsyncClient, seed: int) -> bool:
        own = random.Random(seed)
        places = own.sample(range(len(pictures)), own.randrange(1, 4))
        names = own.sample(range(4), own.randrange(1, 4))
        fails = own.random() < 0.2
        body = {
            "input": [data_uri(pictures[place]) for place in places] + (own.sample(bad, 1) if fails else []),
            "conditions": [[*ASPECTS, None][name] for name in names],
            "encoding_format": own.choice(["float", "base64"]),
        }
        answer = await client.post("/v1/embeddings", json=body)
        if fails:
            assert answer.status_code == 400
            assert f"image {len(places)}" in message(answer)
        else:
            expected = offline[places][:, names].reshape(len(places) * len(names), -1)
            np.testing.assert_allclose(vectors_of(answer), expected, atol=1e-5)
        return fails

    async def many(address: str) -> list[bool]:
        async with httpx2.AsyncClient(base_url=address, timeout=120) as client:
            return await asyncio.gather(*(one(client, seed) for seed in range(100)))

    with serving(lambda: cie.load("builtin", device="cpu")) as running:
        fails = asyncio.run(many(running.address))
        assert 0 < sum(fails) < 100
        assert len(running.service.queue) == 0


def test_requests_that_ask_for_the_same_share_batches_and_bad_ones_fail_alone() -> None:
    embedder = Colors()
    with serving(lambda: embedder, threads=1) as running, running.client() as client, ThreadPoolExecutor(24) as pool:
        embedder.batches.clear()
        embedder.gate.clear()

        def ask(seed: int) -> httpx2.Response:
            bad = png(Image.new("RGB", (4, 4), POISON))
            return client.post("/v1/embeddings", json={"input": data_uri(bad if seed == 7 else picture(seed))})

        asked = [pool.submit(ask, seed) for seed in range(20)]
        until(lambda: running.service.metrics.under_way._value.get() == 20)
        embedder.gate.set()
        assert [each.result().status_code for each in asked] == [400 if seed == 7 else 200 for seed in range(20)]
        assert max(embedder.batches) > 1


def test_several_devices_share_one_queue() -> None:
    both = Colors(0.02), Colors(0.02)
    with serving(*(lambda each=each: each for each in both)) as running, running.client() as client:
        health = client.get("/health").json()
        assert [each["state"] for each in health["devices"]] == ["ready", "ready"]
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda seed: client.post("/v1/embeddings", json={"input": data_uri(picture(seed))}),
                                    range(40)))  # fmt: skip
        expected = Colors().encode([picture(seed) for seed in range(40)])
        np.testing.assert_allclose(np.concatenate([vectors_of(each) for each in answers]), expected, atol=1e-5)
        assert all(len(each.batches) > 1 for each in both)
        both[0].broken = True
        gone = [
            client.post("/v1/embeddings", json={"input": data_uri(picture(seed))}).status_code for seed in range(40)
        ]
        assert set(gone) <= {200, 503}
        until(lambda: client.get("/health").json()["devices"][0]["state"] == "failed")
        assert client.get("/health").status_code == 200  # the other answers
        assert client.post("/v1/embeddings", json={"input": data_uri(picture(1))}).status_code == 200


def test_a_model_beyond_use_is_said_in_health() -> None:
    embedder = Colors()
    with serving(lambda: embedder) as running, running.client() as client:
        embedder.broken = True
        answer = client.post("/v1/embeddings", json={"input": data_uri(picture(0))})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "60")
        assert "out of service" in message(answer)
        health = client.get("/health")
        assert health.status_code == 503
        assert "the device is gone" in health.json()["devices"][0]["failure"]
        assert client.post("/v1/embeddings", json={"input": "red"}).status_code == 503


def test_a_full_queue_says_when_to_come_back_and_a_deadline_ends_waiting() -> None:
    embedder = Colors()
    with serving(lambda: embedder, queue=4, max_inputs=4, timeout=1.0) as running, running.client() as client:
        embedder.gate.clear()
        with ThreadPoolExecutor(30) as pool:
            asked = [pool.submit(client.post, "/v1/embeddings", json={"input": [data_uri(picture(n))] * 4})
                     for n in range(30)]  # fmt: skip
            answers = [each.result() for each in asked]
        assert {each.status_code for each in answers} == {503}
        said = [message(each) for each in answers]
        assert any("wait already" in each for each in said)
        assert any("no answer within 1 s" in each for each in said)
        assert all(each.headers["retry-after"] for each in answers)
        assert len(running.service.queue) == 0
        embedder.gate.set()
        until(lambda: client.post("/v1/embeddings", json={"input": "red"}).status_code == 200)


def test_ten_thousand_cancellations_leave_nothing_behind() -> None:
    """At random moments: before an image is taken, while it is read, in the model, after it is answered."""
    embedder = Colors()
    service = Service([lambda: embedder], name="colors", limits=Limits())
    service.start()
    until(lambda: service.state == "ready")
    data, draw, refused = picture(0), random.Random(0), 0

    def one(seed: int) -> None:
        nonlocal refused
        alike = KINDS[seed % 3] if seed % 5 else Alike("text", KINDS[0].request)
        number = draw.randrange(1, 4)
        inputs = [data if alike.kind == "image" else "red"] * number
        try:
            job = service.submit(alike, inputs, range(number))
        except BusyError:
            refused += 1
            return
        if seed % 7:
            threading.Event().wait(draw.random() * draw.choice((0, 0.001, 0.01)))
            job.cancel()
            if not job.future.cancelled():
                assert len(job.future.result()) == number
        else:
            assert len(job.future.result(30)) == number

    def many(start: int, number: int) -> None:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(one, range(start, start + number)))
        until(lambda: not len(service.queue))

    many(0, 1000)
    gc.collect()
    tracemalloc.start()
    many(1000, 1000)
    gc.collect()
    before, _ = tracemalloc.get_traced_memory()
    many(2000, 8000)
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 200_000  # bytes: of 8,000 requests, so less than 25 each
    assert not service.queue._waiting
    assert refused < 1000
    vectors = service.submit(KINDS[0], [data], [0]).future.result(30)[0].vectors
    np.testing.assert_allclose(vectors[0, 0, 0, 0], embedder.encode(data, ASPECTS[0]), atol=1e-6)
    service.stop(30)
    assert all(not thread.is_alive() for device in service.devices for thread in device._threads)


def test_clients_that_leave_are_noticed_and_what_they_asked_is_dropped() -> None:
    embedder = Colors(0.002)
    with serving(lambda: embedder) as running, running.client() as client:
        host, port = client.base_url.host, client.base_url.port or 80
        body = b'{"input": ["' + b'", "'.join([data_uri(picture(0)).encode()] * 8) + b'"]}'
        head = f"POST /v1/embeddings HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: "
        whole = head.encode() + f"{len(body)}\r\n\r\n".encode() + body
        draw = random.Random(1)

        def leave(_: int) -> None:
            with socket.create_connection((host, port), 10) as raw:
                raw.sendall(whole if draw.random() < 0.7 else whole[: draw.randrange(1, len(whole))])
                threading.Event().wait(draw.random() * 0.03)

        with ThreadPoolExecutor(16) as pool:
            list(pool.map(leave, range(400)))
        until(lambda: not len(running.service.queue))
        metrics = running.service.metrics
        until(lambda: metrics.under_way._value.get() == 0)
        assert metrics.cancelled._value.get() > 50
        assert embedder.images < 400 * 8  # not all of it was embedded
        expected = Colors().encode(picture(3))
        found = vectors_of(client.post("/v1/embeddings", json={"input": data_uri(picture(3))}))
        np.testing.assert_allclose(found, [expected], atol=1e-5)


def test_the_oldest_comes_first_and_its_like_go_with_it() -> None:
    queue = Queue(10)
    jobs = [Job(KINDS[kind], [b"a"]) for kind in (0, 1, 0, 2, 1)]
    for job in jobs:
        queue.put(job)
    taken = []
    while len(queue):
        ticket = queue.first()
        while ticket is not None:
            taken.append(jobs.index(ticket.job))
            ticket = queue.following(ticket.job.alike, 1)
    assert taken == [0, 2, 1, 4, 3]


def test_those_who_ask_for_something_else_get_their_turn() -> None:
    queue = Queue(1000)
    queue.put(Job(KINDS[1], [b"b"]))
    queue.put(Job(KINDS[0], [b"a"] * 5))
    assert queue.following(KINDS[0], RUN - 1) is not None
    assert queue.following(KINDS[0], RUN) is None  # an older one waits
    assert queue.following(KINDS[1], RUN) is not None
    assert queue.following(KINDS[0], 10 * RUN) is not None  # nobody else does


def test_a_job_is_taken_whole_or_not_at_all_and_holds_nothing_once_it_is_over() -> None:
    queue = Queue(4)
    job, large = Job(KINDS[0], [b"a"] * 3), Job(KINDS[0], [b"a"] * 2)
    queue.put(job)
    with pytest.raises(BusyError, match="3 inputs wait already"):
        queue.put(large)
    assert len(queue) == 3
    job.cancel()
    assert len(queue) == 0
    assert (job.take(0), job._inputs, job._results, job.tickets) == (None, [], [], [])
    with pytest.raises(CancelledError):
        job.future.result(0)
    queue.put(large)
    large.put(1, RESULT)
    assert not large.future.done()
    large.put(0, RESULT)
    assert large.future.result(0) == [RESULT, RESULT]
    assert len(queue) == 0
    queue.close()
    assert queue.first() is None
    with pytest.raises(BusyError, match="shutting down"):
        queue.put(job)
