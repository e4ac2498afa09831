"""Candidates in the order of how well they separate, those that say the same of the images once."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from .separation import are_alike, separation

AS_GOOD = 0.9  # of the best of several that are alike: from there on, the name that was proposed first stands for them
CLEAR = 0.5  # of the best separation


@dataclass(frozen=True)
class Suggestion:
    """An aspect in which images differ.

    Attributes:
        condition: Its name, to embed under.
        separation: How well it separates the images, from 0 to 1 (docs/suggest.md).
        unconditioned: The same groups' separation by the vectors without a condition: what was seen anyway.
        words: What the model answers, each with its share of the images, the most frequent first.
        alike: Other names that were tried, and that group the images (nearly) the same.
    """

    condition: str
    separation: float
    unconditioned: float
    words: tuple[tuple[str, float], ...]
    alike: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As `cie suggest --json` prints it."""
        return {
            "condition": self.condition,
            "separation": self.separation,
            "unconditioned": self.unconditioned,
            "words": [{"word": word, "fraction": fraction} for word, fraction in self.words],
            "alike": list(self.alike),
        }


@dataclass(frozen=True)
class Suggestions:
    """What `suggest` found.

    Attributes:
        aspects: The best first; none that does not separate at all.
        images: How many images they were judged on.
        tried: All candidates.
        proposed: Those that the model itself named.
        failures: Why images could not be embedded, by their index.
    """

    aspects: tuple[Suggestion, ...]
    images: int
    tried: tuple[str, ...]
    proposed: tuple[str, ...]
    failures: dict[Any, str]

    @property
    def conditions(self) -> tuple[str, ...]:
        """The aspects' names, as `encode` takes them."""
        return tuple(each.condition for each in self.aspects)

    @property
    def clear(self) -> tuple[Suggestion, ...]:
        """The aspects that separate at least half as well as the best: below, the model often guesses."""
        return tuple(each for each in self.aspects if each.separation >= CLEAR * self.aspects[0].separation)


@dataclass(frozen=True)
class Judged:
    """A candidate, the first word of each image under it, and what these are worth."""

    name: str
    words: Sequence[str]
    separation: float
    unconditioned: float

    @classmethod
    def of(cls, name: str, words: Sequence[str], vectors: NDArray[Any], unconditioned: NDArray[Any]) -> "Judged":
        """Judge a candidate by its words, its vectors (n, d) and those without a condition."""
        return cls(name, words, separation(words, vectors), separation(words, unconditioned))


def ranked(judged: Sequence[Judged]) -> list[Suggestion]:
    """Those that separate at all, best first; each group of alike ones is one, under the name that came first.

    Args:
        judged: All candidates, in the order of how likely one is to be meant.
    """
    left = sorted((each for each in judged if each.separation > 0), key=lambda each: -each.separation)
    place = {each.name: index for index, each in enumerate(judged)}
    suggestions = []
    while left:
        best = left[0]
        alike = [each for each in left if each is best or are_alike(each.words, best.words)]
        left = [each for each in left if all(each is not other for other in alike)]
        as_good = [each for each in alike if each.separation >= AS_GOOD * best.separation]
        shown = min(as_good, key=lambda each: place[each.name])
        counted = Counter(shown.words).most_common()
        suggestions.append(
            Suggestion(
                condition=shown.name,
                separation=shown.separation,
                unconditioned=shown.unconditioned,
                words=tuple((word, count / len(shown.words)) for word, count in counted),
                alike=tuple(each.name for each in alike if each is not shown),
            )
        )
    return sorted(suggestions, key=lambda each: -each.separation)
