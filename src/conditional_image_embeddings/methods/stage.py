"""The two halves of an embedder, and what becomes of an image that one of them fails on.

It is one bad image: its result is an `ImageError`, and the others of its batch are embedded. Whether the image or the
model is at fault is found out with another one under the same request, the control: an ordinary picture until something
was embedded, then what was embedded last. What fails on that too is the model's, and ends the job. So does a model that
is beyond use after an error, as CUDA is, however well it began.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from traceback import walk_tb
from typing import Any, NamedTuple, Protocol

from ..errors import CieError, ImageError, ModelError
from ..models.exclusion import computing

MAX_REASON = 300  # characters of a library's own words

# What a model or processor raises on an input that it cannot take. Anything else is a fault of this package.
UNSUPPORTED_ERRORS = (
    *(CieError, RuntimeError, ValueError, TypeError, LookupError, AttributeError),
    *(ArithmeticError, MemoryError, StopIteration),
)

logger = logging.getLogger(__name__)


class Stage(Protocol):
    """What `stream` drives.

    Attributes:
        budget: What a batch may cost.
        lock: Held while a batch goes through the model: several threads may share it. Never while a result is yielded.
    """

    budget: int

    @property
    def lock(self) -> AbstractContextManager[Any]: ...

    def prepare(self, image: Any, request: Any) -> Any: ...

    def cost(self, prepared: Any) -> int: ...

    def forward_batch(self, batch: Sequence[Any], request: Any) -> Sequence[Any]: ...

    def is_finite(self, result: Any) -> bool: ...


class Item(NamedTuple):
    """A prepared image; `name` is what messages call it, `group` counts the groups that came before its first."""

    key: Any
    name: str
    prepared: Any
    group: int = 0


class _RefusedError(ImageError):
    """An image that could be read, and that `Stage.prepare` stumbled over."""


class Guarded:
    """A stage under one request, on images of which any may be one that it fails on."""

    def __init__(self, stage: Stage, request: Any, ordinary: Any) -> None:
        self._stage, self._request, self._ordinary = stage, request, ordinary
        self._processes = False  # the processor took an image
        self._worked: Any = None  # what was embedded last
        self._told = False

    def prepare(self, key: Any, name: str, image: Any) -> Item:
        """Runs in worker threads.

        Raises:
            ImageError: the processor refuses the image; to be told to `check`.
        """
        try:
            with computing():
                prepared = self._stage.prepare(image, self._request)
        except ImageError:
            raise
        except Exception as error:
            if not _is_refusal(error):
                raise
            who = "" if isinstance(error, CieError) else " by the model's processor"
            raise _RefusedError(f"{name}{_size(image)} is refused{who}: {_reason(error)}") from error
        self._processes = True
        return Item(key, name, prepared)

    def check(self, failure: ImageError) -> None:
        """Raise if an image was refused, and every other is; one that cannot be read says nothing."""
        if isinstance(failure, _RefusedError) and not self._processes:
            self._prepare_ordinary(failure)

    def forward_batch(self, batch: list[Item]) -> Iterator[tuple[Any, Any]]:
        """The batch's results; an `ImageError` for each image that fails by itself where others do not."""
        doubtful: list[tuple[Any, ImageError]] = []
        for item, outcome in self._embedded(batch):
            if isinstance(outcome, ImageError):
                doubtful.append((item.key, outcome))
                continue
            self._worked = item.prepared
            yield from doubtful  # the model still works: it was the images
            doubtful.clear()
            yield item.key, outcome
        if doubtful:
            more = f" (and {len(doubtful) - 1} more)" if len(doubtful) > 1 else ""
            self._embed_control(f"{doubtful[0][1]}{more}")
            yield from doubtful

    def _prepare_ordinary(self, failure: object) -> Any:
        try:
            with computing():
                prepared = self._stage.prepare(self._ordinary, self._request)
        except Exception as error:
            if _is_told(error):
                raise
            raise ModelError(f"{failure}; an ordinary picture is refused too: {_reason(error)}") from error
        self._processes = True
        return prepared

    def _embed_control(self, failure: str) -> None:
        """Raise if the model fails on the control too."""
        works = self._worked is not None
        control = self._worked if works else self._prepare_ordinary(failure)
        which = "one that went well before" if works else "an ordinary picture"
        try:
            result = self._tried(control)
        except Exception as error:
            if _is_told(error):
                raise
            raise ModelError(f"{failure}; {which} fails too: {_reason(error)}") from error
        if not self._stage.is_finite(result):
            raise ModelError(f"{failure}; {which} too")

    def _embedded(self, batch: list[Item]) -> Iterator[tuple[Item, Any]]:
        """Results or errors; in halves where the batch fails or the accelerator's memory is too small for it.

        What did not fit is remembered: batches are smaller from then on.
        """
        import torch

        if len(batch) == 1:
            yield batch[0], self._alone(batch[0])
            return
        stage = self._stage
        cost = max(stage.cost(item.prepared) for item in batch) * len(batch)
        results, full = None, False
        if cost <= stage.budget:  # else formed before another did not fit
            try:
                results = self._forward([item.prepared for item in batch])
            except torch.OutOfMemoryError:
                full = True
                stage.budget = min(stage.budget, max(1, cost // 2))
                logger.info("out of memory with %d images; batches now cost at most %d", len(batch), stage.budget)
            except Exception as error:
                if not _is_refusal(error):
                    raise
                tell = logger.info if self._told else logger.warning
                tell("%d images fail together, and are tried in smaller batches: %s", len(batch), _reason(error))
                self._told = True
        if results is not None:
            for item, result in zip(batch, results, strict=True):
                # What is not finite may have come from another image of the batch.
                yield item, result if stage.is_finite(result) else self._alone(item)
            return
        if full:  # outside of the except block: the exception's traceback keeps the failed batch's tensors alive
            torch.cuda.empty_cache()
        half = len(batch) // 2
        yield from self._embedded(batch[:half])
        yield from self._embedded(batch[half:])

    def _alone(self, item: Item) -> Any:
        """One image's result or error."""
        import torch

        full = False
        try:
            result = self._tried(item.prepared)
        except torch.OutOfMemoryError:
            full = True
            failure = "does not fit into memory by itself: choose a smaller image_max_size"
        except Exception as error:
            if not _is_refusal(error):
                raise
            failure = f"makes the model fail: {_reason(error)}"
            logger.info("%s makes the model fail", item.name, exc_info=True)
        else:
            if self._stage.is_finite(result):
                return result
            failure = "gives values that are not finite: try dtype float32"
        if full:
            torch.cuda.empty_cache()
        return ImageError(f"{item.name} {failure}")

    def _forward(self, prepared: Sequence[Any]) -> Sequence[Any]:
        with self._stage.lock:
            return self._stage.forward_batch(prepared, self._request)

    def _tried(self, prepared: Any) -> Any:
        """One image's result. If it fails it is tried beside itself: some models lose an axis of length 1."""
        import torch

        try:
            return self._forward([prepared])[0]
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            if not _is_refusal(error):
                raise
            try:
                return self._forward([prepared, prepared])[0]
            except Exception:  # noqa: BLE001 - the first one says more
                raise error from error.__cause__


def _is_refusal(error: Exception) -> bool:
    """Whether the error may be about the input. Failed assertions and unknown names are, inside transformers alone."""
    if isinstance(error, UNSUPPORTED_ERRORS):
        return True
    *_, (frame, _) = walk_tb(error.__traceback__)
    return str(frame.f_globals.get("__name__")).startswith("transformers")


def _is_told(error: Exception) -> bool:
    """Whether the error says by itself what is wrong: a fault of this package, or of what was asked for."""
    return (isinstance(error, CieError) and not isinstance(error, ImageError)) or not _is_refusal(error)


def _reason(error: Exception) -> str:
    """One line, not endless."""
    kind = "" if isinstance(error, CieError | ValueError) else f"{type(error).__name__}: "
    text = " ".join(str(error).split())
    return kind + (text if len(text) <= MAX_REASON else f"{text[:MAX_REASON]} ...") if text else type(error).__name__


def _size(image: Any) -> str:
    size = getattr(image, "size", None)
    return f" ({size[0]} x {size[1]})" if isinstance(size, tuple) else ""
