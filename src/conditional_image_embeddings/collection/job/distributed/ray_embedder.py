"""An embedder on a Ray cluster, as a job sees it.

The job lists, compares and commits as it does on one machine; only the embedding is elsewhere. Its images become a Ray
dataset of blocks of references (paths, rows), which a pool of actors reads and embeds, and whose results come back as
they are made: never more than the job takes. Since there is one committer, whatever happens to a worker leaves each
image embedded once or not at all, and what was committed is what the next run goes on from.
"""

import logging
import pickle
import zlib
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from ....errors import CieError, ImageError, ModelError, OptionError
from ....inputs.references import ImageSource, Reference
from ....methods import METHODS
from ....methods.request import Embedded, Request
from ....methods.settings import Setting
from ...storage.tables import ImageRecord
from ...storage.versions import installed_versions
from ..job_images import JobImage, Reader
from .ray_cluster import Pool, connect, explained
from .worker import Description, Done, Worker

# Images in a block: what a worker that is lost had in hand, at most twice. The first ones are small, so that of a few
# images every worker has some; larger ones fill the model's batches better.
FIRST_BLOCK, BLOCK = 32, 256
IN_HAND = 2  # blocks a worker has at once: the next one is there when it is done with one
RECENT = 8  # blocks of a worker that its rate is of
SHOWN = 4  # workers whose rates are shown

logger = logging.getLogger(__name__)


class RayEmbedder:
    """Stands in for an embedder in a job; the model is on the cluster's workers alone.

    Args:
        model: As for `load`.
        options: The other arguments of `load`, `method` among them.
        request: What will be asked for: the settings are told for it.
        address: Of the cluster: "host:port"; "auto" is the one that this machine is part of; "local" begins one of its
            own on this machine. None is "auto" if there is one, else "local".
        workers: How many; None: one per GPU, or one per node where there are none.

    Attributes:
        progress: What a progress bar shows of the workers: how many there are, images a second of each lately.

    Raises:
        ExtraError: Ray is not installed.
        OptionError: no cluster answers at the address, or one of other versions of Ray or Python; the device is one
            GPU of several.
    """

    def __init__(
        self,
        model: str,
        options: Mapping[str, Any],
        request: Request,
        *,
        address: str | None = None,
        workers: int | None = None,
    ) -> None:
        self.model, self._request = model, request
        if str(options.get("device")).startswith("cuda:"):
            raise OptionError(f"device {options['device']}: on a cluster each worker has a GPU of its own, called cuda")
        entry = METHODS.get(str(options.get("method")))
        self._worker = {"model": model, "options": dict(options), "entry": entry, "directory": str(Path.cwd())}
        connect(address)
        import ray

        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        self.pool = Pool.on(nodes, workers, options.get("device"))
        self.progress: dict[str, str] = {}

    @property
    def image_max_size(self) -> int:
        return self._described.image_max_size

    @property
    def image_reading(self) -> str:
        return self._described.image_reading

    @property
    def has_words(self) -> bool:
        return self._described.has_words

    def settings(self, request: Request, *, dataset: str, source: str | None = None) -> list[Setting]:
        if request != self._request:
            raise OptionError("the settings of another request are not known: make an embedder for it")
        return [replace(each, dataset=dataset, source=source) for each in self._described.settings]

    def embed(
        self,
        source: ImageSource,
        references: Iterable[tuple[str, Reference]],
        request: Request,
        *,
        batch_size: int | None = None,
        workers: int | None = None,
        read: Reader,
    ) -> Iterator[tuple[JobImage, Embedded | ImageError]]:
        """`(image, Embedded)` for each image of a source or `(image, ImageError)`; as they are made, in any order.

        Args:
            source: It is sent to each worker.
            references: Ids and references of its images.
            request: What is asked for.
            batch_size: Images per batch at most.
            workers: Threads that read images, in each worker; None: one per core that it has.
            read: Checks here what was read there.

        Raises:
            ModelError: the model fails on a worker, or the cluster does.
        """
        import ray
        from ray.data import ActorPoolStrategy, DataContext

        DataContext.get_current().enable_progress_bars = False  # the job has its own
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        self.progress = {"workers": f"{self.pool.workers} starting"}
        recent: dict[str, deque[tuple[int, float]]] = {}
        how = {"batch_size": batch_size, "workers": workers or self.pool.cpus}
        blocks = list(_blocks(references, self.pool.workers))
        size = min(self.pool.workers, len(blocks))
        embedded = ray.data.from_blocks(blocks).map_batches(
            Worker,
            fn_constructor_kwargs=self._worker,
            fn_kwargs={"source": source, "request": request, **how},
            batch_size=None,
            num_cpus=self.pool.cpus,
            num_gpus=self.pool.gpus,
            compute=ActorPoolStrategy(size=size, max_tasks_in_flight_per_actor=IN_HAND),
        )
        del blocks  # Ray's object store has them, and writes to disk what does not fit
        with explained():
            for batch in embedded.iter_batches(batch_size=None):
                for pickled in batch["done"]:
                    done: Done = pickle.loads(pickled)  # noqa: S301 - the job's own, from its own workers
                    if done.failure is not None:
                        raise done.failure
                    recent.setdefault(done.worker, deque(maxlen=RECENT)).append((len(done.outcomes), done.seconds))
                    self.progress = _progress(recent.values())
                    for image_id, record, outcome in done.outcomes:
                        yield JobImage(image_id, record), _checked(image_id, record, outcome, read)

    @cached_property
    def _described(self) -> Description:
        """From a worker that is asked before there is work: what the settings are depends on the device it finds."""
        import ray

        with explained():
            probe: Any = ray.remote(Worker).options(num_cpus=self.pool.cpus, num_gpus=self.pool.gpus)
            worker = probe.remote(**self._worker)
            told: Description | CieError = ray.get(worker.describe.remote(self._request))
            ray.kill(worker)
        if isinstance(told, CieError):
            raise told
        _check_versions(told.versions)
        for text in told.warnings:
            logger.warning("%s", text)
        return told


