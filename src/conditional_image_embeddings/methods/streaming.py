"""Images in, vectors out, with decoding beside the model and memory that does not grow.

Workers prepare images (read, scale, tokenise) ahead of the model. What is ready is put into batches of like cost, so
that little is padded; batches are bounded by their padded cost (tokens, for a vision-language model), not by their
image count.

An image that the processor refuses or that the model fails on is one bad image: see `stage`.
"""

import os
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import Any, TypeVar

from threadpoolctl import ThreadpoolController

from ..errors import ImageError
from .stage import Guarded, Item, Stage

Key = TypeVar("Key", bound=Hashable)

MAX_GROUP = 256  # images sorted by cost at a time: enough to find like sizes, small enough to hold
MAX_WAIT = 4  # groups that an image waits for others of its size: no longer, so that results can be put in order
GROUP_BUDGETS = 4  # ... and at most so many batches' worth of them, so that large images do not fill the memory


def stream(
    stage: Stage,
    images: Iterable[tuple[Key, Any]],
    request: Any,
    *,
    read: Callable[[Key, Any], Any],
    ordinary: Any,
    name: Callable[[Key, Any], str] = lambda key, _: f"image {key!r}",
    batch_size: int | None = None,
    workers: int | None = None,
    on_batch: Callable[[int], object] = lambda _: None,
) -> Iterator[tuple[Key, Any]]:
    """Yield `(key, result)` for each image, or `(key, error)` for one that cannot be embedded; not quite in order.

    An image is overtaken by those of few groups (`MAX_WAIT`) at most.

    Args:
        stage: The embedder: it prepares one image, and embeds a batch of them.
        images: Pairs of a key and whatever `read` takes; taken lazily, a bounded number ahead. An iterator that has
            none now may have one later: it is asked again while others are under way.
        request: What is asked for, handed to the stage as it is.
        read: From a key and such an input to an image; runs in a worker together with `stage.prepare`.
        ordinary: A picture as `read` gives them, that every model takes: tried when another fails.
        name: What messages call an image, from its key and the input.
        batch_size: At most so many images per batch; None leaves it to `stage.budget` alone.
        workers: Threads that read and prepare; None for one per core, at most 8.
        on_batch: Told the number of images of each batch before it goes through the model.

    Raises:
        ModelError: an image failed, and it is not the image's fault (see `stage`).
    """
    workers = workers or min(8, os.cpu_count() or 1)
    source = iter(images)
    ahead: deque[tuple[Key, Future[Item]]] = deque()
    room = 2 * workers
    group: list[Item] = []
    budgets = 1  # the first group is one batch, the next two: the model should not wait
    groups = 0
    guarded = Guarded(stage, request, ordinary)

    with ThreadPoolExecutor(workers, thread_name_prefix="prepare", initializer=_single_threaded) as pool:

        def prepared_of(key: Key, given: Any) -> Item:
            return guarded.prepare(key, name(key, given), read(key, given))

        def top_up() -> None:
            while len(ahead) < room:
                try:
                    key, image = next(source)
                except StopIteration:
                    return
                ahead.append((key, pool.submit(prepared_of, key, image)))

        try:
            top_up()
            while ahead:
                cost = sum(stage.cost(item.prepared) for item in group)
                while ahead and len(group) < MAX_GROUP and cost < budgets * stage.budget:
                    key, future = ahead.popleft()
                    top_up()
                    try:
                        item = future.result()
                    except ImageError as error:
                        guarded.check(error)
                        yield key, error
                        continue
                    group.append(item._replace(group=groups))
                    cost += stage.cost(item.prepared)
                room = max(room, min(MAX_GROUP, len(group) + workers))
                budgets = min(2 * budgets, GROUP_BUDGETS)
                batches = _batches(stage, group, batch_size)
                groups += 1
                waits = ahead and len(batches) > 1 and groups - min(item.group for item in batches[-1]) < MAX_WAIT
                group = batches.pop() if waits else []  # the rest waits for others of its size
                for batch in batches:
                    top_up()
                    on_batch(len(batch))
                    yield from guarded.forward_batch(batch)
        finally:
            for _, future in ahead:
                future.cancel()


def in_order(outcomes: Iterable[tuple[int, Any]]) -> Iterator[Any]:
    """What `stream` gives of images whose keys are 0, 1, 2, ..., in that order; as many are held as are overtaken."""
    overtaken: dict[int, Any] = {}
    following = 0
    for key, outcome in outcomes:
        overtaken[key] = outcome
        while following in overtaken:
            yield overtaken.pop(following)
            following += 1


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


def _batches(stage: Stage, group: list[Item], batch_size: int | None) -> list[list[Item]]:
    """Neighbours in cost, as many as fit: the padded batch (its largest cost times its length) stays in the budget."""
    batches: list[list[Item]] = []
    for item in sorted(group, key=lambda item: stage.cost(item.prepared)):
        count = len(batches[-1]) if batches else 0
        if not count or (count + 1) * stage.cost(item.prepared) > stage.budget or count == batch_size:
            batches.append([])
        batches[-1].append(item)
    return batches
