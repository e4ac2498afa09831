"""Embedders at work: each on its device, with threads that take inputs from the one queue.

The threads of a device share its model: while one has it compute, another reads and prepares what came since. An image
that cannot be embedded fails its own job. When a model is beyond use, as CUDA is after some errors, its device is out
of service, and the others go on.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Literal

from PIL import Image

from ...errors import CieError, ConditionError, ImageError, ModelError, OptionError
from ...inputs.images import stored_size
from ...methods.request import Embedded
from ...methods.stage import UNSUPPORTED_ERRORS
from ..problems import BusyError
from .batching import Alike, Queue, Ticket

if TYPE_CHECKING:
    from ...methods.embedder import Embedder
    from .metrics import Metrics


class OutOfServiceError(BusyError):
    """No model answers, and none will: the server has to be started again."""

    retry_after = 60


State = Literal["loading", "ready", "failed"]
TEXTS = 256  # that go together

logger = logging.getLogger(__name__)


class Device:
    """An embedder and its threads.

    Args:
        load: Gives the embedder; runs in a thread of the device.
        queue: Where inputs come from.
        max_pixels: See `Limits`.
        threads: How many run the embedder; None: two on an accelerator, which one gives work while it computes for the
            other; one on a CPU, where two would take the cores from each other.
        metrics: Where batches are counted.
        on_change: Called when the state has changed.

    Attributes:
        embedder: Once it was loaded.
        state: "ready" once the model has answered; "failed" when it never will, or not any more.
        failure: Why.
    """

    def __init__(
        self,
        load: "Callable[[], Embedder]",
        queue: Queue,
        *,
        max_pixels: int,
        threads: int | None,
        metrics: "Metrics",
        on_change: Callable[["Device"], None],
    ) -> None:
        self.embedder: Embedder | None = None
        self.state: State = "loading"
        self.failure: Exception | None = None
        self._load, self._queue, self._max_pixels, self._metrics = load, queue, max_pixels, metrics
        self._on_change = on_change
        self._number = threads
        self._threads: list[threading.Thread] = []
        self._loading = threading.Thread(target=self._begin, name="load", daemon=True)

    def start(self) -> None:
        """Load the model, and then take inputs."""
        self._loading.start()

    def join(self, seconds: float) -> None:
        """Wait until the threads have ended, which they do once the queue is closed and empty."""
        until = time.monotonic() + seconds
        if self._loading.ident is not None:
            self._loading.join(seconds)
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _begin(self) -> None:
        try:
            embedder = self._load()
            embedder.get_embedding_dimension()  # it answers: kernels are compiled, memory is there
        except Exception as error:  # noqa: BLE001 - whatever it is, /health and the command line say it
            self._fail(error)
            return
        self.embedder = embedder
        self.state = "ready"
        for number in range(self._number or (1 if embedder.device.type == "cpu" else 2)):
            thread = threading.Thread(target=self._run, args=(embedder,), name=f"model-{number}", daemon=True)
            thread.start()
            self._threads.append(thread)
        self._on_change(self)

    def _fail(self, error: Exception) -> None:
        fault = None if isinstance(error, CieError) else error  # what is no fault of this program says all by itself
        logger.error("a model is out of service: %s", " ".join(str(error).split()), exc_info=fault)
        self.failure, self.state = error, "failed"
        self._queue.wake()
        self._on_change(self)

    def _run(self, embedder: "Embedder") -> None:
        while (ticket := self._queue.first(lambda: self.state != "ready")) is not None:
            alike = ticket.job.alike
            run = self._run_images if alike.kind == "image" else self._run_texts
            run(embedder, _Run(self._queue, alike, ticket))

    def _run_images(self, embedder: "Embedder", run: "_Run") -> None:
        under_way = run.under_way
        try:
            for ticket, outcome in embedder.stream(
                run, run.alike.request, read=partial(self._read, embedder), on_batch=self._metrics.batch_images.observe
            ):
                under_way.discard(ticket)
                if isinstance(outcome, ImageError):
                    ticket.job.fail(outcome)
                else:
                    ticket.job.put(ticket.index, outcome)
                    self._metrics.images.inc()
        except Exception as error:  # noqa: BLE001 - of the model, of what was asked for, or a fault of ours: it is told
            told = self._told(embedder, error)
            for ticket in under_way:
                ticket.job.fail(told)

    def _read(self, embedder: "Embedder", ticket: Ticket, _: object) -> Image.Image:
        """The image; runs in a thread that prepares."""
        name, data = f"image {ticket!r}", ticket.job.take(ticket.index)
        if data is None:
            raise ImageError(f"{name} is not wanted any more")
        check_pixels(data, self._max_pixels, name)
        return embedder.read(data, name=name)

    def _run_texts(self, embedder: "Embedder", run: "_Run") -> None:
        tickets = [ticket for _, (ticket, _) in zip(range(TEXTS), run, strict=False)]
        texts = [(ticket, text) for ticket in tickets if (text := ticket.job.take(ticket.index)) is not None]
        if not texts:
            return
        try:
            self._embed_texts(embedder, run.alike, texts)
        except Exception as error:  # noqa: BLE001 - as for images
            jobs = {ticket.job for ticket, _ in texts}
            if len(jobs) == 1 or self.state == "failed":
                for job in jobs:
                    job.fail(self._told(embedder, error))
                return
            for job in jobs:  # one text may be at fault: each job by itself
                try:
                    self._embed_texts(embedder, run.alike, [each for each in texts if each[0].job is job])
                except Exception as its:  # noqa: BLE001
                    job.fail(self._told(embedder, its))

    def _embed_texts(self, embedder: "Embedder", alike: Alike, texts: list[tuple[Ticket, str]]) -> None:
        try:
            several = [text for _, text in texts]
            vectors = embedder.text_vectors(several, alike.request)
            tokens = embedder.text_tokens(several, alike.request)
        except UNSUPPORTED_ERRORS as error:
            if isinstance(error, CieError):
                raise
            logger.warning("the model fails on a text", exc_info=True)
            raise ModelError(f"the model fails on what was sent: {type(error).__name__}") from error
        for (ticket, _), vector, number in zip(texts, vectors, tokens, strict=True):
            ticket.job.put(ticket.index, Embedded(vector, tokens=number))
        self._metrics.texts.inc(len(texts))

    def _told(self, embedder: "Embedder", error: Exception) -> Exception:
        """What those who asked are told of an error. The device goes out of service if its model answers no more."""
        if isinstance(error, OptionError | ConditionError):  # conditions that cannot be: no word about the model
            return error
        try:
            if self.state == "ready":
                embedder.get_embedding_dimension()
                return error
        except Exception as another:  # noqa: BLE001
            self._fail(another)
        return OutOfServiceError(f"the model is out of service: {' '.join(str(self.failure).split())}")


def check_pixels(data: bytes, most: int, name: str) -> None:
    """Look at an encoded image's header.

    Raises:
        ImageError: it has more than so many pixels, or is none.
    """
    width, height = stored_size(data, name=name)
    if width * height > most:
        raise ImageError(f"{name} has {width} x {height} pixels; at most {most:,} are taken")


class _Run(Iterator[tuple[Ticket, None]]):
    """Inputs that go together, as a stream takes them: what has come by the time that it asks.

    It may have none now and another later. A stream asks again while others are under way.
    """

    def __init__(self, queue: Queue, alike: Alike, first: Ticket) -> None:
        self.alike = alike
        self.under_way = {first}
        self._queue, self._first = queue, first
        self._taken = 0

    def __next__(self) -> tuple[Ticket, None]:
        ticket = self._queue.following(self.alike, self._taken) if self._taken else self._first
        if ticket is None:
            raise StopIteration
        self._taken += 1
        self.under_way.add(ticket)
        return ticket, None
