"""What a search is asked for and what it gives: weights, choice, hits."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import isfinite
from typing import Any, overload

from ...errors import OptionError
from ...inputs.arguments import checked_count
from ...inputs.conditions import Conditions, checked_condition, checked_conditions
from ...methods.settings import Setting

MOST_HITS = 100_000


@dataclass(frozen=True)
class Hit:
    """An image that was found.

    Attributes:
        rank: From 1.
        image_id: Its id in the collection.
        path: Where its file was last seen; None for one that is no file of its own.
        score: The weighted sum of `scores`.
        scores: Its cosine to the query under each condition, -1 to 1.
        percentiles: Under each condition, the share of random pairs that are at most as similar, 0 to 1; None where the
            collection has too few images to say.
        words: The words stored with it under each condition, most probable first; [] where there are none.
    """

    rank: int
    image_id: str
    path: str | None
    score: float
    scores: Mapping[str | None, float]
    percentiles: Mapping[str | None, float | None]
    words: Mapping[str | None, Sequence[tuple[str, float]]]

    def to_json(self) -> dict[str, Any]:
        """As `cie search --json` prints it; "null" is no condition."""
        words = {
            condition: [{"word": word, "probability": probability} for word, probability in several]
            for condition, several in self.words.items()
        }
        return {**asdict(self), "words": words}


@dataclass(frozen=True)
class Hits(Sequence[Hit]):
    """What a search found, most similar first.

    Attributes:
        hits: The images.
        conditions: With their weights.
        settings: By condition: where their vectors are.
        images: How many images were searched: those that fit the filters.
        cut: With `cut="auto"`: the score from which on an image matches; None where no group stands out.
        exact: Whether every image was scored.
    """

    hits: Sequence[Hit]
    conditions: Mapping[str | None, float]
    settings: Mapping[str | None, Setting]
    images: int
    cut: float | None = None
    exact: bool = True

    @overload
    def __getitem__(self, index: int) -> Hit: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Hit]: ...
    def __getitem__(self, index: int | slice) -> Hit | Sequence[Hit]:
        return self.hits[index]

    def __len__(self) -> int:
        return len(self.hits)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which of the images that were scored are hits.

    Attributes:
        k: How many at most.
        among: Only these; None: all.
        without: Not these: what was searched for.
        min_score: No score below this.
        cut: Whether the list ends by itself, see `cutoff`; that takes every image's score.
        exact: Score every image, index or not.
    """

    k: int = 20
    among: Collection[str] | None = None
    without: Collection[str] = field(default_factory=frozenset)
    min_score: float | None = None
    cut: bool = False
    exact: bool = False

    def __post_init__(self) -> None:
        checked_count("k", self.k)
        if self.k > MOST_HITS:
            raise OptionError(f"k is {self.k}; at most {MOST_HITS} hits are given")
        if self.min_score is not None and not isfinite(self.min_score):
            raise OptionError(f"min_score is {self.min_score}, not a finite number")


def weights_of(conditions: Conditions | Mapping[str | None, float]) -> dict[str | None, float]:
    """Conditions with their weights; without weights each has 1.

    Raises:
        OptionError: none is positive, or one is no number.
        ConditionError: a condition that is unusable, or none at all.
    """
    if isinstance(conditions, Mapping):
        checked_conditions(list(conditions))
        given = {checked_condition(name): weight for name, weight in conditions.items()}
    else:
        given = dict.fromkeys(checked_conditions(conditions), 1.0)
    for name, weight in given.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not isfinite(weight):
            raise OptionError(f"the weight of {name!r} is {weight!r}, not a finite number")
    if not any(weight > 0 for weight in given.values()):
        raise OptionError(
            "no condition has a positive weight: a negative one pushes hits away that another condition draws near; "
            "give at least one a weight above 0"
        )
    return {name: float(weight) for name, weight in given.items() if weight}
