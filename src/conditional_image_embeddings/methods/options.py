"""From the arguments of a call to a `Request`, and from the vectors that come of it to the form that was asked for."""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from os import PathLike
from typing import Any, TypeAlias, TypedDict, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import OptionError
from ..inputs.arguments import checked_indices, in_order, is_index, optional_count
from ..inputs.conditions import Conditions, checked_conditions, normalized_text
from ..inputs.images import ImageInput
from ..vectors import unit
from .request import Request

Images: TypeAlias = "ImageInput | Iterable[ImageInput]"
Vectors = NDArray[np.float32]
T = TypeVar("T")


class TextOptions(TypedDict, total=False):
    """Which of a model's numbers make the vector of a text; see `Embedder.encode`."""

    prompt_type: str | Sequence[str]
    layer: int | Sequence[int]
    layer_pooling: str
    token: int


class ImageOptions(TextOptions, total=False):
    """Which of a model's numbers make the vector of an image."""

    embedding_source: str
    max_new_tokens: int


class _FormOptions(TypedDict, total=False):
    batch_size: int | None
    normalize_embeddings: bool
    truncate_dim: int | None


class StreamOptions(ImageOptions, _FormOptions, total=False):
    """The further keywords of `encode_stream`."""

    workers: int | None


class EncodeOptions(ImageOptions, _FormOptions, total=False):
    """The further keywords of `encode`."""

    show_progress_bar: bool | None


class EncodeTextOptions(TextOptions, _FormOptions, total=False):
    """The further keywords of `encode_text`."""

    show_progress_bar: bool | None


def request_of(
    conditions: Conditions,
    *,
    prompt_type: str | Sequence[str] = "describe",
    layer: int | Sequence[int] = -1,
    layer_pooling: str = "concat",
    token: int = -1,
    embedding_source: str = "input_last",
    max_new_tokens: int = 16,
) -> Request:
    """A request for one vector per condition."""
    one_prompt, one_layer = isinstance(prompt_type, str), is_index(layer)
    if not is_index(token):
        raise OptionError(f"token is {token!r}; one whole number is needed")
    return Request(
        conditions=checked_conditions(conditions),
        prompt_types=(prompt_type,) if isinstance(prompt_type, str) else in_order("prompt_type", prompt_type),
        average_prompts=not one_prompt,
        layers=checked_indices("layer", layer),
        layer_pooling=None if one_layer else layer_pooling,
        tokens=checked_indices("token", token),
        embedding_source=embedding_source,
        max_new_tokens=max_new_tokens,
    )


@dataclass(frozen=True)
class Form:
    """What is made of vectors before a user gets them.

    Attributes:
        one_condition: No axis for conditions: a single one was named, or none.
        truncate_dim: How many dimensions are kept; None for all.
        normalize: Whether the rest is scaled to unit length.
    """

    one_condition: bool
    truncate_dim: int | None
    normalize: bool

    @classmethod
    def of(cls, conditions: Conditions, truncate_dim: int | None, normalize: bool) -> "Form":
        """The form that a call asks for, checked."""
        one = conditions is None or isinstance(conditions, str)
        return cls(one, optional_count("truncate_dim", truncate_dim), bool(normalize))

    def apply(self, vectors: Vectors) -> Vectors:
        """From vectors (n, *request.shape, d) with one vector per condition to (n, K, d), or (n, d)."""
        vectors = vectors[:, :, 0, 0, 0]
        if self.truncate_dim is not None:
            if self.truncate_dim > vectors.shape[-1]:
                raise OptionError(
                    f"truncate_dim is {self.truncate_dim}; this model's vectors have {vectors.shape[-1]} dimensions"
                )
            vectors = vectors[..., : self.truncate_dim]
        if self.normalize:
            vectors = unit(vectors)
        return np.ascontiguousarray(vectors[:, 0] if self.one_condition else vectors, dtype=np.float32)


def converted(vectors: Vectors, one: bool, to_numpy: bool, to_tensor: bool) -> Any:
    """An array, a tensor, or a list of tensors, as sentence-transformers' keywords have it."""
    found = vectors[0] if one else vectors
    if to_numpy and not to_tensor:
        return found
    import torch

    tensor = torch.from_numpy(found)
    return tensor if to_tensor or one else list(tensor)


class Rows:
    """An array that grows row by row, in any order, with no copy of it all.

    Args:
        expected: How many there will be; None: nobody knows.
    """

    def __init__(self, expected: int | None) -> None:
        self.expected = expected
        self.count = 0
        self._rows: Vectors | None = None

    def put(self, index: int, row: Vectors) -> None:
        """Keep a row; all have one shape."""
        if self._rows is None:
            self._rows = np.empty((self.expected or 256, *row.shape), np.float32)
        if index >= len(self._rows):
            self._rows.resize((max(2 * len(self._rows), index + 1), *row.shape), refcheck=False)
        self._rows[index] = row
        self.count += 1

    def all(self) -> Vectors | None:
        """The rows, once each index below `count` has one; None without any."""
        return None if self._rows is None else self._rows[: self.count]


def is_one_image(images: Any) -> bool:
    """Whether this is one image rather than several: an array or tensor of pixels of up to three axes, or no iterable.

    Raises:
        OptionError: a set or a dict: whose vectors would be whose?
    """
    if isinstance(images, Set | Mapping):
        raise OptionError(f"images come as a list, which has an order, not as {type(images).__name__}")
    if isinstance(images, np.ndarray) and images.dtype.kind in "OUS":
        return images.ndim == 0
    if isinstance(images, np.ndarray) or hasattr(images, "detach"):
        return bool(images.ndim <= 3)
    whole = isinstance(images, str | bytes | bytearray | memoryview | PathLike | Image.Image)
    return whole or hasattr(images, "read") or not isinstance(images, Iterable)


def checked_texts(texts: Any) -> list[str]:
    """Texts in one spelling.

    Raises:
        OptionError: a set, or something among them that is no text.
    """
    several = in_order("texts", texts)
    for text in several:
        if not isinstance(text, str):
            raise OptionError(f"a text is a str such as 'red', not {type(text).__name__}")
    return [normalized_text(text) for text in several]


def shown(steps: Iterable[T], unit_name: str, total: int | None, show_progress_bar: bool | None) -> Iterator[T]:
    """The steps with a progress bar; None shows it on a terminal only."""
    from tqdm.auto import tqdm

    disable = None if show_progress_bar is None else not show_progress_bar
    bar: Iterator[T] = tqdm(steps, total=total, desc="embedding", unit=unit_name, disable=disable, leave=False)
    return bar
