"""What of an embedder is made of words: texts in the images' space, and the words that the model would say."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

import numpy as np

from ..errors import ImageError, ModelError
from ..inputs.arguments import checked_count, lists_keywords, optional_count
from ..inputs.conditions import Conditions, checked_conditions
from ..models.exclusion import ModelLock
from .options import EncodeTextOptions, Form, Images, Vectors, checked_texts, converted, is_one_image, request_of, shown
from .request import Request, WordScores

if TYPE_CHECKING:
    import torch

TEXTS = 256  # embedded at a time where no batch size is given; between two such parts other threads have their turn


class Queries(ABC):
    """The half of an embedder that takes or gives words."""

    method: str

    @property
    @abstractmethod
    def lock(self) -> ModelLock:
        """See `Resource`."""

    @abstractmethod
    def stream(self, images: Any, request: Request, *, batch_size: int | None = None) -> Any:
        """Outcomes of `(key, image)`, in any order; see `Embedder`."""

    @abstractmethod
    def form(self, conditions: Conditions, truncate_dim: int | None, normalize: bool) -> Form:
        """See `Encoding`."""

    @abstractmethod
    def _check(self, request: Request) -> None:
        """Refuse what the method cannot give."""

    @overload
    def encode_text(
        self, texts: str | Iterable[str], conditions: Conditions = None, *, convert_to_numpy: Literal[True] = True,
        convert_to_tensor: Literal[False] = False, **options: Unpack[EncodeTextOptions],
    ) -> Vectors: ...  # fmt: skip
    @overload
    def encode_text(
        self, texts: str | Iterable[str], conditions: Conditions = None, *, convert_to_numpy: bool = True,
        convert_to_tensor: Literal[True], **options: Unpack[EncodeTextOptions],
    ) -> "torch.Tensor": ...  # fmt: skip
    @overload
    def encode_text(
        self, texts: str | Iterable[str], conditions: Conditions = None, *, convert_to_numpy: Literal[False],
        convert_to_tensor: Literal[False] = False, **options: Unpack[EncodeTextOptions],
    ) -> "list[torch.Tensor] | torch.Tensor": ...  # fmt: skip
    @lists_keywords
    def encode_text(
        self,
        texts: str | Iterable[str],
        conditions: Conditions = None,
        *,
        prompt_type: str | Sequence[str] = "describe",
        layer: int | Sequence[int] = -1,
        layer_pooling: str = "concat",
        token: int = -1,
        batch_size: int | None = None,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        show_progress_bar: bool | None = None,
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
    ) -> Any:
        """Embed texts into the space of the images: "red" under "car color" lies where red cars do.

        Args:
            texts: A text, or any iterable of texts.
            conditions: As `encode`'s, and so are those below.
            prompt_type: See `encode`.
            layer: See `encode`.
            layer_pooling: See `encode`.
            token: See `encode`.
            batch_size: Texts per batch at most; None lets the embedder fill its token budget.
            normalize_embeddings: See `encode`.
            truncate_dim: See `encode`.
            show_progress_bar: None shows it on a terminal.
            convert_to_numpy: See `encode`.
            convert_to_tensor: See `encode`.

        Returns:
            float32, (n, K, d) for several texts and a sequence of conditions; a single text drops the first axis, a
            single condition (or None) the second. No text at all gives (0, K, d).

        Raises:
            ModelError: the method or model reads no text.
            OptionError: something among the texts is none; all others as `encode`.
        """
        request = request_of(conditions, prompt_type=prompt_type, layer=layer, layer_pooling=layer_pooling, token=token)
        self._check(request)
        form = self.form(conditions, truncate_dim, normalize_embeddings)
        vectors = self.text_vectors(texts, request, batch_size=batch_size, show_progress_bar=show_progress_bar)
        return converted(form.apply(vectors), isinstance(texts, str), convert_to_numpy, convert_to_tensor)

    def text_vectors(
        self,
        texts: str | Iterable[str],
        request: Request,
        *,
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
    ) -> Vectors:
        """Vectors (n, *request.shape, d) of one text or several, in the order given.

        Raises:
            ModelError: the method or model reads no text.
        """

        def embedded(part: Sequence[str]) -> Vectors:
            with self.lock:
                return self.embed_text(part, request)

        size = optional_count("batch_size", batch_size) or TEXTS
        several = checked_texts([texts] if isinstance(texts, str) else texts)
        parts = [several[start : start + size] for start in range(0, len(several), size)]
        found = [embedded(part) for part in shown(parts, "batch", len(parts), show_progress_bar)]
        return np.concatenate(found) if found else embedded(["a text"])[:0]

    def embed_text(self, texts: Sequence[str], request: Request) -> Vectors:  # noqa: ARG002
        """Vectors (n, *request.shape, d) of texts. Runs the model: the caller holds the lock.

        Raises:
            ModelError: the method or model reads no text.
        """
        raise ModelError(f"{self.method} reads no text: text queries need a method such as dior or clip")

    def text_tokens(self, texts: Sequence[str], request: Request) -> list[int]:  # noqa: ARG002
        """Tokens of each text's prompts, as `Embedded.tokens` counts an image's; 0 without prompts."""
        return [0] * len(texts)

    @lists_keywords
    def words(
        self,
        images: Images,
        conditions: Conditions = None,
        *,
        k: int = 5,
        prompt_type: str = "describe",
        batch_size: int | None = None,
    ) -> list[Any]:
        """What the model would say: the k most probable words of its answer, each with its probability.

        The most probable first tokens are continued greedily until the word that each begins has ended; a word's
        probability is that of its pieces one after another. Case is folded. (What a word is: docs/methods.md.) The
        generative method has one answer, which may be several words.

        Args:
            images: As `encode`'s.
            conditions: As `encode`'s.
            k: Words per image and condition at most.
            prompt_type: One of the paper's seven.
            batch_size: As `encode`'s.

        Returns:
            For each image and condition a list of at most k pairs such as ("red", 0.81), most probable first. A single
            image drops the outer list, a single condition (or None) the inner one.

        Raises:
            ImageError: an image cannot be read, or the model or its processor fails on it; the message names it.
            ModelError: the method or model tells no words, or it or its processor fails on every image.
        """
        request = self.words_request(conditions, k=k, prompt_type=prompt_type)
        one = is_one_image(images)
        inputs: Any = [images] if one else images
        found: dict[int, list[WordScores]] = {}
        for index, outcome in self.stream(enumerate(inputs), request, batch_size=batch_size):
            if isinstance(outcome, ImageError):
                raise outcome
            found[index] = [of_condition[0][:k] for of_condition in outcome.words or []]
        of_images: list[Any] = [found[index] for index in range(len(found))]
        if conditions is None or isinstance(conditions, str):
            of_images = [of_conditions[0] for of_conditions in of_images]
        return of_images[0] if one else of_images

    def words_request(self, conditions: Conditions = None, *, k: int = 5, prompt_type: str = "describe") -> Request:
        """What `words` asks `stream` for.

        Raises:
            ModelError: the method or model tells no words.
        """
        return Request(
            conditions=checked_conditions(conditions),
            prompt_types=(prompt_type,),
            top_words=checked_count("k", k),
            min_probability=0.0,
            **self._for_words(),
        )

    def _for_words(self) -> dict[str, Any]:
        """What a request for words asks for besides.

        Raises:
            ModelError: the method or model tells none.
        """
        raise ModelError(f"{self.method} tells no words: they need a method such as dior or generative")
