"""Inputs as other libraries mix them: images, texts and pairs of both in one list, embedded in the order given."""

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ConditionError, ModelError, OptionError
from ..inputs.arguments import check_keywords
from ..inputs.images import ImageInput
from ..methods import Embedder
from ..methods.options import ImageOptions, TextOptions
from ..methods.pairs import pair_vectors
from ..methods.request import Request
from ..models.checkpoint import Checkpoint
from ..vectors import unit

OF_TEXTS = tuple(TextOptions.__annotations__)  # what `encode_text` too takes
OPTIONS = tuple(ImageOptions.__annotations__)

_IMAGE_LIKE = re.compile(
    r"data:image/.*|\S+\.(jpe?g|png|webp|gif|bmp|tiff?|avif|jp2|p[pgb]m|ico|tga|dds)", re.IGNORECASE
)


def checked_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of `Embedder.encode` that are fixed at construction.

    Raises:
        UnknownOptionError: an unknown one; the message lists the known ones.
    """
    check_keywords(options, OPTIONS)
    return dict(options)


def image_and_text(value: Any) -> "tuple[ImageInput | None, str | None]":
    """What an input is: an image, a text, or both.

    A string is an image if a file of that name exists. One word with an image's suffix is taken for an image too, and
    so are an image's URL and data URI: reading it says that it is missing, or not fetched, where a mistyped path would
    become a text. All other strings are texts; `{"text": "a.png"}` and `{"image": "photo"}` do not guess.

    Raises:
        ValueError: a dict without "image" and "text", or with other keys, or anything else that is no single input.
    """
    if isinstance(value, str):
        is_image = os.path.isfile(value) or _IMAGE_LIKE.fullmatch(value)  # noqa: PTH113 - Path raises for long texts
        return (value, None) if is_image else (None, value)
    if not isinstance(value, Mapping):
        if isinstance(value, list | tuple) or value is None:
            raise OptionError(f"an input is one image, one text, or a dict of both, not {type(value).__name__}")
        return value, None
    if not value or value.keys() - {"image", "text"}:
        keys = ", ".join(map(str, value)) or "nothing"
        raise OptionError(f"a dict holds 'image', 'text' or both; this one holds {keys}")
    image, text = value.get("image"), value.get("text")
    if isinstance(image, list | tuple) or not isinstance(text, str | None) or (image is None and text is None):
        raise OptionError("a dict holds one image, one text (a string) or one of each")
    return image, text


def encode(
    embedder: Embedder,
    inputs: Sequence[Any],
    condition: str | None,
    options: Mapping[str, Any],
    *,
    batch_size: int | None = None,
    show_progress_bar: bool | None = False,
    truncate_dim: int | None = None,
) -> NDArray[np.float32]:
    """Vectors (n, d) of inputs that `image_and_text` understands, float32, not normalised.

    An input of both is read at once where the model can (`Embedder.reads_pairs`). With other models it lies in the
    middle: the mean of the image's and the text's vector, each of unit length.

    Raises:
        ValueError: an option that texts do not have.
    """
    pairs = [image_and_text(value) for value in inputs]
    if embedder.reads_pairs and (
        both := [index for index, (image, text) in enumerate(pairs) if image is not None and text is not None]
    ):
        return _with_pairs(embedder, pairs, both, condition, batch_size, truncate_dim)
    shown = [index for index, (image, _) in enumerate(pairs) if image is not None]
    told = [index for index, (_, text) in enumerate(pairs) if text is not None]
    if told and (other := options.keys() - set(OF_TEXTS)):
        raise OptionError(f"texts have no {', '.join(sorted(other))}: leave it at its default, or embed images only")
    vectors = {}
    if shown:
        images: list[Any] = [pairs[index][0] for index in shown]
        vectors["image"] = embedder.encode(
            images, condition, batch_size=batch_size, show_progress_bar=show_progress_bar,
            truncate_dim=truncate_dim, **options,
        )  # fmt: skip
    if told:
        texts = [str(pairs[index][1]) for index in told]
        vectors["text"] = embedder.encode_text(
            texts, condition, batch_size=batch_size, show_progress_bar=show_progress_bar, truncate_dim=truncate_dim,
            **options,
        )  # fmt: skip
    found = np.empty((len(pairs), next(iter(vectors.values())).shape[1]), np.float32)
    for kind, indices in (("image", shown), ("text", told)):
        if indices:
            found[indices] = vectors[kind]
    if both := sorted(set(shown) & set(told)):
        of_images = unit(np.asarray(vectors["image"])[np.isin(shown, both)])
        found[both] = (of_images + unit(np.asarray(vectors["text"])[np.isin(told, both)])) / 2
    return found


def _with_pairs(
    embedder: Embedder,
    pairs: Sequence[tuple[Any, str | None]],
    both: Sequence[int],
    condition: str | None,
    batch_size: int | None,
    truncate_dim: int | None,
) -> NDArray[np.float32]:
    """Vectors (n, d) of inputs of which those at `both` are an image and a text that the model reads at once."""
    together: list[Any] = [pairs[index] for index in both]
    vectors = pair_vectors(embedder, together, Request(conditions=(condition,)), batch_size=batch_size)
    of_both = embedder.form(condition, truncate_dim, False).apply(vectors)
    others = [index for index in range(len(pairs)) if index not in set(both)]
    if not others:
        return of_both
    alone = [pairs[index][0] if pairs[index][1] is None else {"text": pairs[index][1]} for index in others]
    found = np.empty((len(pairs), of_both.shape[1]), np.float32)
    found[both] = of_both
    found[others] = encode(embedder, alone, condition, {}, batch_size=batch_size, truncate_dim=truncate_dim)
    return found


def reads_text(embedder: Embedder, condition: str | None, options: Mapping[str, Any]) -> bool:
    """Whether texts can be embedded, found by trying: some vision-language models do not run without an image."""
    if options.keys() - set(OF_TEXTS):
        return False
    try:
        embedder.encode_text("a text", condition)
    except ConditionError:
        return True  # what was wrong is the condition
    except ModelError:
        return False
    return True


def checkpoint(embedder: Embedder) -> Checkpoint | None:
    """What the embedder's model was loaded from; None for a method without a model."""
    found: Checkpoint | None = getattr(embedder.backbone, "checkpoint", None)
    return found
