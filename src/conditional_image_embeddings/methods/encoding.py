"""Images in, vectors out, in their order: `encode`, and its lazy form. How they go through a model: `streaming`."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

import numpy as np

from ..errors import ImageError, OptionError
from ..inputs.arguments import check_keywords, lists_keywords
from ..inputs.conditions import Conditions
from ..inputs.images import ordinary_image
from .options import (
    EncodeOptions,
    Form,
    ImageOptions,
    Images,
    Rows,
    StreamOptions,
    Vectors,
    converted,
    is_one_image,
    request_of,
    shown,
)
from .request import Request
from .streaming import in_order

if TYPE_CHECKING:
    import torch

ERRORS = ("raise", "yield")
SMALL = 112  # pixels of the picture that is embedded to see how long vectors are


class Encoding(ABC):
    """The half of an embedder that takes images."""

    @abstractmethod
    def stream(
        self, images: Any, request: Request, *, batch_size: int | None = None, workers: int | None = None
    ) -> Any:
        """Outcomes of `(key, image)`, in any order; see `Embedder`."""

    def form(self, conditions: Conditions, truncate_dim: int | None, normalize: bool) -> Form:
        """What is made of vectors before a user gets them."""
        return Form.of(conditions, truncate_dim, normalize)

    @overload
    def encode(
        self, images: Images, conditions: Conditions = None, *, convert_to_numpy: Literal[True] = True,
        convert_to_tensor: Literal[False] = False, **options: Unpack[EncodeOptions],
    ) -> Vectors: ...  # fmt: skip
    @overload
    def encode(
        self, images: Images, conditions: Conditions = None, *, convert_to_numpy: bool = True,
        convert_to_tensor: Literal[True], **options: Unpack[EncodeOptions],
    ) -> "torch.Tensor": ...  # fmt: skip
    @overload
    def encode(
        self, images: Images, conditions: Conditions = None, *, convert_to_numpy: Literal[False],
        convert_to_tensor: Literal[False] = False, **options: Unpack[EncodeOptions],
    ) -> "list[torch.Tensor] | torch.Tensor": ...  # fmt: skip
    @lists_keywords
    def encode(
        self,
        images: Images,
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
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
    ) -> Any:
        """Embed images under conditions, in the order given.

        Args:
            images: A path, PIL image, array or tensor, encoded bytes or binary file; or any iterable of them, such as a
                list or a generator, which is read only so far ahead as the workers need.
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
            batch_size: Images per batch at most; None lets the embedder fill its token budget.
            normalize_embeddings: Scale each vector to unit length.
            truncate_dim: Keep the first so many dimensions (before normalising).
            show_progress_bar: None shows it on a terminal.
            convert_to_numpy: An array; if False, and `convert_to_tensor` too, a list of tensors.
            convert_to_tensor: One torch tensor on the CPU, whatever `convert_to_numpy` says.

        Returns:
            float32, (n, K, d) for several images and a sequence of conditions; a single image drops the first axis, a
            single condition (or None) the second. No image at all gives (0, K, d).

        Raises:
            ImageError: an image cannot be read, or the model or its processor fails on it; the message names it by its
                path or index. (`encode_stream` can go on, and so do jobs.)
            ModelError: the model or its processor fails on every image.
            ConditionError: a condition or prompt type cannot be used with this method.
            OptionError: an argument has a value that it cannot have.
            UnknownOptionError: an unknown keyword; the message lists the known ones.
        """
        request = request_of(
            conditions, prompt_type=prompt_type, layer=layer, layer_pooling=layer_pooling, token=token,
            embedding_source=embedding_source, max_new_tokens=max_new_tokens,
        )  # fmt: skip
        form = self.form(conditions, truncate_dim, normalize_embeddings)
        vectors = self.image_vectors(images, request, batch_size=batch_size, show_progress_bar=show_progress_bar)
        return converted(form.apply(vectors), is_one_image(images), convert_to_numpy, convert_to_tensor)

    def image_vectors(
        self,
        images: Images,
        request: Request,
        *,
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
    ) -> Vectors:
        """Vectors (n, *request.shape, d) of one image or several, in the order given.

        Raises:
            ImageError: an image cannot be embedded.
        """
        inputs: Any = [images] if is_one_image(images) else images
        rows = Rows(len(inputs) if hasattr(inputs, "__len__") else None)
        outcomes = self.stream(enumerate(inputs), request, batch_size=batch_size)
        for index, outcome in shown(outcomes, "image", rows.expected, show_progress_bar):
            if isinstance(outcome, ImageError):
                raise outcome
            rows.put(index, outcome.vectors)
        vectors = rows.all()
        return self._of_small_picture(request)[:0] if vectors is None else vectors

    @overload
    def encode_stream(
        self, images: Images, conditions: Conditions = None, *, errors: Literal["raise"] = "raise",
        **options: Unpack[StreamOptions],
    ) -> Iterator[Vectors]: ...  # fmt: skip
    @overload
    def encode_stream(
        self, images: Images, conditions: Conditions = None, *, errors: Literal["yield"],
        **options: Unpack[StreamOptions],
    ) -> Iterator[Vectors | ImageError]: ...  # fmt: skip
    def encode_stream(
        self, images: Images, conditions: Conditions = None, *, errors: str = "raise", **options: Any
    ) -> Iterator[Any]:
        """Embed images one after another, in the order given and in bounded memory, however many there are.

            for vector in embedder.encode_stream(photographs(), "car color", errors="yield"): ...

        Arguments are checked at once; images are taken as vectors are asked for, a bounded number ahead. A stream may
        be left half way or read slowly: other threads use the embedder meanwhile.

        Args:
            images: As `encode`'s.
            conditions: As `encode`'s.
            errors: "raise" ends the stream at an image that cannot be embedded; "yield" gives the `ImageError` in its
                place and goes on.
            options: As `encode`'s: `prompt_type`, `layer`, `layer_pooling`, `token`, `embedding_source`,
                `max_new_tokens`, `batch_size`, `normalize_embeddings`, `truncate_dim`; and `workers`, the threads that
                read and prepare images ahead of the model (None: one per core, at most 8).

        Yields:
            For each image float32 (K, d), or (d,) for a single condition (or None); or its `ImageError`.

        Raises:
            ImageError: with errors="raise", an image that cannot be embedded; all others as `encode`.
        """
        check_keywords(options, ("conditions", "errors", *StreamOptions.__annotations__), of="encode_stream")
        if errors not in ERRORS:
            raise OptionError(f"unknown errors {errors!r}; known: {', '.join(ERRORS)}")
        form = self.form(conditions, options.pop("truncate_dim", None), options.pop("normalize_embeddings", False))
        batch_size, workers = options.pop("batch_size", None), options.pop("workers", None)
        inputs: Any = [images] if is_one_image(images) else images
        outcomes = self.stream(
            enumerate(inputs), request_of(conditions, **options), batch_size=batch_size, workers=workers
        )

        def formed() -> Iterator[Any]:
            for outcome in in_order(outcomes):
                if isinstance(outcome, ImageError) and errors == "raise":
                    raise outcome
                yield outcome if isinstance(outcome, ImageError) else form.apply(outcome.vectors[None])[0]

        return formed()

    def get_embedding_dimension(self, conditions: Conditions = None, **options: Unpack[ImageOptions]) -> int:
        """How long `encode`'s vectors are, found by embedding a small picture: some methods' depend on the conditions.

        Args:
            conditions: As `encode`'s.
            options: As `encode`'s: `prompt_type`, `layer`, `layer_pooling`, `token`, `embedding_source`,
                `max_new_tokens`.
        """
        known = ("conditions", *ImageOptions.__annotations__)
        check_keywords(options, known, of="get_embedding_dimension")
        return int(self._of_small_picture(request_of(conditions, **options)).shape[-1])

    def _of_small_picture(self, request: Request) -> Vectors:
        """Vectors (1, *request.shape, d)."""
        ((_, outcome),) = self.stream([(0, ordinary_image(SMALL))], request)
        if isinstance(outcome, ImageError):
            raise outcome
        return np.asarray(outcome.vectors[None])
