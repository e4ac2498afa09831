"""An embedder under one condition as a sentence-transformers model.

It is a real `SentenceTransformer`, not a look-alike: mteb asks with `isinstance`, evaluators write into its
`model_card_data`, and similarities, `encode_query`, `encode_document` and `truncate_embeddings` come with it. It is no
stack of modules, though: sentence-transformers would refuse a list of images and texts, and cut lists into batches,
while `encode` here gives the embedder all inputs, which reads ahead and fills batches by itself.
"""

import inspect
from typing import Any, Literal, NoReturn

import numpy as np
import torch

from ..errors import ModelError, OptionError, require
from ..inputs.arguments import check_keywords, optional_count
from ..inputs.conditions import checked_condition
from ..methods import Embedder, load
from ..vectors import unit
from . import inputs as mixed

require("sentence-transformers", "ConditionalEncoder")
from sentence_transformers import SentenceTransformer  # noqa: E402
from sentence_transformers.util import quantize_embeddings  # noqa: E402


class ConditionalEncoder(SentenceTransformer):
    """Images and texts under one condition, through the methods of a `SentenceTransformer`.

    ```python
    from conditional_image_embeddings.interfaces.sentence_transformer import ConditionalEncoder

    model = ConditionalEncoder("builtin", "car color")
    vectors = model.encode(["a.jpg", "red", {"image": "b.jpg", "text": "striped"}])  # (3, d)
    print(model.similarity(vectors, model.encode(["red", "blue"])))  # (3, 2)
    ```

    An input is an image (a path, PIL image, (H, W, 3) uint8 array or tensor, or encoded bytes), a text, or a dict with
    "image", "text" or both: the latter lies in the middle of the two. A string is an image if a file of that name
    exists; one that only looks like an image's file or URL is refused; any other is a text. A list, a tuple and a 4-D
    array are several inputs, anything else is one.

    It cannot be trained, saved or moved to another device: the weights are the embedder's.

    Args:
        embedder: From `load`, or the name of a model to load.
        condition: What counts, in plain words; None for no condition.
        similarity_fn_name: "cosine", "dot", "euclidean" or "manhattan".
        truncate_dim: Keep the first so many dimensions, unless a call says otherwise.
        options: Of `Embedder.encode`: `prompt_type`, `layer`, `layer_pooling`, `token`, `embedding_source`,
            `max_new_tokens`. The last two are of images alone.

    Attributes:
        embedder: What embeds.
        condition: The condition.

    Raises:
        ModelError: the model cannot be found or loaded.
        ConditionError: the condition cannot be used with this method.
        UnknownOptionError: an unknown option; the message lists the known ones.
    """

    def __init__(
        self,
        embedder: Embedder | str,
        condition: str | None = None,
        *,
        similarity_fn_name: Literal["cosine", "dot", "euclidean", "manhattan"] | None = None,
        truncate_dim: int | None = None,
        **options: Any,
    ) -> None:
        checked = mixed.checked_options(options)
        condition = checked_condition(condition)
        embedder = load(embedder) if isinstance(embedder, str) else embedder
        super().__init__(
            modules=[torch.nn.Identity()],
            device=str(embedder.device),
            similarity_fn_name=similarity_fn_name,
            truncate_dim=truncate_dim,
        )
        self.embedder = embedder
        self.condition = condition
        self.options = checked
        # Also the check of condition and options, before anything is asked for.
        self._dimension = embedder.get_embedding_dimension(condition, **checked)
        self._reads_text = mixed.reads_text(embedder, condition, checked)

    def encode(
        self,
        inputs: Any,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
        output_value: str | None = "sentence_embedding",
        precision: str = "float32",
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        device: Any = None,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        pool: Any = None,
        chunk_size: int | None = None,
        **kwargs: Any,
    ) -> Any:
        """Embed inputs in the order given, as `SentenceTransformer.encode`.

        Args:
            inputs: One input or several.
            prompt_name: None, or a name of an empty prompt such as "query"; what counts is the condition.
            prompt: None or empty.
            batch_size: Images a batch at most; None lets the embedder fill its token budget.
            show_progress_bar: None shows it on a terminal.
            output_value: "sentence_embedding", all there is.
            precision: "float32", "int8", "uint8", "binary" or "ubinary".
            convert_to_numpy: An array; if False, and `convert_to_tensor` too, a list of tensors.
            convert_to_tensor: One tensor, on the embedder's device.
            device: None or the embedder's own.
            normalize_embeddings: Scale each vector to unit length.
            truncate_dim: Keep the first so many dimensions, if there are more (before normalising); None takes the
                encoder's own.
            pool: None: there is one process.
            chunk_size: None, as `pool`.
            kwargs: `task`, which changes nothing; anything else is refused.

        Returns:
            float32 (n, d), a single input (d,), unless `precision` says otherwise.

        Raises:
            ImageError: an image cannot be read, or the model or its processor fails on it; the message names it.
            ModelError: there are texts, and the model reads none.
            UnknownOptionError: an unknown keyword; the message lists the known ones.
            ValueError: an input that is none, or a keyword's value that cannot be had here.
        """
        known = [name for name in inspect.signature(self.encode).parameters if name != "kwargs"]
        check_keywords(kwargs, [*known, "task"], of="encode")
        if prompt_name is not None and prompt_name not in self.prompts:
            raise OptionError(f"unknown prompt_name {prompt_name!r}; known, and empty: {', '.join(self.prompts)}")
        if prompt or (prompt is None and self.prompts.get(prompt_name or self.default_prompt_name or "")):
            raise OptionError("a prompt is not a condition: leave it out, and give the condition to ConditionalEncoder")
        if output_value != "sentence_embedding":
            raise OptionError(f"output_value is {output_value!r}; there is only 'sentence_embedding'")
        if pool is not None or chunk_size is not None or isinstance(device, list):
            raise OptionError("there is one process and one device: leave out pool, chunk_size, and lists of devices")
        if device is not None and not _same(torch.device(device), self.device):
            raise OptionError(f"the model is on {self.device}: to use {device}, pass load(..., device={str(device)!r})")
        batch_size = optional_count("batch_size", batch_size)
        truncate_dim = optional_count("truncate_dim", self.truncate_dim if truncate_dim is None else truncate_dim)
        one = self.is_singular_input(inputs)
        several = [inputs] if one else list(inputs)
        vectors = np.empty((0, self.get_embedding_dimension()), np.float32)
        if several:
            vectors = mixed.encode(
                self.embedder, several, self.condition, self.options, batch_size=batch_size,
                show_progress_bar=show_progress_bar,
                truncate_dim=None if truncate_dim is None else min(truncate_dim, self._dimension),
            )  # fmt: skip
        if normalize_embeddings:
            vectors = unit(vectors)
        found: Any = vectors
        if precision != "float32" and several:
            found = quantize_embeddings(vectors, precision=precision)  # type: ignore[arg-type]
        if convert_to_tensor:
            found = torch.from_numpy(found).to(self.device)
        elif not convert_to_numpy:
            found = list(torch.from_numpy(found))
        return found[0] if one else found

    def is_singular_input(self, inputs: Any) -> bool:  # type: ignore[override]
        """Whether this is one input: no list, tuple, column of a dataset, 4-D array, or array of objects."""
        if isinstance(inputs, torch.Tensor) or (isinstance(inputs, np.ndarray) and inputs.dtype.kind not in "OU"):
            return inputs.ndim <= 3
        return bool(super().is_singular_input(inputs))

    def get_embedding_dimension(self) -> int:
        """Dimensions of the vectors, after truncation."""
        return self._dimension if self.truncate_dim is None else min(self._dimension, self.truncate_dim)

    def get_sentence_embedding_dimension(self) -> int:
        """The older name of `get_embedding_dimension`."""
        return self.get_embedding_dimension()

    @property
    def device(self) -> torch.device:
        """Where the embedder is."""
        return self.embedder.device

    @property
    def modalities(self) -> list[Any]:
        """What can be embedded: images, and texts where the model reads them."""
        return ["image", "text", ("image", "text")] if self._reads_text else ["image"]

    def preprocess(self, *args: Any, **kwargs: Any) -> NoReturn:  # noqa: ARG002
        """Not for this: training would need it.

        Raises:
            ModelError: always.
        """
        raise ModelError("a ConditionalEncoder cannot be trained: it embeds with a model as it is; use encode")

    def save(self, *args: Any, **kwargs: Any) -> NoReturn:  # noqa: ARG002
        """Not for this: there is nothing to keep but two names.

        Raises:
            ModelError: always.
        """
        raise ModelError(
            "a ConditionalEncoder has no weights of its own to save: make it anew from "
            f"{self.embedder.model!r} and the condition {self.condition!r}"
        )

    save_pretrained = save


def _same(a: torch.device, b: torch.device) -> bool:
    """Whether they are one device: "cuda" is "cuda:0"."""
    return (a.type, a.index or 0) == (b.type, b.index or 0)