def _progress(workers: Collection[Iterable[tuple[int, float]]]) -> dict[str, str]:
    """Of the images and seconds of each worker's last blocks."""
    rates = [sum(images) / sum(seconds) for images, seconds in (zip(*each, strict=True) for each in workers)]
    shown = " ".join(f"{rate:.3g}" for rate in rates[:SHOWN]) + (" ..." if len(rates) > SHOWN else "")
    return {"workers": str(len(rates)), "img/s each": shown}


def _check_versions(there: Mapping[str, str]) -> None:
    """Workers have to run this very package; of others it is said, for a database records the driver's."""
    differ = [
        f"{name} {there.get(name)} (here {own})" for name, own in installed_versions().items() if there.get(name) != own
    ]
    if differ and differ[0].startswith("conditional-image-embeddings "):
        raise ModelError(f"the cluster's nodes have {differ[0]}: install the same on all of them")
    if differ:
        logger.warning(
            "the cluster's nodes have %s: their vectors are recorded as made with what is here", ", ".join(differ)
        )


def _blocks(references: Iterable[tuple[str, Reference]], workers: int) -> Iterator[Any]:
    """Tables of one row: pickled references. Paths have much in common, and are packed."""
    import pyarrow as pa

    pairs, size = iter(references), FIRST_BLOCK
    while True:
        for _ in range(IN_HAND * workers):
            if not (part := list(islice(pairs, size))):
                return
            yield pa.table({"references": [zlib.compress(pickle.dumps(part), 1)]})
        size = min(2 * size, BLOCK)


def _checked(image_id: str, record: ImageRecord | None, outcome: Embedded | str, read: Reader) -> Embedded | ImageError:
    """A worker's outcome, or that the file changed since the job looked at it."""
    if isinstance(outcome, str):
        return ImageError(outcome)
    if record is not None:
        try:
            read.check(image_id, record.place, repr(record.place.path))
        except ImageError as error:
            return error
    return outcome
