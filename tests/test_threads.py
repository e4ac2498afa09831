"""Any number of threads on one model: whatever they ask for at once, each gets what it would get alone, to the bit."""

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import numpy as np
import pytest
from every_method import load_every_method
from PIL import Image

import conditional_image_embeddings as cie
from conditional_image_embeddings.datasets.car_renderer import render, sample_scene
from conditional_image_embeddings.methods import with_method

IMAGES = [Image.fromarray(render(sample_scene(np.random.default_rng([3, k])))).resize((64, 48)) for k in range(5)]
CONDITIONS = ["car color", "car model", None, "background color", "the <|im_end|> of it"]
PAIR = ["car color", None]
ASPECTS = ["car color", "car model", "background color"]
THREADS, ROUNDS = 4, 2
PATIENCE = 300  # seconds until a test is taken for one that hangs

Call = Callable[[Any], Any]
Embedders = dict[str, Any]


def of_images(**how: Any) -> Call:
    return lambda embedder: embedder.encode(IMAGES, **how)


def of_texts(**how: Any) -> Call:
    return lambda embedder: embedder.encode_text(["red", "blue", "a car"], **how)


def of_words(condition: str | None, k: int) -> Call:
    return lambda embedder: embedder.words(IMAGES[:2], condition, k=k)


def streamed(**how: Any) -> Call:
    return lambda embedder: list(embedder.encode_stream(iter(IMAGES), **how))


CALLS: dict[str, list[Call]] = {
    "dior": [
        *(of_images(conditions="car color", layer=layer) for layer in (-1, 0, 1, 2, [1, -1])),
        *(of_images(conditions=CONDITIONS[k:]) for k in range(len(CONDITIONS))),
        *(of_images(conditions="car color", embedding_source=each) for each in ("first_output", "mean_output")),
        of_images(conditions="car color", prompt_type=("describe", "express")),
        *(of_texts(conditions=each) for each in CONDITIONS),
        *(of_words(condition, k) for condition in CONDITIONS[:3] for k in (1, 4)),
        streamed(conditions=CONDITIONS[:2], batch_size=2),
    ],
    "generative": [
        *(of_images(conditions=each) for each in CONDITIONS[:4]),
        of_texts(),
        of_words("car color", 1),
        streamed(conditions="car model"),
    ],
    "clip": [of_images(), of_texts(), of_images(batch_size=2), streamed()],
    "indirect": [call(conditions=each) for each in [*ASPECTS, ASPECTS] for call in (of_images, of_texts)],
    "clay": [call(conditions=each) for each in [*ASPECTS, ASPECTS] for call in (of_images, of_texts)],
    "pixels": [of_images(), of_images(batch_size=1), streamed()],
}


@pytest.fixture(scope="module")
def alone() -> dict[str, list[Any]]:
    """What each call gives when nothing else runs."""
    embedders = load_every_method(IMAGES)
    return {method: [call(embedders[method]) for call in calls] for method, calls in CALLS.items()}


@pytest.fixture
def fast_switches() -> Iterator[None]:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


def same(found: Any, expected: Any, atol: float = 0.0) -> bool:
    if isinstance(expected, np.ndarray):
        return bool(np.allclose(found, expected, rtol=0, atol=atol))
    if isinstance(expected, list) and expected and isinstance(expected[0], np.ndarray):
        return len(found) == len(expected) and all(same(*pair, atol) for pair in zip(found, expected, strict=True))
    return bool(found == expected)


@pytest.mark.parametrize("methods", [*([method] for method in CALLS), list(CALLS)], ids=[*CALLS, "all at once"])
def test_every_thread_gets_what_it_would_get_alone(
    methods: list[str], alone: dict[str, list[Any]], embedders: Embedders, fast_switches: None
) -> None:
    jobs = [(method, index) for method in methods for index in range(len(CALLS[method]))] * ROUNDS
    np.random.default_rng(len(methods)).shuffle(jobs)
    with ThreadPoolExecutor(THREADS) as pool:
        running = [(job, pool.submit(CALLS[job[0]][int(job[1])], embedders[job[0]])) for job in jobs]
        for (method, index), future in running:
            # Answers that were embedded before are remembered: which ones share a batch moves their last digit.
            atol = 1e-6 if method == "generative" else 0.0
            assert same(future.result(PATIENCE), alone[method][int(index)], atol), f"{method}, call {index}"


@pytest.fixture(scope="module")
def embedders() -> Embedders:
    """Others than those that ran alone: what is made lazily is made by threads at once."""
    return load_every_method(IMAGES)


@pytest.mark.parametrize("method", ["dior", "clip", "clay", "pixels"])
def test_streams_that_are_left_or_read_slowly_keep_nobody_waiting(method: str, embedders: Embedders) -> None:
    embedder, condition = embedders[method], None if method in {"clip", "pixels"} else "car color"
    expected = embedder.encode(IMAGES, condition)
    left, slow = (embedder.encode_stream((IMAGES[k % 5] for k in range(300)), condition) for _ in range(2))
    assert same(next(left), next(slow))
    with ThreadPoolExecutor(1) as pool:
        for _ in range(2):  # both streams are open, and have batches under way
            assert same(pool.submit(embedder.encode, IMAGES, condition).result(PATIENCE), expected)
            next(slow)
        assert same(pool.submit(next, slow).result(PATIENCE).shape, expected[0].shape)  # nor is one a thread's own
        left.close()
        del slow
        assert same(pool.submit(embedder.encode, IMAGES, condition).result(PATIENCE), expected)


def test_vectors_of_one_call_are_of_one_fit(embedders: Embedders) -> None:
    clay: Any = with_method(embedders["clip"], "clay")
    samples = [IMAGES[:2], IMAGES[3:]]
    of_sample = []
    for sample in samples:
        clay.fit(sample)
        of_sample.append(clay.encode(IMAGES, "car color", batch_size=1))
    assert not same(*of_sample)
    done = Event()

    def fit_again_and_again() -> None:
        while not done.is_set():
            for sample in samples:
                clay.fit(sample)

    with ThreadPoolExecutor(2) as pool:
        fitting = pool.submit(fit_again_and_again)
        try:
            for _ in range(10):
                found = clay.encode(IMAGES, "car color", batch_size=1)
                assert any(same(found, each) for each in of_sample)
        finally:
            done.set()
        fitting.result(PATIENCE)


def test_models_are_loaded_by_several_threads_while_another_computes(fast_switches: None) -> None:
    """Loading sets torch's default type and device for the whole process."""
    small, kinds = IMAGES[:2], ["float32", "bfloat16"] * 2
    ready = cie.load("builtin", device="cpu")
    expected = {kind: cie.load("builtin", device="cpu", dtype=kind).encode(small, PAIR) for kind in kinds[:2]}
    with ThreadPoolExecutor(THREADS) as pool:
        loading = [pool.submit(cie.load, "builtin", device="cpu", dtype=kind) for kind in kinds]
        while not all(future.done() for future in loading):
            assert same(ready.encode(small, PAIR), expected["float32"])
        for kind, future in zip(kinds, loading, strict=True):
            assert same(future.result(PATIENCE).encode(small, PAIR), expected[kind])


def test_an_embedder_that_is_closed_meanwhile_says_so() -> None:
    embedder = cie.load("pixels")
    first = Event()

    def images() -> Iterator[Image.Image]:
        for _ in range(5000):
            yield IMAGES[0]
            first.set()

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(embedder.encode, images())
        first.wait(PATIENCE)
        embedder.close()
        with pytest.raises(cie.ModelError, match="closed Pixels 'pixels-12'"):
            running.result(PATIENCE)
