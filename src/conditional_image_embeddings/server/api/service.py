"""The models that a server has, the queue before them, and whether they answer."""

import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ...errors import CieError
from ..problems import BusyError
from .batching import Alike, Job, Queue
from .devices import Device, OutOfServiceError
from .limits import Limits
from .metrics import Metrics

if TYPE_CHECKING:
    from ...methods.embedder import Embedder

logger = logging.getLogger(__name__)


class Service:
    """Embedders of one model, one per device, on one queue.

    Args:
        loaders: Each gives an embedder; called in a thread of its own once the service starts.
        name: What clients call the model.
        limits: See there.
        threads: As `Device` takes it.
        on_ready: Called with each embedder that has answered.
        on_failure: Called when no model is left that answers.

    Attributes:
        queue: What waits.
        devices: One per loader.
        metrics: What is counted.
        started: When, in seconds since 1970.
        has_answered: Whether a model ever did.
    """

    def __init__(
        self,
        loaders: "Sequence[Callable[[], Embedder]]",
        *,
        name: str,
        limits: Limits | None = None,
        threads: int | None = None,
        on_ready: "Callable[[Embedder], object]" = lambda _: None,
        on_failure: Callable[[], object] = lambda: None,
    ) -> None:
        self.started, self.has_answered = int(time.time()), False
        self.name, self.limits, self.on_ready, self.on_failure = name, limits or Limits(), on_ready, on_failure
        self.metrics, self.queue = Metrics(), Queue(self.limits.queue)
        self.metrics.waiting.set_function(lambda: len(self.queue))
        self.metrics.devices_ready.set_function(lambda: sum(each.state == "ready" for each in self.devices))
        self.devices = [
            Device(
                load, self.queue, max_pixels=self.limits.max_pixels, threads=threads, metrics=self.metrics,
                on_change=self._changed,
            )
            for load in loaders
        ]  # fmt: skip

    @property
    def state(self) -> str:
        """Either "loading"; or "ready" once a model has answered, for as long as one does; or "failed"."""
        states = {each.state for each in self.devices}
        return next(state for state in ("ready", "loading", "failed") if state in states)

    @property
    def failure(self) -> Exception | None:
        """Why there is no model that answers."""
        return None if self.state != "failed" else next(each.failure for each in self.devices if each.failure)

    @property
    def embedder(self) -> "Embedder":
        """One of them: they differ in their device alone.

        Raises:
            BusyError: none has answered yet.
        """
        found = next((each.embedder for each in self.devices if each.state == "ready" and each.embedder), None)
        if found is not None:
            return found
        if self.state == "failed":
            raise OutOfServiceError("the model is out of service: /health says why")
        raise BusyError("the model is being loaded: ask again later")

    def start(self) -> None:
        """Load the models."""
        for each in self.devices:
            each.start()

    def submit(self, alike: Alike, inputs: Sequence[Any], names: Sequence[int]) -> Job:
        """Have inputs embedded.

        Raises:
            BusyError: too many wait, or no model answers.
        """
        _ = self.embedder
        job = Job(alike, inputs, names)
        self.queue.put(job)
        return job

    def stop(self, seconds: float) -> None:
        """Finish what waits, within so many seconds, and let go of the models."""
        self.queue.close()
        for each in self.devices:
            each.join(seconds)
        self.queue.fail(BusyError("the server is shutting down"))
        for each in self.devices:
            if each.embedder is not None:
                each.embedder.close()

    def _changed(self, device: Device) -> None:
        if device.state == "ready":
            self.has_answered = True
            self.on_ready(self.embedder)
            logger.info("the model answers: %s", repr(device.embedder))  # a record that is kept holds no model
        if self.state == "failed":
            error = self.failure
            said = str(error) if isinstance(error, CieError) else type(error).__name__
            self.queue.close()
            self.queue.fail(OutOfServiceError(f"the model is out of service: {said}"))
            self.on_failure()
