"""CLAY: images compared along the directions in which a condition's texts vary (Lim et al., CVPR 2026).

Written from public summaries of the paper (arXiv 2604.11539): texts go to the tangent space of the sphere at their mean
by the logarithmic map; a Householder reflection lays the mean of the images on the mean of the texts; a truncated
singular value decomposition of the texts gives the subspace; similarity is the cosine in it. Images are embedded once,
whatever the conditions. What the summaries leave open is chosen here:

- The mean is that of the unit vectors, scaled to unit length: unlike the Fréchet mean it can be summed up over a stream
  of images. With builtin-clip neither is better throughout; MAP@R differs by 3 points at most.
- Images, reflected, go to the same tangent space as the texts. The subspace is orthogonal to the texts' mean, so the
  logarithmic map only scales what an image has in it, and a cosine does not see that. All of CLAY is then one matrix.
- As many components are kept as hold `ENERGY` of the texts' variation: chosen on the synthetic cars with builtin-clip,
  where MAP@R hardly moves between 70% and 85% and falls beyond.
- Several conditions at once: the weighted mean of their similarities (`combine`).

The functions take vectors only; the class brings the model.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import OptionError, SettingError
from ..inputs.arguments import lists_keywords
from ..inputs.conditions import checked_conditions
from . import unit_vectors
from .clip import CLIP
from .embedder import Embedder
from .options import is_one_image
from .projected import Projected, Vectors, WordList
from .request import Request
from .settings import Setting
from .unit_vectors import checked_components, mean_direction, rows, unit, unit_texts

if TYPE_CHECKING:
    from ..inputs.images import ImageInput

ENERGY = 0.8  # of the squared singular values; docs/methods.md has the figures for others


class CLAY(Projected):
    """CLIP in the subspace of a condition's texts, the images' mean laid on the texts'.

    The map depends on the collection by its mean: `fit` it once before `encode`; a job does so by itself.

    Args:
        backbone: The dual encoder whose vectors are mapped.
        words: As for `InDiReCT`.
        components: Of the subspace, and then dimensions of the vectors. None takes as many as the condition's texts ask
            for (see `fit`); the vectors have the backbone's dimensions then, and end in zeros.
        texts: As for `Projected`.
    """

    method = "clay"

    def __init__(
        self,
        backbone: CLIP,
        *,
        words: Mapping[str, WordList] | WordList | None = None,
        components: int | None = None,
        texts: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        super().__init__(backbone, words=words, texts=texts)
        self.components = None if components is None else checked_components(components)
        self._image_mean: NDArray[np.float64] | None = None
        self._text_matrices: dict[str, Vectors] = {}

    def matrix(self, condition: str) -> Vectors:
        """The condition's map of images, (k, d).

        Raises:
            OptionError: the mean of the images is not known yet.
        """
        if self._image_mean is None:
            raise OptionError("clay needs the mean of the images: call fit(images) on the collection or a sample first")
        with self.lock:
            if condition not in self._matrices:
                texts = self.embedded_texts(condition)
                self._matrices[condition] = fit(texts, self._image_mean, components=self.components).matrix
            return self._matrices[condition]

    def text_matrix(self, condition: str) -> Vectors:
        """The subspace itself, (k, d): texts lie where the images are laid, so that they are not reflected."""
        with self.lock:
            if condition not in self._text_matrices:
                texts = self.embedded_texts(condition)
                self._text_matrices[condition] = fit(texts, components=self.components).matrix
            return self._text_matrices[condition]

    def stream(self, images: Iterable[Any], request: Request, **options: Any) -> Iterator[Any]:
        """As every method's; with the mean that is known now, whatever `fit` learns meanwhile."""
        now = object.__new__(type(self))
        with self.lock:
            now.__dict__.update(vars(self))
        return Embedder.stream(now, images, request, **options)

    def fit(self, images: "ImageInput | Sequence[ImageInput]") -> None:
        """Take the mean of these images."""
        several: Any = [images] if is_one_image(images) else images
        self.fit_vectors([np.asarray(self.backbone.encode(several))])

    def fit_vectors(self, parts: Iterable[Vectors]) -> None:
        """Take the mean of the backbone's vectors (n, d), part by part."""
        mean = np.sum([unit(part).sum(axis=0) for part in parts], axis=0)
        with self.lock:
            self._image_mean, self._matrices = mean, {}

    def fitted(self, request: Request) -> dict[str, NDArray[Any]]:
        """The mean of the images, and the maps of images and texts."""
        texts = {f"text matrix of {name}": self.text_matrix(name) for name in map(self._named, request.conditions)}
        return {**super().fitted(request), **texts, "image mean": np.asarray(self._image_mean)}

    def restore(self, fitted: Mapping[str, NDArray[Any]], setting: Setting) -> None:
        """Take this mean and these maps."""
        if "image mean" not in fitted:
            raise SettingError(
                f"{setting.name} depends on its collection, and comes without what was learnt of it: open that, "
                "cie.open(...).embedder(...); if an earlier version embedded it, run the same `cie embed` once more"
            )
        super().restore(fitted, setting)
        self._image_mean = fitted["image mean"]
        self._text_matrices = dict(self._text_matrices)
        for name in setting.extra.get("together") or [self._named(setting.condition)]:
            self._text_matrices[name] = fitted[f"text matrix of {name}"]

    def _learned(self) -> dict[str, Any]:
        if self._image_mean is None:
            return {}
        return {**super()._learned(), "_image_mean": self._image_mean, "_text_matrices": self._text_matrices}

    @lists_keywords
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
        combine([each[:1] for each in maps], weights)  # weights that do not fit are refused before the work
        found = self.backbone.encode(images, batch_size=batch_size, show_progress_bar=show_progress_bar)
        combined = combine([unit_vectors.project(each, np.atleast_2d(found)) for each in maps], weights)
        return combined[0] if is_one_image(images) else combined

    @property
    def choices(self) -> dict[str, Any]:
        """Components, and that the collection decides too."""
        return {"components": self.components, "fitted_on": "the collection"}

    def _mapped(self, vectors: Vectors, request: Request, matrix_of: Callable[[str], Vectors]) -> Vectors:
        """As every map's; together they are one, (n, 1, 1, 1, 1, the sum of the conditions' components)."""
        if not request.together:
            return super()._mapped(vectors, request, matrix_of)
        names = map(self._named, request.conditions)
        return combine([unit_vectors.project(matrix_of(name), vectors) for name in names])[:, None, None, None, None]


