"""InDiReCT: the linear map that loses least of a condition's texts (Kobs, Steininger, Hotho, WACV 2023).

A matrix U (k, d) turns a unit vector x into v = normalise(U x) and back into x' = normalise(U^T v); U is chosen so that
the mean angle between x and x' over the texts is least. Images then go through the same U. `fit`, `project` and `loss`
take vectors only; the class brings the model.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import OptionError
from .clip import CLIP
from .projected import Projected, Vectors, WordList
from .unit_vectors import checked_components, rows, unit, unit_texts

COMPONENTS = 128  # the paper's
SOLVERS = ("adam", "svd")
LEARNING_RATE = 0.01
PATIENCE = 100  # steps without a better loss
MAX_STEPS = 20_000  # some ten times what convergence takes
INITIAL_DEVIATION = 0.1

# Beyond this cosine arccos goes on as its tangent: its own slope is infinite at 1.
_LARGEST_COSINE = 1 - 1e-7

logger = logging.getLogger(__name__)


class InDiReCT(Projected):
    """CLIP through the map that loses least of a condition's texts.

    Args:
        backbone: The dual encoder whose vectors are mapped.
        words: What varies in a condition: a mapping from condition to words, or words for all conditions; a sequence,
            "red,blue,...", or a file of them. The benchmarks' conditions have words of their own.
        components: Rows of the map; None: 128, as the paper.
        solver: "adam" as the paper, or "svd", its closed form.
        seed: Of the paper's random start.
        texts: As for `Projected`.
    """

    method = "indirect"
    components: int

    def __init__(
        self,
        backbone: CLIP,
        *,
        words: Mapping[str, WordList] | WordList | None = None,
        components: int | None = None,
        solver: str = SOLVERS[0],
        seed: int = 42,
        texts: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        if solver not in SOLVERS:
            raise OptionError(f"unknown solver {solver!r}; known: {', '.join(SOLVERS)}")
        super().__init__(backbone, words=words, texts=texts)
        self.components = COMPONENTS if components is None else checked_components(components)
        self.solver, self.seed = solver, seed

    def matrix(self, condition: str) -> Vectors:
        """The condition's map, (components, d)."""
        with self.lock:
            if condition not in self._matrices:
                (self._matrices[condition],) = fit(
                    [self.embedded_texts(condition)], components=self.components, solver=self.solver, seed=self.seed
                )
            return self._matrices[condition]

    @property
    def choices(self) -> dict[str, Any]:
        """Components, solver and, where it counts, seed."""
        seed = {"seed": self.seed} if self.solver == "adam" else {}
        return {"components": self.components, "solver": self.solver, **seed}


def fit(
    texts: Sequence[ArrayLike], *, components: int = COMPONENTS, solver: str = "adam", seed: int = 42
) -> list[NDArray[np.float32]]:
    """The maps of several conditions, each from its own texts alone.

    "adam" minimises the loss from a random start as the paper does: Adam at 0.01, from entries drawn from N(0, 0.1),
    until 100 steps have brought nothing better (20,000 steps at most, with a warning); the best U is returned. Its rows
    are not orthonormal, and where `components` exceeds the rank of the texts, the rest of U keeps its random start and
    lets through some of what the texts do not vary in.

    "svd" takes the first right singular vectors of the unit-length texts: rows are orthonormal, and beyond the rank of
    the texts they are zero, so that the shape is the same whatever the texts. It maximises the mean squared cosine
    instead of minimising the mean angle, needs no start and no steps.

    Args:
        texts: For each condition the embedded texts, (n, d); n may differ.
        components: k, which may exceed n and d.
        solver: "adam" or "svd".
        seed: Of the random start, the same for each condition.

    Returns:
        For each condition U, float32 (k, d).

    Raises:
        ConditionError: a condition has no two texts that differ.
        ValueError: an unknown solver, fewer than 1 component, or vectors that are not (n, d) and finite.
    """
    if solver not in SOLVERS:
        raise OptionError(f"unknown solver {solver!r}; known: {', '.join(SOLVERS)}")
    checked_components(components)
    checked = [unit_texts(vectors) for vectors in texts]
    # One condition after the other: padded into one batch they take longer on a CPU, and rounding, which Adam
    # amplifies, would make each depend on the others.
    return [_adam(vectors, components, seed) if solver == "adam" else _svd(vectors, components) for vectors in checked]


def loss(matrix: ArrayLike, texts: ArrayLike) -> float:
    """The mean angle in radians between texts (n, d) and what U (k, d) keeps of them, as `fit` minimises it.

    It is the same for cQU with any number c but 0 and any orthogonal Q. Among all U with the same row space it is least
    where the rows are orthonormal. Texts kept whole
    have the loss 0.0002, not 0: arccos ends as its tangent.
    """
    return _loss_and_gradient(np.asarray(matrix, dtype=np.float64), unit(texts, name="texts"))[0]


def _svd(texts: NDArray[np.float64], components: int) -> NDArray[np.float32]:
    _, singular, basis = np.linalg.svd(texts, full_matrices=False)
    rank = int((singular > singular[0] * 1e-6).sum())  # float32 texts: less is rounding
    return rows(basis[:rank], components).astype(np.float32)


def _adam(texts: NDArray[np.float64], components: int, seed: int) -> NDArray[np.float32]:
    vectors = texts.astype(np.float32)
    shape = (components, vectors.shape[1])
    matrix = np.random.default_rng(seed).normal(0, INITIAL_DEVIATION, shape).astype(np.float32)
    mean, square = np.zeros_like(matrix), np.zeros_like(matrix)
    best, best_loss, best_step = matrix, np.inf, 0
    for step in range(1, MAX_STEPS + 1):
        value, gradient = _loss_and_gradient(matrix, vectors)
        if value < best_loss:
            best, best_loss, best_step = matrix, value, step
        elif step - best_step >= PATIENCE:
            break
        mean += 0.1 * (gradient - mean)
        square += 0.001 * (gradient**2 - square)
        slowness = np.sqrt(square / (1 - 0.999**step)) + 1e-8
        matrix = matrix - LEARNING_RATE / (1 - 0.9**step) * mean / slowness
    else:
        logger.warning("the loss still fell after %d steps: %.6f; the best matrix so far is used", MAX_STEPS, best_loss)
    return best


def _loss_and_gradient(matrix: NDArray[Any], texts: NDArray[Any]) -> tuple[float, NDArray[Any]]:
    """The loss and its gradient (k, d), in the precision of the input.

    With p = U x and s = U^T p the cosine of x and x' is |p|^2 / |s|, since x . s = |p|^2.
    """
    kept = texts @ matrix.T  # p, (n, k)
    back = kept @ matrix  # s, (n, d)
    length = np.maximum(np.linalg.norm(back, axis=1), 1e-30)
    cosine = np.sum(kept**2, axis=1) / length
    inside = np.minimum(cosine, _LARGEST_COSINE, dtype=np.float64)
    slope = -1 / np.sqrt(1 - inside**2)
    value = float(np.mean(np.arccos(inside) + slope * (cosine - inside)))
    weight = (slope / len(texts)).astype(matrix.dtype)
    to_back = -(weight * cosine / length**2)[:, None] * back
    to_kept = (2 * weight / length)[:, None] * kept + to_back @ matrix.T
    return value, kept.T @ to_back + to_kept.T @ texts
