"""What every method is: an embedder with one `encode`, and two halves underneath that run beside each other.

A method says how one image is prepared (in a worker thread) and how a batch of prepared images becomes vectors;
reading, batching, order, checks and output form are written here once.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..conditions import Conditions, checked_conditions, prompt
from ..errors import ConditionError, ImageError
from ..images import ImageInput, read_image
from ..settings import Setting
from .streaming import Key, stream

if TYPE_CHECKING:
    import torch

EMBEDDING_SOURCES = ("input_last", "first_output", "mean_output")

Prepared = TypeVar("Prepared")


@dataclass(frozen=True, kw_only=True)
class Request:
    """What one call asks for, checked. K conditions and L layers give (K, L, d) values an image."""

    conditions: tuple[str | None, ...] = (None,)
    prompt_type: str = "describe"
    layers: tuple[int, ...] = (-1,)
    token: int = -1
    embedding_source: str = "input_last"
    max_new_tokens: int = 16
    do_sample: bool = False
    temperature: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "conditions", checked_conditions(self.conditions))
        prompt(None, self.prompt_type)  # an unknown prompt type is refused before any image is read
        if self.embedding_source not in EMBEDDING_SOURCES:
            raise ValueError(
                f"unknown embedding_source {self.embedding_source!r}; known: {', '.join(EMBEDDING_SOURCES)}"
            )
        if self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens is {self.max_new_tokens}; at least 1 token must be generated")


class Embedder(ABC):
    """Turns images into vectors under conditions; made by `conditional_image_embeddings.load`.

    Attributes:
        method: The method's name, such as "dior".
        model: The model as the user named it.
        revision: The hub's commit or a fingerprint of the local files.
        conditional: Whether a condition changes the vector. CLIP's does not: it takes none.
        depth: The highest layer whose hidden states there are; 0 where there is nothing to choose.
        image_max_size: Images are scaled down so that their longer side is at most this many pixels (paper: 700).
        budget: What a padded batch may cost, in the unit of `cost`; halves itself when an accelerator's memory is full.
    """

    method: str
    model: str
    revision: str | None
    conditional: bool
    depth: int
    image_max_size: int
    budget: int

    @abstractmethod
    def prepare(self, image: Image.Image, request: Request) -> Any:
        """All that can be done for one image without the model. Runs in worker threads."""

    @abstractmethod
    def cost(self, prepared: Any) -> int:
        """What the prepared image costs in a batch: its tokens, for a model with a sequence."""

    @abstractmethod
    def embed(self, batch: Sequence[Any], request: Request) -> NDArray[np.float32]:
        """Vectors of prepared images, float32 (n, K, L, d). Runs the model; one thread at a time."""

    @abstractmethod
    def settings(self, request: Request, *, dataset: str, source: str | None = None) -> list[list[Setting]]:
        """The K x L settings of the request's vectors: what a store keeps them under."""

    def stream(
        self,
        images: Iterable[tuple[Key, Any]],
        request: Request,
        *,
        batch_size: int | None = None,
        workers: int | None = None,
        read: Callable[[Any], Image.Image] | None = None,
    ) -> Iterator[tuple[Key, NDArray[np.float32] | ImageError]]:
        """`(key, vectors (K, L, d))` for each image or `(key, ImageError)`; lazily, in bounded memory, in any order.

        `read` makes an image of an input, in a worker; by default `read_image` for an `ImageInput`.
        """
        self._check(request)
        return stream(
            self,
            images,
            request,
            read=read or (lambda image: read_image(image, max_size=self.image_max_size)),
            batch_size=batch_size,
            workers=workers,
        )

    def encode(
        self,
        images: "ImageInput | Sequence[ImageInput]",
        conditions: Conditions = None,
        *,
        prompt_type: str = "describe",
        layer: int = -1,
        token: int = -1,
        embedding_source: str = "input_last",
        max_new_tokens: int = 16,
        batch_size: int | None = None,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        show_progress_bar: bool | None = None,
        convert_to_tensor: bool = False,
    ) -> "NDArray[np.float32] | torch.Tensor":
        """Embed images under conditions, in the order given.

        Args:
            images: A path, PIL image, (H, W, 3) uint8 array or tensor, or encoded bytes; or a sequence of them.
            conditions: A name ("car color"), a sequence of K names (None among them is "no condition"), or None.
            prompt_type: One of the paper's seven prompt types.
            layer: Index into the hidden states: 0 the input embeddings, k the output of layer k, -1 the last, normed.
            token: Index into the prompt's real tokens; -1 is the last.
            embedding_source: "input_last", "first_output" (the first generated token) or "mean_output" (the mean
                over the generated tokens).
            max_new_tokens: For "mean_output": how many tokens are generated at most.
            batch_size: Images a batch at most; None lets the embedder fill its token budget.
            normalize_embeddings: Scale each vector to unit length.
            truncate_dim: Keep the first so many dimensions (before normalising).
            show_progress_bar: None shows it on a terminal for more than one batch's worth of images.
            convert_to_tensor: Return a torch tensor on the CPU instead of an array.

        Returns:
            float32, (n, K, d) for a sequence of images and of conditions; a single image drops the first axis,
            a single condition (or None) the second.

        Raises:
            ImageError: an image cannot be read; the message names it. (Jobs go on: see `embedding_job`.)
            ConditionError: a condition or prompt type cannot be used with this method.
        """
        request = Request(
            conditions=checked_conditions(conditions),
            prompt_type=prompt_type,
            layers=(layer,),
            token=token,
            embedding_source=embedding_source,
            max_new_tokens=max_new_tokens,
        )
        one_image = is_one_image(images)
        inputs: Sequence[Any] = [images] if one_image else images  # type: ignore[assignment]
        vectors = self._collect(inputs, request, batch_size, show_progress_bar)[:, :, 0]
        if truncate_dim is not None:
            if not 1 <= truncate_dim <= vectors.shape[-1]:
                raise ValueError(
                    f"truncate_dim is {truncate_dim}; this model's vectors have {vectors.shape[-1]} dimensions"
                )
            vectors = vectors[..., :truncate_dim]
        if normalize_embeddings:
            vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
        if conditions is None or isinstance(conditions, str):
            vectors = vectors[:, 0]
        if one_image:
            vectors = vectors[0]
        vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        if convert_to_tensor:
            import torch

            return torch.from_numpy(vectors)
        return vectors

    def _collect(
        self, images: Sequence[Any], request: Request, batch_size: int | None, show_progress_bar: bool | None
    ) -> NDArray[np.float32]:
        from tqdm.auto import tqdm

        disable = None if show_progress_bar is None else not show_progress_bar  # None: tqdm shows it on a terminal only
        vectors: NDArray[np.float32] | None = None
        with tqdm(total=len(images), desc="embedding", unit="image", disable=disable, leave=False) as bar:
            for index, outcome in self.stream(enumerate(images), request, batch_size=batch_size):
                if isinstance(outcome, ImageError):
                    raise outcome
                if vectors is None:
                    vectors = np.empty((len(images), *outcome.shape), dtype=np.float32)
                vectors[index] = outcome
                bar.update()
        if vectors is None:
            raise ValueError("no images given: pass at least one")
        return vectors

    def _check(self, request: Request) -> None:
        if not self.conditional and request.conditions != (None,):
            raise ConditionError(
                f"{self.method} embeds an image without a condition: leave the condition out, "
                "or choose a method that takes one (dior)"
            )
        default = Request()
        for option in ("layers", "token", "embedding_source"):
            if not self.conditional and getattr(request, option) != getattr(default, option):
                raise ValueError(f"{self.method} has one vector an image: leave {option.rstrip('s')} at its default")


def is_one_image(images: Any) -> bool:
    """Whether this is one image rather than a sequence of them. A 4-D array or tensor is a sequence."""
    if isinstance(images, str | bytes | Path | Image.Image):
        return True
    if hasattr(images, "ndim"):
        return bool(images.ndim <= 3)
    return hasattr(images, "__fspath__")
