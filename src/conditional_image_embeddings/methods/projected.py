"""Dual encoders under a condition: image embeddings that stay as they are, seen through a map made from texts.

InDiReCT and CLAY differ in the map. Either way a new condition costs nothing an image: a job embeds the images with
CLIP once, and makes each condition's vectors from the stored ones.
"""

import hashlib
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import ConditionError, ModelError, OptionError
from ..inputs import aspect_texts
from ..inputs.conditions import checked_condition, checked_conditions
from ..models.checkpoint import Checkpoint
from .clip import CLIP
from .embedder import Embedder, is_one_image
from .projections import clay, indirect
from .projections.vectors import unit
from .request import Embedded, Request
from .settings import Setting

if TYPE_CHECKING:
    from ..inputs.images import ImageInput

WordList = str | Sequence[str]
Vectors = NDArray[np.float32]


class Projected(Embedder):
    """A method that maps another embedder's vectors, condition by condition.

    Attributes:
        base: The embedder whose vectors are mapped.
    """

    conditional = True
    depth = 0
    base: CLIP

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        words: Mapping[str, WordList] | WordList | None = None,
        image_max_size: int = 700,
        image_reading: str = "upright",
        reader: CLIP | None = None,
    ) -> None:
        self.base = reader or CLIP(checkpoint, image_max_size=image_max_size, image_reading=image_reading)
        if not hasattr(self.base.dual_encoder, "get_text_features"):
            raise ModelError(f"{checkpoint.name} has no text tower: {self.method} needs a dual encoder")
        self.model, self.revision = self.base.model, self.base.revision
        self.image_max_size, self.budget = self.base.image_max_size, self.base.budget
        self.image_reading = self.base.image_reading
        self._words: dict[str, WordList] = {}
        self._words_of_any: WordList | None = None
        if isinstance(words, Mapping):
            self._words = {str(checked_condition(name)).casefold(): given for name, given in words.items()}
        else:
            self._words_of_any = words
        self._texts: dict[str, tuple[str, ...]] = {}

    @abstractmethod
    def matrix(self, condition: str) -> Vectors:
        """The condition's map, (k, d)."""

    @abstractmethod
    def fit(self, images: "ImageInput | Sequence[ImageInput]") -> None:
        """Learn of a collection, or of a sample of it, what the map needs to know of it."""

    @abstractmethod
    def fit_vectors(self, parts: Iterable[Vectors]) -> None:
        """As `fit`, from the base's vectors (n, d), part by part."""

    @property
    @abstractmethod
    def choices(self) -> dict[str, Any]:
        """What was chosen for this method: part of a setting."""

    def project(self, vectors: Vectors, condition: str | None) -> Vectors:
        """The base's vectors (n, d) under a condition: float32 (n, k), of unit length."""
        return indirect.project(self.matrix(self._named(condition)), vectors)

    def texts(self, condition: str) -> tuple[str, ...]:
        """The texts that make the condition known to the model.

        Raises:
            ConditionError: there are none for it, and no words were given.
        """
        if condition not in self._texts:
            words = self._words.get(condition.casefold(), self._words_of_any)
            self._texts[condition] = tuple(aspect_texts.texts(condition, words))
        return self._texts[condition]

    def embedded_texts(self, condition: str) -> Vectors:
        """Those texts through the text tower, (n, d)."""
        return self.base.embed_text(self.texts(condition), Request())[:, 0, 0, 0, 0]

    def prepare(self, image: Image.Image, request: Request) -> Any:
        """The model's inputs for one image."""
        return self.base.prepare(image, request)

    def cost(self, prepared: Any) -> int:
        """One an image."""
        return self.base.cost(prepared)

    def forward_batch(self, batch: Sequence[Any], request: Request) -> list[Embedded]:
        """One vector an image and condition; maps of fewer components end in zeros."""
        vectors = np.stack([each.vectors[0, 0, 0, 0] for each in self.base.forward_batch(batch, Request())])
        return [Embedded(each) for each in self.under(vectors, request)]

    def embed_text(self, texts: Sequence[str], request: Request) -> Vectors:
        """Texts through the text tower and the same maps, (n, K, 1, 1, 1, k)."""
        return self.under(self.base.embed_text(texts, Request())[:, 0, 0, 0, 0], request)

    def under(self, vectors: Vectors, request: Request) -> Vectors:
        """The base's vectors (n, d) under the request's conditions, (n, *request.shape, k)."""
        return _arranged([self.project(vectors, condition) for condition in request.conditions], request)

    def settings(self, request: Request, *, dataset: str, source: str | None = None) -> list[Setting]:
        """One setting a condition."""
        self._check(request)
        (base,) = self.base.settings(Request(), dataset=dataset, source=source)
        return [
            self._setting(
                dataset,
                source,
                condition=name,
                dtype=base.dtype,
                extra={
                    **base.extra,
                    **self.choices,
                    "texts": " + ".join(_digest(self.texts(self._named(condition))) for condition in each.conditions),
                    **({"together": list(each.conditions)} if each.together else {}),
                },
            )
            for name, each in zip(request.condition_names, request.by_condition(), strict=True)
        ]

    def _named(self, condition: str | None) -> str:
        if condition is None:
            raise ConditionError(f"{self.method} needs a condition; without one it is clip: use method clip")
        return condition

    def _check(self, request: Request) -> None:
        super()._check(request)
        for condition in request.conditions:
            self.texts(self._named(condition))


