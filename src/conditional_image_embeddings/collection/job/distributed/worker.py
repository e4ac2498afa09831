"""What runs on the cluster: an embedder that reads and embeds images by the block."""

import logging
import os
import pickle
import time
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from ....errors import CieError, ImageError, ModelError
from ....inputs.references import ImageSource, Reference
from ....methods import METHODS, load
from ....methods.registry import Method, register
from ....methods.request import Embedded, Request
from ....methods.settings import Setting
from ...storage.tables import ImageRecord
from ...storage.versions import installed_versions
from ..job_images import JobImage, Reader

Outcome = tuple[str, ImageRecord | None, Embedded | str]  # an image's id, its record if it was read; a reason if not


@dataclass(frozen=True)
class Description:
    """What a job has to know of an embedder before it embeds, and who made it."""

    settings: list[Setting]
    image_max_size: int
    image_reading: str
    has_words: bool
    warnings: list[str]
    versions: dict[str, str] = field(default_factory=installed_versions)


@dataclass(frozen=True)
class Done:
    """A block's outcomes: of which worker, in how many seconds; or what no other block will be spared either."""

    worker: str
    seconds: float
    outcomes: list[Outcome]
    failure: CieError | None = None


class _Warnings(logging.Handler):
    """What is said while the model loads: the driver says it again, for nobody reads a worker's own output."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


class Worker:
    """An embedder in a process of the cluster.

    Args:
        model: As for `load`.
        options: The other arguments of `load`.
        entry: Of the method, which the driver's program may have registered itself.
        directory: The driver's, which the names of models may be relative to; where there is none, they are not.
    """

    def __init__(self, model: str, options: Mapping[str, Any], entry: Method | None, directory: str) -> None:
        with suppress(OSError):
            os.chdir(directory)
        self._failure: CieError | None = None
        self._warnings = _Warnings()
        logging.getLogger().addHandler(self._warnings)
        if entry is not None and entry.name not in METHODS:
            register(entry)
        try:
            self._embedder = load(model, **options)
        except CieError as error:  # told with the first block: an actor that does not start is started again and again
            self._failure = error
        except Exception as error:  # noqa: BLE001 - the same, of whatever is missing on this node
            self._failure = ModelError(f"{model} does not load on a worker: {type(error).__name__}: {error}")

    def describe(self, request: Request) -> Description | CieError:
        """What is made here of such a request."""
        if self._failure is not None:
            return self._failure
        made = self._embedder
        try:
            settings = made.settings(request, dataset="")
        except CieError as error:
            return error
        return Description(settings, made.image_max_size, made.image_reading, made.has_words, self._warnings.texts)

    def __call__(self, block: Mapping[str, Any], **how: Any) -> dict[str, list[bytes]]:
        """Embed a block: a row with pickled image ids and references; a row with a pickled `Done` comes back.

        Pickles, because that is how Ray moves whatever is not a number: they come from the job itself.
        """
        import ray

        begun = time.perf_counter()
        outcomes: list[Outcome] = []
        failure = self._failure
        if failure is None:
            try:
                outcomes = self._outcomes(pickle.loads(zlib.decompress(block["references"][0])), **how)  # noqa: S301
            except CieError as error:
                failure = error
        worker = ray.get_runtime_context().get_actor_id() or ""
        done = Done(worker, time.perf_counter() - begun, outcomes, failure)
        return {"done": [pickle.dumps(done)]}

    def _outcomes(
        self,
        references: list[tuple[str, Reference]],
        *,
        source: ImageSource,
        request: Request,
        batch_size: int | None,
        workers: int,
    ) -> list[Outcome]:
        made = self._embedder
        read = Reader(made.image_max_size, as_reference=made.image_reading == "reference")
        images = ((JobImage(image_id), image) for image_id, image in source.open(references))
        return [
            (each.image_id, each.record, str(outcome) if isinstance(outcome, ImageError) else outcome)
            for each, outcome in made.stream(images, request, read=read, batch_size=batch_size, workers=workers)
        ]
