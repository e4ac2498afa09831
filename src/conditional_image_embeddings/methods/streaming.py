"""Images in, vectors out, with decoding beside the model and memory that does not grow.

Workers prepare images (read, scale, tokenise) ahead of the model. What is ready is put into batches of like cost, so
that little is padded; batches are bounded by their padded cost (tokens, for a vision-language model), not by their
image count.
"""

import logging
import os
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import Any, Protocol, TypeVar

from threadpoolctl import ThreadpoolController

from ..errors import ImageError

Key = TypeVar("Key", bound=Hashable)

MAX_GROUP = 256  # images sorted by cost at a time: enough to find like sizes, small enough to hold
GROUP_BUDGETS = 4  # ... and at most so many batches' worth of them, so that large images do not fill the memory

logger = logging.getLogger(__name__)


class Stage(Protocol):
    """The two halves of an embedder that `stream` drives."""

    budget: int

    def prepare(self, image: Any, request: Any) -> Any: ...

    def cost(self, prepared: Any) -> int: ...

    def embed(self, batch: Sequence[Any], request: Any) -> Sequence[Any]: ...


def stream(
    stage: Stage,
    images: Iterable[tuple[Key, Any]],
    request: Any,
    *,
    read: Callable[[Any], Any],
    batch_size: int | None = None,
    workers: int | None = None,
) -> Iterator[tuple[Key, Any]]:
    """Yield `(key, result)` for each image or `(key, error)` for one that cannot be read; not in the order given.

    Args:
        stage: The embedder: it prepares one image, and embeds a batch of them.
        images: Pairs of a key and whatever `read` takes; taken lazily, a bounded number ahead.
        request: What is asked for, handed to the stage as it is.
        read: From such an input to an image; runs in a worker together with `stage.prepare`.
        batch_size: At most so many images a batch; None leaves it to `stage.budget` alone.
        workers: Threads that read and prepare; None for one a core, at most 8.
    """
    workers = workers or min(8, os.cpu_count() or 1)
    source = iter(images)
    ahead: deque[tuple[Key, Future[Any]]] = deque()
    room = 2 * workers
    group: list[tuple[Key, Any]] = []
    budgets = 1  # the first group is one batch, the next two: the model should not wait

    with ThreadPoolExecutor(workers, thread_name_prefix="prepare", initializer=_single_threaded) as pool:

        def prepared_of(image: Any) -> Any:
            return stage.prepare(read(image), request)

        def top_up() -> None:
            while len(ahead) < room:
                try:
                    key, image = next(source)
                except StopIteration:
                    return
                ahead.append((key, pool.submit(prepared_of, image)))

        try:
            top_up()
            while ahead:
                cost = sum(stage.cost(prepared) for _, prepared in group)
                while ahead and len(group) < MAX_GROUP and cost < budgets * stage.budget:
                    key, future = ahead.popleft()
                    top_up()
                    try:
                        prepared = future.result()
                    except ImageError as error:
                        yield key, error
                        continue
                    group.append((key, prepared))
                    cost += stage.cost(prepared)
                room = max(room, min(MAX_GROUP, len(group) + workers))
                budgets = min(2 * budgets, GROUP_BUDGETS)
                batches = _batches(stage, group, batch_size)
                group = batches.pop() if ahead and len(batches) > 1 else []  # the rest waits for others of its size
                for batch in batches:
                    top_up()
                    yield from _embedded(stage, batch, request)
        finally:
            for _, future in ahead:
                future.cancel()


def _single_threaded() -> None:
    """Keep a worker to its own core.

    Each thread that calls into OpenMP gets a team of threads for itself, which spins for a while after its work: with
    one a worker, these took the model's cores from it (12 % of the time of two images on 2 cores).
    """
    import torch

    torch.get_num_threads()  # sets this thread up, which would undo a limit set before
    _openmp().limit(limits=1, user_api="openmp")


@cache
def _openmp() -> ThreadpoolController:
    return ThreadpoolController()


def _batches(stage: Stage, group: list[tuple[Key, Any]], batch_size: int | None) -> list[list[tuple[Key, Any]]]:
    """Neighbours in cost, as many as fit: the padded batch (its largest cost times its length) stays in the budget."""
    batches: list[list[tuple[Key, Any]]] = []
    for item in sorted(group, key=lambda item: stage.cost(item[1])):
        count = len(batches[-1]) if batches else 0
        if not count or (count + 1) * stage.cost(item[1]) > stage.budget or count == batch_size:
            batches.append([])
        batches[-1].append(item)
    return batches


def _embedded(stage: Stage, batch: list[tuple[Key, Any]], request: Any) -> Iterator[tuple[Key, Any]]:
    """The batch's results; in halves where the accelerator's memory is too small, and smaller batches from then on."""
    import torch

    cost = max(stage.cost(prepared) for _, prepared in batch) * len(batch)
    results = None
    if len(batch) == 1 or cost <= stage.budget:  # else formed before another did not fit
        try:
            results = stage.embed([prepared for _, prepared in batch], request)
        except torch.OutOfMemoryError:
            if len(batch) == 1:
                raise
            stage.budget = max(1, cost // 2)
            logger.info("out of memory with %d images; batches are now at most %d in cost", len(batch), stage.budget)
    if results is not None:
        yield from zip((key for key, _ in batch), results, strict=True)
        return
    # Outside of the except block: the exception's traceback keeps the failed batch's tensors alive.
    torch.cuda.empty_cache()
    half = len(batch) // 2
    yield from _embedded(stage, batch[:half], request)
    yield from _embedded(stage, batch[half:], request)