class InDiReCT(Projected):
    """CLIP through the map that loses least of a condition's texts (Kobs, Steininger, Hotho, WACV 2023).

    Args:
        checkpoint: A dual encoder of images and texts.
        words: What varies in a condition: a mapping from condition to words, or words for all conditions; a sequence,
            "red,blue,...", or a file of them. The benchmarks' conditions have words of their own.
        components: Rows of the map.
        solver: "adam" as the paper, or "svd", its closed form.
        seed: Of the paper's random start.
        image_max_size: As for `CLIP`.
        image_reading: As for `CLIP`.
        reader: A `CLIP` of this checkpoint to stand on, whose options count then; None loads one.
    """

    method = "indirect"

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        words: Mapping[str, WordList] | WordList | None = None,
        components: int = indirect.COMPONENTS,
        solver: str = "adam",
        seed: int = 42,
        image_max_size: int = 700,
        image_reading: str = "upright",
        reader: CLIP | None = None,
    ) -> None:
        if solver not in indirect.SOLVERS:
            raise OptionError(f"unknown solver {solver!r}; known: {', '.join(indirect.SOLVERS)}")
        super().__init__(
            checkpoint, words=words, image_max_size=image_max_size, image_reading=image_reading, reader=reader
        )
        self.components, self.solver, self.seed = components, solver, seed
        self._matrices: dict[str, Vectors] = {}

    def matrix(self, condition: str) -> Vectors:
        """The condition's map, (components, d)."""
        if condition not in self._matrices:
            texts = self.embedded_texts(condition)
            (self._matrices[condition],) = indirect.fit(
                [texts], components=self.components, solver=self.solver, seed=self.seed
            )
        return self._matrices[condition]

    def fit(self, images: Any) -> None:
        """Nothing: the map is made from texts alone."""

    def fit_vectors(self, parts: Iterable[Vectors]) -> None:
        """Nothing: the map is made from texts alone."""

    @property
    def choices(self) -> dict[str, Any]:
        """Components, solver and, where it counts, seed."""
        seed = {"seed": self.seed} if self.solver == "adam" else {}
        return {"components": self.components, "solver": self.solver, **seed}


