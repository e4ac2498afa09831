"""What every method is: an embedder with one `encode`, and two halves underneath that run beside each other.

A method says how one image is prepared (in a worker thread) and how a batch of prepared images becomes vectors. What a
user calls is written once, in `encoding` and `queries`; that it may be called from several threads, in `resource`.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import ConditionError, ImageError, OptionError
from ..inputs.arguments import checked_count, optional_count
from ..inputs.images import ImageInput, image_name, ordinary_image, read_image
from ..models.exclusion import ModelLock
from .encoding import Encoding
from .queries import Queries
from .registry import METHODS, Method, describe
from .request import Embedded, Request
from .resource import Resource
from .settings import Setting
from .streaming import Key, stream

if TYPE_CHECKING:
    import torch

    from ..models.checkpoint import Checkpoint

ORDINARY = 700  # pixels on the longer side of the picture that is tried when another fails


IMAGE_READINGS = ("upright", "reference")


class Embedder(Resource, Encoding, Queries):
    """Turns images into vectors under conditions; made by `conditional_image_embeddings.load`.

        with cie.load("builtin") as embedder:
            vectors = embedder.encode(["a.png", "b.png"], conditions=["car color", "car model"])   # (2, 2, d)

    It may be used from any number of threads: the model runs one pass at a time, images are read and prepared beside
    it. It can be pickled, for another process, where it loads again.

    Attributes:
        method: The method's name, such as "dior".
        model: The model as the user named it.
        revision: The hub's commit or a fingerprint of the local files.
        entry: What the registry says of the method: its conditions, which arguments of `encode` it takes, ...
        depth: The highest layer whose hidden states there are; 0 where there is nothing to choose.
        backbone: The embedder that holds the model: this one, unless it stands on another.
        image_max_size: Images are scaled down so that their longer side is at most this many pixels (paper: 700).
        image_reading: "upright", as a viewer shows them; or "reference", the pixels that the paper's code sees (see
            `images.read_image`).
        reads_pairs: Whether its model reads an image and a text at once (`pairs`).
        budget: What a padded batch may cost, in the unit of `cost`; halves itself when an accelerator's memory is full.
    """

    method: str
    model: str
    revision: str | None
    depth: int
    image_max_size: int
    image_reading: str = IMAGE_READINGS[0]
    reads_pairs: bool = False
    budget: int

    @classmethod
    def from_checkpoint(cls, checkpoint: "Checkpoint", **options: Any) -> Self:
        """The method on a model that was found; `options` are those of `load` that are the method's."""
        make: Any = cls
        made: Self = make(checkpoint, **options)
        return made

    @classmethod
    def options_from(cls, setting: Setting) -> dict[str, Any]:
        """The options of the class that made a setting, so that it can be made again."""
        reading = {name: setting.extra[name] for name in ("image_reading",) if name in setting.extra}
        return {"image_max_size": setting.image_max_size, **reading}

    def fitted(self, request: Request) -> dict[str, NDArray[Any]]:  # noqa: ARG002
        """What was learnt from a collection or texts, beyond what the setting says: nothing unless a method does."""
        return {}

    def restore(self, fitted: Mapping[str, NDArray[Any]], setting: Setting) -> None:
        """Take what another embedder of this setting had `fitted`, in place of learning it."""

    @property
    def backbone(self) -> "Embedder":
        """The embedder that holds the model."""
        return self

    @property
    def entry(self) -> Method:
        """What the registry says of the method."""
        return describe(self.method)

    @property
    def conditional(self) -> bool:
        """Whether a condition changes the vector. CLIP's does not: it takes none."""
        return self.entry.conditional

    @property
    def has_hidden_states(self) -> bool:
        """Whether layer, token and embedding source can be chosen."""
        return "layer" in self.entry.arguments

    @property
    def lock(self) -> ModelLock:
        """One for all embedders that stand on the same model."""
        backbone = self.backbone
        return self._own_lock if backbone is self else backbone.lock

    @property
    def device(self) -> "torch.device":
        """Where the model is."""
        import torch

        checkpoint: Any = getattr(self.backbone, "checkpoint", None)
        found: torch.device = torch.device("cpu") if checkpoint is None else checkpoint.device
        return found

    @property
    def dtype(self) -> str:
        """What the model computes in, such as "float32"."""
        checkpoint: Any = getattr(self.backbone, "checkpoint", None)
        return "float32" if checkpoint is None else str(checkpoint.dtype).removeprefix("torch.")

    @property
    def sharing(self) -> str | None:
        """How one pass serves all conditions of an image, of `engine.plan.STRATEGIES`; None without prompts."""
        plan: Any = getattr(self.backbone, "plan", None)
        return None if plan is None else str(plan.strategy)

    def __repr__(self) -> str:
        if self._closed:
            return f"<closed {type(self).__name__} {self.model!r}>"
        shown = {"method": self.method, "device": str(self.device), "dtype": self.dtype, "sharing": self.sharing}
        return f"{type(self).__name__}({', '.join([repr(self.model), *(f'{k}={v!r}' for k, v in shown.items() if v)])})"

    def _uses_cuda(self) -> bool:
        return self.device.type == "cuda"

    @property
    def has_words(self) -> bool:
        """Whether words are told with a vector if they are asked for."""
        return False

    @abstractmethod
    def prepare(self, image: Image.Image, request: Request) -> Any:
        """All that can be done for one image without the model. Runs in worker threads."""

    @abstractmethod
    def cost(self, prepared: Any) -> int:
        """What the prepared image costs in a batch: its tokens, for a model with a sequence."""

    @abstractmethod
    def forward_batch(self, batch: Sequence[Any], request: Request) -> list[Embedded]:
        """The vectors of prepared images, and their words if asked for. Runs the model: the caller holds the lock."""

    def is_finite(self, result: Embedded) -> bool:
        """Whether all its values are numbers: none overflowed."""
        return bool(np.isfinite(result.vectors).all())

    def benchmark_conditions(self, conditions: Sequence[str | None]) -> tuple[str | None, ...]:
        """What a benchmark with these conditions is embedded under: each of them once, and none (paper, protocol).

        A method without conditions is left none alone; one that is another without a condition, the others alone.
        """
        named = tuple(dict.fromkeys(condition for condition in conditions if condition is not None))
        if not self.conditional:
            return (None,)
        return named if self.entry.conditions == "required" else (*named, None)

    @abstractmethod
    def settings(self, request: Request, *, dataset: str, source: str | None = None) -> list[Setting]:
        """What a store keeps the request's vectors under: one setting a vector, in the order of the request's axes."""

    def _setting(self, dataset: str, source: str | None, *, extra: dict[str, Any] | None = None, **own: Any) -> Setting:
        """A setting with what every method records of itself, and what it has of its own."""
        reading = {} if self.image_reading == IMAGE_READINGS[0] else {"image_reading": self.image_reading}
        return Setting(
            dataset=dataset,
            source=source,
            method=self.method,
            model=self.model,
            revision=self.revision,
            image_max_size=self.image_max_size,
            extra={**(extra or {}), **reading},
            **own,
        )

    def read(self, image: ImageInput, *, name: str | None = None) -> Image.Image:
        """The image in RGB, as this embedder's options have it; `name` is what messages call it.

        Raises:
            ImageError: it cannot be read.
        """
        as_reference = self.image_reading == "reference"
        return read_image(image, max_size=self.image_max_size, as_reference=as_reference, name=name)

    def stream(
        self,
        images: Iterable[tuple[Key, Any]],
        request: Request,
        *,
        batch_size: int | None = None,
        workers: int | None = None,
        read: Callable[[Key, Any], Image.Image] | None = None,
        on_batch: Callable[[int], object] = lambda _: None,
    ) -> Iterator[tuple[Key, Embedded | ImageError]]:
        """`(key, Embedded)` for each image or `(key, ImageError)`; lazily, in bounded memory, in any order.

        `read` makes an image of a key and an input, in a worker; by default `self.read` for an `ImageInput`. `on_batch`
        is told the number of images of each batch.

        Raises:
            ModelError: the model or its processor fails on every image: on an ordinary picture too.
        """
        self._check(request)
        size = self.image_max_size
        return stream(
            self,
            images,
            request,
            read=read or (lambda key, image: self.read(image, name=image_name(image, key))),
            ordinary=ordinary_image(min(size or ORDINARY, ORDINARY)),
            name=lambda key, image: image_name(image, key),
            batch_size=optional_count("batch_size", batch_size),
            workers=optional_count("workers", workers),
            on_batch=on_batch,
        )

    def _check(self, request: Request) -> None:
        if not self.conditional and request.conditions != (None,):
            raise ConditionError(
                f"{self.method} embeds an image without a condition: leave the condition out, "
                "or choose a method that takes one (dior)"
            )
        if request.together and "together" not in self.entry.arguments:
            able = " or ".join(each.name for each in METHODS.values() if "together" in each.arguments)
            raise ConditionError(f"{self.method} has a vector for each condition; one of several is for method {able}")
        default = Request()
        for option, called in (
            ("layers", "layer"), ("tokens", "token"), ("layer_pooling", "layer_pooling"),
            ("embedding_source", "embedding_source"), ("prompt_types", "prompt_type"),
        ):  # fmt: skip
            if called not in self.entry.arguments and getattr(request, option) != getattr(default, option):
                raise OptionError(f"{self.method} does not support {called}: leave it at its default")


def checked_size(image_max_size: int) -> int:
    """How many pixels the longer side may have; 0 for any number.

    Raises:
        OptionError: less, or no whole number.
    """
    return checked_count("image_max_size", image_max_size, least=0)


def checked_reading(image_reading: str) -> str:
    """One of `IMAGE_READINGS`.

    Raises:
        ValueError: another.
    """
    if image_reading not in IMAGE_READINGS:
        raise OptionError(f"unknown image_reading {image_reading!r}; known: {', '.join(IMAGE_READINGS)}")
    return image_reading
