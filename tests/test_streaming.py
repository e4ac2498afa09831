"""The stream under every embedder: each image once, batches within their budget, the model started at once."""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st

from conditional_image_embeddings.errors import ImageError
from conditional_image_embeddings.methods.streaming import MAX_GROUP, MAX_WAIT, in_order, stream


class Recorder:
    """An image is its own cost; results are what went in, negated."""

    lock: Any = nullcontext()

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.batches: list[list[int]] = []

    def prepare(self, image: int, request: Any) -> int:
        return image

    def cost(self, prepared: int) -> int:
        return prepared

    def forward_batch(self, batch: Sequence[int], request: Any) -> list[int]:
        self.batches.append(list(batch))
        return [-cost for cost in batch]

    def is_finite(self, result: int) -> bool:
        return True


def read(key: int, image: int) -> int:
    if not image:
        raise ImageError("nothing there")
    return image


def run(stage: Recorder, costs: list[int], **how: Any) -> dict[int, Any]:
    return dict(stream(stage, enumerate(costs), None, read=read, ordinary=3, **how))


@given(st.lists(st.integers(0, 30), max_size=400), st.integers(1, 60), st.none() | st.integers(1, 5))
def test_each_image_has_its_result_and_batches_fit(costs: list[int], budget: int, batch_size: int | None) -> None:
    stage = Recorder(budget)
    results = run(stage, costs, batch_size=batch_size, workers=2)
    assert results.keys() == set(range(len(costs)))
    for key, result in results.items():
        assert isinstance(result, ImageError) if costs[key] == 0 else result == -costs[key]
    assert sum(map(len, stage.batches)) == len(costs) - costs.count(0)
    for batch in stage.batches:
        assert batch
        assert len(batch) <= (batch_size or MAX_GROUP)
        assert len(batch) == 1 or max(batch) * len(batch) <= budget


def test_the_model_starts_with_the_first_batch_and_is_given_full_ones() -> None:
    stage = Recorder(budget=40)
    taken = 0

    def images() -> Any:
        nonlocal taken
        for key in range(1000):
            taken += 1
            yield key, 4

    results = stream(stage, images(), None, read=read, ordinary=3, workers=2)
    next(results)
    assert taken < 30
    assert sum(1 for _ in results) == 999
    assert [len(batch) for batch in stage.batches] == [10] * 100


def test_batches_that_do_not_fit_the_memory_are_halved_from_then_on() -> None:
    stage = Recorder(budget=64)
    fits = stage.forward_batch
    failures = 0

    def forward_batch(batch: Sequence[int], request: Any) -> list[int]:
        nonlocal failures
        if len(batch) > 5:
            failures += 1
            raise torch.OutOfMemoryError("64 GiB are not enough")
        return fits(batch, request)

    stage.forward_batch = forward_batch  # type: ignore[method-assign]
    found = run(stage, [4] * 100, workers=2)
    assert found == dict.fromkeys(range(100), -4)
    assert (failures, stage.budget) == (2, 16), "two halvings, not one again for each batch"
    assert {len(batch) for batch in stage.batches} == {4}


@given(st.lists(st.integers(0, 30), max_size=600), st.integers(1, 60))
def test_results_can_be_put_in_order(costs: list[int], budget: int) -> None:
    found = list(in_order(stream(Recorder(budget), enumerate(costs), None, read=read, ordinary=3, workers=2)))
    assert [0 if isinstance(each, ImageError) else -each for each in found] == costs


def test_an_image_is_overtaken_by_a_bounded_number() -> None:
    """A large image waits for others of its size, but not for ever: what is behind it is held back meanwhile."""
    costs = [50 if k % 2000 == 0 else 1 for k in range(20_000)]
    overtaken: set[int] = set()
    most = first = taken = 0

    def images() -> Iterator[tuple[int, int]]:
        nonlocal taken
        for taken, cost in enumerate(costs, 1):
            yield taken - 1, cost

    for key, _ in stream(Recorder(100), images(), None, read=read, ordinary=3, workers=2):
        overtaken.add(key)
        while first in overtaken:
            overtaken.remove(first)
            first += 1
        most = max(most, len(overtaken), taken - first)
    assert first == len(costs)
    assert most < 2 * (MAX_WAIT + 1) * MAX_GROUP