class CLAY(Projected):
    """CLIP in the subspace of a condition's texts, the images' mean laid on the texts' (Lim et al., CVPR 2026).

    The map depends on the collection by its mean: `fit` it once before `encode`; a job does so by itself.

    Args:
        checkpoint: A dual encoder of images and texts.
        words: As for `InDiReCT`.
        components: Of the subspace; None takes as many as the texts' variation asks for (see `projections.clay`).
        image_max_size: As for `CLIP`.
        image_reading: As for `CLIP`.
        reader: As for `InDiReCT`.
    """

    method = "clay"
    has_together = True

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        words: Mapping[str, WordList] | WordList | None = None,
        components: int | None = None,
        image_max_size: int = 700,
        image_reading: str = "upright",
        reader: CLIP | None = None,
    ) -> None:
        super().__init__(
            checkpoint, words=words, image_max_size=image_max_size, image_reading=image_reading, reader=reader
        )
        self.components = components
        self._image_mean: NDArray[np.float64] | None = None
        self._maps: dict[str, Vectors] = {}

    def matrix(self, condition: str) -> Vectors:
        """The condition's map, (k, d).

        Raises:
            ValueError: the mean of the images is not known yet.
        """
        if self._image_mean is None:
            raise OptionError("clay needs the mean of the images: call fit(images) on the collection or a sample first")
        if condition not in self._maps:
            texts = self.embedded_texts(condition)
            self._maps[condition] = clay.fit(texts, self._image_mean, components=self.components).matrix
        return self._maps[condition]

    def fit(self, images: "ImageInput | Sequence[ImageInput]") -> None:
        """Take the mean of these images."""
        several: Any = [images] if is_one_image(images) else images
        self.fit_vectors([np.asarray(self.base.encode(several))])

    def fit_vectors(self, parts: Iterable[Vectors]) -> None:
        """Take the mean of the base's vectors (n, d), part by part."""
        self._image_mean = np.sum([unit(part).sum(axis=0) for part in parts], axis=0)
        self._maps.clear()

    def embed_text(self, texts: Sequence[str], request: Request) -> Vectors:
        """Texts in the subspace. They lie where the images are laid, so that they are not reflected."""
        vectors = self.base.embed_text(texts, Request())[:, 0, 0, 0, 0]
        without = [
            clay.fit(self.embedded_texts(self._named(name)), components=self.components) for name in request.conditions
        ]
        return _arranged([clay.project(each, vectors) for each in without], request)

    def encode_together(
        self,
        images: "ImageInput | Sequence[ImageInput]",
        conditions: Sequence[str],
        *,
        weights: Sequence[float] | None = None,
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
    ) -> Vectors:
        """Embed images under several conditions at once: the cosine is the weighted mean of the conditions' cosines.

        Args:
            images: As `encode`'s.
            conditions: Two or more.
            weights: What each condition counts, 0 or more; None: all the same.
            batch_size: As `encode`'s.
            show_progress_bar: As `encode`'s.

        Returns:
            float32 (n, the sum of the conditions' components), of unit length unless a condition sees nothing in the
            image; a single image drops the first axis.

        Raises:
            ValueError: fewer than two conditions, weights that do not fit, or the images' mean is not known yet.
            ImageError: an image cannot be read, or the model or its processor fails on it.
        """
        request = Request(conditions=checked_conditions(conditions), together=True)
        self._check(request)
        maps = [self.matrix(self._named(condition)) for condition in request.conditions]
        clay.combine([each[:1] for each in maps], weights)  # weights that do not fit are refused before the work
        vectors = np.atleast_2d(self.base.encode(images, batch_size=batch_size, show_progress_bar=show_progress_bar))
        combined = clay.combine([indirect.project(each, vectors) for each in maps], weights)
        return combined[0] if is_one_image(images) else combined

    @property
    def choices(self) -> dict[str, Any]:
        """Components, and that the collection decides too."""
        return {"components": self.components, "fitted_on": "the collection"}


def _arranged(mapped: Sequence[Vectors], request: Request) -> Vectors:
    """Vectors (n, k) of each condition as (n, K, 1, 1, 1, k): shorter ones end in zeros, which changes no cosine.

    Together they are one, (n, 1, 1, 1, 1, the sum of the k).
    """
    if request.together:
        return clay.combine(mapped)[:, None, None, None, None]
    longest = max(each.shape[1] for each in mapped)
    filled = [np.pad(each, ((0, 0), (0, longest - each.shape[1]))) for each in mapped]
    return np.stack(filled, axis=1)[:, :, None, None, None]


def _digest(texts: Sequence[str]) -> str:
    digest = hashlib.sha256("\n".join(texts).encode()).hexdigest()[:12]
    return f"{len(texts)}, {digest}"