@dataclass(frozen=True)
class Projection:
    """The map of one condition.

    Attributes:
        matrix: Reflection and subspace in one, float32 (k, d): all that `project` needs.
        text_mean: Where the texts lie, unit length, float32 (d,).
        singular_values: How much the texts vary along each component, largest first, float32 (k,).
    """

    matrix: NDArray[np.float32]
    text_mean: NDArray[np.float32]
    singular_values: NDArray[np.float32]


def fit(texts: ArrayLike, image_mean: ArrayLike | None = None, *, components: int | None = None) -> Projection:
    """The map of a condition.

    Args:
        texts: The condition's embedded texts, (n, d).
        image_mean: Where the images lie, (d,), as `mean_direction` of them or of a sample; None compares images as
            they are, with no reflection.
        components: k; rows beyond the rank of the texts are zero, which changes no cosine. None takes as many as hold
            80% of the texts' variation (squared singular values).

    Raises:
        ConditionError: no two texts differ.
        ValueError: fewer than 1 component, vectors of other shapes, NaN or infinity, or no mean (vectors that cancel).
    """
    vectors = unit_texts(texts)
    text_mean = mean_direction(vectors)
    _, singular, basis = np.linalg.svd(log_map(text_mean, vectors), full_matrices=False)
    if components is None:
        energy = np.cumsum(singular**2) / np.sum(singular**2)
        components = int(np.searchsorted(energy, ENERGY - 1e-9)) + 1
    rank = int((singular > singular[0] * 1e-6).sum())  # float32 texts: less is rounding
    subspace = rows(basis[:rank], checked_components(components))
    if image_mean is not None:
        source = unit(image_mean, ndim=1, name="image mean")
        if source.shape != text_mean.shape or not source.any():
            raise OptionError(f"the image mean, {source.shape}, must be like a text, {text_mean.shape}, and not zero")
        # B (H x) = (B H) x, and H is symmetric: to reflect the subspace is to reflect every image.
        subspace = reflect(subspace, source, text_mean)
    strengths = np.pad(singular[: min(rank, components)], (0, max(components - rank, 0)))
    return Projection(*(array.astype(np.float32) for array in (subspace, text_mean, strengths)))


def project(projection: Projection, images: ArrayLike) -> NDArray[np.float32]:
    """Embedded images (n, d) under the condition: float32 (n, k), of unit length, so that their cosine is CLAY's.

    An image with nothing in the subspace becomes zero, and is similar to none.
    """
    return unit_vectors.project(projection.matrix, images)


def combine(vectors: Sequence[ArrayLike], weights: Sequence[float] | None = None) -> NDArray[np.float32]:
    """Vectors of the same images under several conditions as one, whose cosine is the weighted mean of the cosines.

    Args:
        vectors: For each condition (n, k), as `project` returns them; k may differ.
        weights: What each condition counts, not negative; None: all the same.

    Returns:
        float32 (n, the sum of the k): the vectors of unit length times the root of the weight, side by side.

    Raises:
        ValueError: no vectors, conditions of different n, not one weight a condition, a negative one, or all zero.
    """
    counts = [1.0] * len(vectors) if weights is None else list(weights)
    if not vectors or len(counts) != len(vectors):
        raise OptionError(f"{len(vectors)} conditions and {len(counts)} weights: each condition needs one weight")
    shares = np.asarray(counts, dtype=np.float64)
    if not np.isfinite(shares).all() or shares.min() < 0 or shares.max() == 0:
        raise OptionError(f"the weights {counts} must be 0 or more, and one of them more than 0")
    parts = [unit(part) for part in vectors]
    if len({len(part) for part in parts}) > 1:
        raise OptionError(
            f"the conditions have {', '.join(str(len(part)) for part in parts)} images: give all the same"
        )
    shares = shares / shares.max()  # whose sum cannot overflow
    roots = np.sqrt(shares / shares.sum())
    return np.concatenate([root * part for root, part in zip(roots, parts, strict=True)], axis=1).astype(np.float32)


def log_map(base: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """The tangent vectors (n, d) at `base` (d,) that lead to `points` (n, d), both unit: as long as the angle is wide.

    From `base` to its antipode all directions lead; that one point goes to zero.
    """
    cosine = points @ base
    aside = points - cosine[:, None] * base
    sine = np.linalg.norm(aside, axis=1)
    angle = np.arctan2(sine, cosine)  # exact for small angles too, where arccos is not
    return np.where(sine > 0, angle / np.maximum(sine, 1e-300), 0)[:, None] * aside


def reflect(
    vectors: NDArray[np.float64], source: NDArray[np.float64], target: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The vectors (n, d) in the mirror that swaps two unit vectors (a Householder reflection); lengths stay."""
    normal = source - target
    length = np.linalg.norm(normal)
    if length < 1e-12:  # already there
        return vectors
    normal = normal / length
    return vectors - 2 * np.outer(vectors @ normal, normal)
