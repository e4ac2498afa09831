"""What waits for a model: requests of many clients in one bounded queue, from which batches are taken.

Nobody waits for a batch to fill: it is made of what came while the model was busy. Inputs that ask for the same
conditions, prompt and layer go together; whose turn it is, the oldest input says.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from itertools import count
from typing import Any, Literal, NamedTuple

from ...methods.request import Embedded, Request
from ..problems import BusyError

RUN = 256  # inputs that go together while older ones, which ask for something else, wait

Kind = Literal["image", "text"]


class Alike(NamedTuple):
    """What inputs have in common that go through a model together."""

    kind: Kind
    request: Request


class Ticket:
    """An input of a job, in the queue or under way. Its `repr` is what messages call it: "image 3"."""

    __slots__ = ("index", "job", "number")

    def __init__(self, job: "Job", index: int, number: int) -> None:
        self.job, self.index, self.number = job, index, number

    def __repr__(self) -> str:
        return str(self.job.names[self.index])


class Job:
    """The inputs of one request that go through a model, and the promise of what becomes of them.

    It is over with its last input, with the first that fails, or when nobody waits for it any more. From then on it
    holds no input.

    Attributes:
        alike: With what other inputs they go together.
        names: The inputs' places in the request.
        future: `Embedded` for each input.
    """

    def __init__(self, alike: Alike, inputs: Sequence[Any], names: Sequence[int] | None = None) -> None:
        self.alike = alike
        self.names = range(len(inputs)) if names is None else names
        self.future: Future[list[Embedded]] = Future()
        self.tickets: list[Ticket] = []
        self._inputs: list[Any] = list(inputs)
        self._results: list[Embedded | None] = [None] * len(inputs)
        self._missing = len(inputs)
        self._lock = threading.Lock()  # of the threads that put results
        self.future.add_done_callback(self._clear)

    def __len__(self) -> int:
        return len(self.names)

    def take(self, index: int) -> Any:
        """An input, which the job does not hold from then on; None once the job is over."""
        inputs = self._inputs
        if not inputs:
            return None
        taken, inputs[index] = inputs[index], None
        return taken

    def put(self, index: int, result: Embedded) -> None:
        """What became of an input."""
        with self._lock:
            results = self._results
            if not results:
                return
            self._missing -= results[index] is None
            results[index] = result
            if not self._missing:
                with suppress(InvalidStateError):  # cancelled by now
                    self.future.set_result([each for each in results if each is not None])

    def fail(self, error: BaseException) -> None:
        """End it with an error."""
        with suppress(InvalidStateError):
            self.future.set_exception(error)

    def cancel(self) -> None:
        """End it: nobody waits."""
        self.future.cancel()

    def _clear(self, _: object) -> None:
        self._inputs, self._results = [], []


class Queue:
    """Jobs' inputs in the order in which they came, taken by any number of threads.

    Args:
        room: Inputs that may wait.
    """

    def __init__(self, room: int) -> None:
        self.room = room
        self._changed = threading.Condition()
        self._waiting: dict[Alike, OrderedDict[Ticket, None]] = {}
        self._count = 0
        self._numbers = count()
        self._closed = False

    def __len__(self) -> int:
        """How many inputs wait."""
        return self._count

    def put(self, job: Job) -> None:
        """Have a job's inputs wait: all of them, or none.

        Raises:
            BusyError: there is no room, or the queue was closed.
        """
        with self._changed:
            if self._closed:
                raise BusyError("the server is shutting down")
            if self._count + len(job) > self.room:
                raise BusyError(f"{self._count} inputs wait already, and at most {self.room} may: ask again later")
            job.tickets = [Ticket(job, index, next(self._numbers)) for index in range(len(job))]
            self._waiting.setdefault(job.alike, OrderedDict()).update(dict.fromkeys(job.tickets))
            self._count += len(job)
            self._changed.notify(len(job))
        job.future.add_done_callback(lambda _: self._drop(job))

    def first(self, stopped: Callable[[], bool] = lambda: False) -> Ticket | None:
        """Wait for an input and take the oldest; None once the queue is closed and empty.

        Args:
            stopped: Whether whoever waits is to have None at once; looked at again after `wake`.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed or stopped())
            return self._taken(self._oldest()) if self._waiting and not stopped() else None

    def wake(self) -> None:
        """Have all who wait look whether they are stopped."""
        with self._changed:
            self._changed.notify_all()

    def following(self, alike: Alike, taken: int) -> Ticket | None:
        """Take the next input that goes together with others, if one waits.

        Args:
            alike: What they ask for.
            taken: How many go together already: from `RUN` on, older inputs that ask for something else come first.
        """
        with self._changed:
            if alike not in self._waiting or (taken >= RUN and self._oldest() != alike):
                return None
            return self._taken(alike)

    def close(self) -> None:
        """Take no more jobs; those that wait are still to be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def fail(self, error: BaseException) -> None:
        """End all jobs that wait with an error."""
        with self._changed:
            jobs = {ticket.job for several in self._waiting.values() for ticket in several}
        for job in jobs:
            job.fail(error)

    def _oldest(self) -> Alike:
        return min(self._waiting, key=lambda alike: next(iter(self._waiting[alike])).number)

    def _taken(self, alike: Alike) -> Ticket:
        several = self._waiting[alike]
        ticket, _ = several.popitem(last=False)
        self._left(alike, 1)
        return ticket

    def _drop(self, job: Job) -> None:
        """Forget the inputs of a job that is over."""
        with self._changed:
            several = self._waiting.get(job.alike, OrderedDict())
            waiting = [ticket for ticket in job.tickets if ticket in several]
            for ticket in waiting:
                del several[ticket]
            if waiting:
                self._left(job.alike, len(waiting))
        job.tickets = []

    def _left(self, alike: Alike, number: int) -> None:
        self._count -= number
        if not self._waiting[alike]:
            del self._waiting[alike]
