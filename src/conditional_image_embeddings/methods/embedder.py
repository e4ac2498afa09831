"""What every method is: an embedder with one `encode`, and two halves underneath that run beside each other.

A method says how one image is prepared (in a worker thread) and how a batch of prepared images becomes vectors;
reading, batching, order, checks and output form are written here once.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import ConditionError, ImageError, ModelError, OptionError
from ..inputs.conditions import Conditions, checked_conditions
from ..inputs.images import ImageInput, image_name, ordinary_image, read_image
from .registry import METHODS, Method, describe
from .request import Embedded, Request
from .settings import Setting
from .streaming import Key, stream

if TYPE_CHECKING:
    import torch

    from ..models.checkpoint import Checkpoint

ORDINARY = 700  # pixels on the longer side of the picture that is tried when another fails


IMAGE_READINGS = ("upright", "reference")


class Embedder(ABC):
    """Turns images into vectors under conditions; made by `conditional_image_embeddings.load`.

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
        budget: What a padded batch may cost, in the unit of `cost`; halves itself when an accelerator's memory is full.
    """

    method: str
    model: str
    revision: str | None
    depth: int
    image_max_size: int
    image_reading: str = IMAGE_READINGS[0]
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

    def restore(self, fitted: Mapping[str, NDArray[Any]], setting: Setting) -> None:  # noqa: B027 - nothing to take
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
        """The vectors of prepared images, and their words if asked for. Runs the model; one thread at a time."""

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
    ) -> Iterator[tuple[Key, Embedded | ImageError]]:
        """`(key, Embedded)` for each image or `(key, ImageError)`; lazily, in bounded memory, in any order.

        `read` makes an image of a key and an input, in a worker; by default `self.read` for an `ImageInput`.

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
            batch_size=batch_size,
            workers=workers,
        )

    def encode(
        self,
        images: "ImageInput | Sequence[ImageInput]",
        conditions: Conditions = None,
        *,
        prompt_type: str | Sequence[str] = "describe",
        layer: int | Sequence[int] = -1,
        layer_pooling: str = "concat",
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
            prompt_type: One of the paper's seven prompt types; of several, the mean of their vectors. They share the
                image and nothing of the text.
            layer: Index into the hidden states: 0 the input embeddings, k the output of layer k, -1 the last, normed;
                or several of them.
            layer_pooling: What becomes of several layers, each scaled to unit length: "concat" or "mean".
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
            ImageError: an image cannot be read, or the model or its processor fails on it; the message names it by its
                path or index. (Jobs go on: see `embedding_job`.)
            ModelError: the model or its processor fails on every image.
            ConditionError: a condition or prompt type cannot be used with this method.
        """
        request = _request(
            conditions,
            prompt_type,
            layer,
            layer_pooling,
            tokens=(token,),
            embedding_source=embedding_source,
            max_new_tokens=max_new_tokens,
        )
        one_image = is_one_image(images)
        inputs: Sequence[Any] = [images] if one_image else images  # type: ignore[assignment]
        vectors = self._collect(inputs, request, batch_size, show_progress_bar)
        return _result(
            vectors, conditions, one=one_image, truncate_dim=truncate_dim,
            normalize_embeddings=normalize_embeddings, convert_to_tensor=convert_to_tensor,
        )  # fmt: skip

    def encode_text(
        self,
        texts: str | Sequence[str],
        conditions: Conditions = None,
        *,
        prompt_type: str | Sequence[str] = "describe",
        layer: int | Sequence[int] = -1,
        layer_pooling: str = "concat",
        token: int = -1,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        convert_to_tensor: bool = False,
    ) -> "NDArray[np.float32] | torch.Tensor":
        """Embed texts into the space of the images: "red" under "car color" lies where red cars do.

        Args:
            texts: A text, or a sequence of them.
            conditions: As `encode`'s.
            prompt_type: As `encode`'s.
            layer: As `encode`'s.
            layer_pooling: As `encode`'s.
            token: As `encode`'s.
            normalize_embeddings: Scale each vector to unit length.
            truncate_dim: Keep the first so many dimensions (before normalising).
            convert_to_tensor: Return a torch tensor on the CPU instead of an array.

        Returns:
            float32, (n, K, d) for a sequence of texts and of conditions; a single text drops the first axis, a single
            condition (or None) the second.

        Raises:
            ModelError: the method or model reads no text.
        """
        request = _request(conditions, prompt_type, layer, layer_pooling, tokens=(token,))
        self._check(request)
        one = isinstance(texts, str)
        if not texts:
            raise ValueError("no text given: pass at least one")
        return _result(
            self.embed_text([texts] if isinstance(texts, str) else list(texts), request), conditions, one=one,
            truncate_dim=truncate_dim, normalize_embeddings=normalize_embeddings, convert_to_tensor=convert_to_tensor,
        )  # fmt: skip

    def embed_text(self, texts: Sequence[str], request: Request) -> NDArray[np.float32]:  # noqa: ARG002
        """Vectors (n, *request.shape, d) of texts.

        Raises:
            ModelError: the method or model reads no text.
        """
        raise ModelError(f"{self.method} reads no text: text queries need a method such as dior or clip")

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
                    vectors = np.empty((len(images), *outcome.vectors.shape), dtype=np.float32)
                vectors[index] = outcome.vectors
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


def checked_reading(image_reading: str) -> str:
    """One of `IMAGE_READINGS`.

    Raises:
        ValueError: another.
    """
    if image_reading not in IMAGE_READINGS:
        raise ValueError(f"unknown image_reading {image_reading!r}; known: {', '.join(IMAGE_READINGS)}")
    return image_reading


def _request(
    conditions: Conditions,
    prompt_type: str | Sequence[str],
    layer: int | Sequence[int],
    layer_pooling: str,
    **others: Any,
) -> Request:
    """A request for one vector a condition."""
    return Request(
        conditions=checked_conditions(conditions),
        prompt_types=(prompt_type,) if isinstance(prompt_type, str) else tuple(prompt_type),
        average_prompts=not isinstance(prompt_type, str),
        layers=(layer,) if isinstance(layer, int) else tuple(layer),
        layer_pooling=None if isinstance(layer, int) else layer_pooling,
        **others,
    )


def _result(
    vectors: NDArray[np.float32],
    conditions: Conditions,
    *,
    one: bool,
    truncate_dim: int | None,
    normalize_embeddings: bool,
    convert_to_tensor: bool,
) -> "NDArray[np.float32] | torch.Tensor":
    """From vectors (n, *request.shape, d) of such a request to what a user gets."""
    vectors = vectors[:, :, 0, 0, 0]
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
    if one:
        vectors = vectors[0]
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    if convert_to_tensor:
        import torch

        return torch.from_numpy(vectors)
    return vectors


def is_one_image(images: Any) -> bool:
    """Whether this is one image rather than a sequence of them. A 4-D array or tensor is a sequence."""
    if isinstance(images, str | bytes | Path | Image.Image):
        return True
    if hasattr(images, "ndim"):
        return bool(images.ndim <= 3)
    return hasattr(images, "__fspath__")
