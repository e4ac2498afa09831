"""Dual encoders under a condition: image embeddings that stay as they are, seen through a map made from texts.

InDiReCT and CLAY differ in the map. Either way a new condition costs nothing per image: a job embeds the images with
CLIP once, and makes each condition's vectors from the stored ones.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import ConditionError, ModelError
from ..inputs import aspect_texts
from ..inputs.conditions import checked_condition
from ..models.checkpoint import Checkpoint
from .clip import CLIP
from .embedder import Embedder
from .registry import OF_IMAGES
from .request import Embedded, Request
from .settings import Setting
from .unit_vectors import project

if TYPE_CHECKING:
    from ..inputs.images import ImageInput

WordList = str | Sequence[str]
Vectors = NDArray[np.float32]


class Projected(Embedder):
    """A method that maps a dual encoder's vectors, condition by condition.

    Args:
        backbone: The dual encoder.
        words: What varies in a condition: a mapping from condition to words, or words for all conditions.
        texts: Condition to whole texts, as settings have them, in place of words put into a template.
    """

    depth = 0
    components: int | None

    def __init__(
        self,
        backbone: CLIP,
        *,
        words: Mapping[str, WordList] | WordList | None = None,
        texts: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        if not hasattr(backbone.dual_encoder, "get_text_features"):
            raise ModelError(f"{backbone.model} has no text tower: {self.method} needs a dual encoder")
        self._backbone = backbone
        self.model, self.revision = backbone.model, backbone.revision
        self.image_max_size, self.image_reading = backbone.image_max_size, backbone.image_reading
        self.budget = backbone.budget
        self._words: dict[str, WordList] = {}
        self._words_of_any: WordList | None = None
        if isinstance(words, Mapping):
            self._words = {str(checked_condition(name)).casefold(): given for name, given in words.items()}
        else:
            self._words_of_any = words
        self._texts = {condition: tuple(each) for condition, each in (texts or {}).items()}
        self._matrices: dict[str, Vectors] = {}

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint, *, backbone: CLIP | None = None, **options: Any) -> Self:
        """The method on a model, or on an embedder that has loaded it."""
        of_images = {name: options.pop(name) for name in OF_IMAGES if name in options}
        return cls(backbone or CLIP(checkpoint, **of_images), **options)

    @property
    def backbone(self) -> CLIP:
        """The dual encoder whose vectors are mapped."""
        return self._backbone

    @abstractmethod
    def matrix(self, condition: str) -> Vectors:
        """The condition's map, (k, d)."""

    def text_matrix(self, condition: str) -> Vectors:
        """The map of texts, (k, d): the images' unless a method lays these elsewhere."""
        return self.matrix(condition)

    def fit(self, images: "ImageInput | Sequence[ImageInput]") -> None:
        """Learn of a collection, or of a sample of it, what the map needs of it: nothing, unless a method says so."""

    def fit_vectors(self, parts: Iterable[Vectors]) -> None:
        """As `fit`, from the backbone's vectors (n, d), part by part."""

    @property
    @abstractmethod
    def choices(self) -> dict[str, Any]:
        """What was chosen for this method: part of a setting."""

    @classmethod
    def options_from(cls, setting: Setting) -> dict[str, Any]:
        """The options that made a setting."""
        own: dict[str, Any] = {
            name: setting.extra[name] for name in ("components", "solver", "seed") if name in setting.extra
        }
        told = setting.extra["texts"]
        if isinstance(told, Mapping):
            own["texts"] = told  # else of an earlier version, which kept a digest: of the words that are known, perhaps
        return {**super().options_from(setting), **own}

    def fitted(self, request: Request) -> dict[str, NDArray[Any]]:
        """The maps of the request's conditions: made once more elsewhere, rounding would make others."""
        names = map(self._named, request.conditions)
        return {f"matrix of {name}": self.matrix(name) for name in names}

    def _learned(self) -> dict[str, Any]:
        return {"_matrices": self._matrices}

    def restore(self, fitted: Mapping[str, NDArray[Any]], setting: Setting) -> None:
        """Take these maps."""
        for name in setting.extra.get("together") or [self._named(setting.condition)]:
            if (key := f"matrix of {name}") in fitted:
                self._matrices[name] = fitted[key]

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
        return self.backbone.embed_text(self.texts(condition), Request())[:, 0, 0, 0, 0]

    def prepare(self, image: Image.Image, request: Request) -> Any:
        """The model's inputs for one image."""
        return self.backbone.prepare(image, request)

    def cost(self, prepared: Any) -> int:
        """One per image."""
        return self.backbone.cost(prepared)

    def forward_batch(self, batch: Sequence[Any], request: Request) -> list[Embedded]:
        """One vector per image and condition; maps of fewer components end in zeros."""
        vectors = np.stack([each.vectors[0, 0, 0, 0] for each in self.backbone.forward_batch(batch, Request())])
        return [Embedded(each) for each in self.under(vectors, request)]

    def embed_text(self, texts: Sequence[str], request: Request) -> Vectors:
        """Texts through the text tower and their maps, (n, *request.shape, k)."""
        return self._mapped(self.backbone.embed_text(texts, Request())[:, 0, 0, 0, 0], request, self.text_matrix)

    def under(self, vectors: Vectors, request: Request) -> Vectors:
        """The backbone's vectors (n, d) under the request's conditions, (n, *request.shape, k)."""
        return self._mapped(vectors, request, self.matrix)

    def settings(self, request: Request, *, dataset: str, source: str | None = None) -> list[Setting]:
        """One setting per condition."""
        self._check(request)
        (of_backbone,) = self.backbone.settings(Request(), dataset=dataset, source=source)
        return [
            self._setting(
                dataset,
                source,
                condition=name,
                dtype=of_backbone.dtype,
                extra={
                    **of_backbone.extra,
                    **self.choices,
                    "texts": {
                        str(condition): list(self.texts(self._named(condition))) for condition in each.conditions
                    },
                    **({"together": list(each.conditions)} if each.together else {}),
                },
            )
            for name, each in zip(request.condition_names, request.by_condition(), strict=True)
        ]

    def _mapped(self, vectors: Vectors, request: Request, matrix_of: Callable[[str], Vectors]) -> Vectors:
        """Vectors (n, d) as (n, K, 1, 1, 1, k): k is `components`, or d, whatever the conditions; zeros fill it.

        Zeros change no cosine, and so a condition's vectors do not depend on the company that it is asked in.
        """
        width = self.components or vectors.shape[1]
        mapped = [project(matrix_of(self._named(condition)), vectors) for condition in request.conditions]
        filled = [np.pad(each, ((0, 0), (0, width - each.shape[1]))) for each in mapped]
        return np.stack(filled, axis=1)[:, :, None, None, None]

    def _named(self, condition: str | None) -> str:
        if condition is None:
            raise ConditionError(f"{self.method} needs a condition; without one it is clip: use method clip")
        return condition

    def _check(self, request: Request) -> None:
        super()._check(request)
        for condition in request.conditions:
            self.texts(self._named(condition))
