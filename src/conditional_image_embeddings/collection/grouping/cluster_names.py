"""Groups named by their words: those that a group's images say and the others' do not.

How telling a word is, is its log-odds ratio with an informative Dirichlet prior, as a z-score (Monroe, Colaresi and
Quinn, "Fightin' Words", Political Analysis 16(4), 2008). The counts are probabilities added up; the prior is the words'
own distribution over all groups. So what every group says names none of them, nor does what a single image says.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import log, sqrt

from ..words import EMPTY

PRIOR = 10.0  # answers that the prior counts as
LEAST = 0.01  # of a group's answers: what is rarer is not listed
IN_A_NAME = 0.1  # of a group's answers: rarer words name nothing where there are others
COVERED = 0.5  # of a group's answers: its name goes on until its words are so many of them
WORDS_OF_A_NAME = 3
TINY = 1e-9  # answers: where all say one word, nothing is left of the others

Answers = Mapping[str, float]  # word to how many images say it: the sum of its probabilities


@dataclass(frozen=True)
class WordShare:
    """A word, and the fraction of a group's answers that it is: its mean probability over the group's images."""

    word: str
    fraction: float


def answers(image_ids: Sequence[str], words: Mapping[str, Sequence[tuple[str, float]] | None]) -> Answers:
    """What these images say, together."""
    counted: defaultdict[str, float] = defaultdict(float)
    for image_id in image_ids:
        for word, probability in words.get(image_id) or ():
            counted[word or EMPTY] += probability
    return counted


def telling_words(groups: Sequence[Answers], sizes: Sequence[int]) -> list[list[WordShare]]:
    """The words of each group, first those that set it apart from all the others; the rarest are left out.

    Args:
        groups: Their answers.
        sizes: How many images of each have words.
    """
    told = []
    for group, size, score in zip(groups, sizes, _contrasts(groups), strict=True):
        frequent = [word for word in group if group[word] >= LEAST * size]
        ranked = sorted(frequent, key=lambda word: (-score(word), word))
        told.append([WordShare(word, group[word] / size) for word in ranked])
    return told


def names(groups: Sequence[Answers], told: Sequence[Sequence[WordShare]]) -> list[str]:
    """A name for each group, no two the same; "group 3" where it has no words.

    A name is the most telling word, or the first few where that is the smaller part of the group's answers. Groups of
    one name get a further word each, that which sets them apart from one another; without one, a number.
    """
    chosen = [_first_words(words) for words in told]
    for same in _doubled(chosen):
        for index, score in zip(same, _contrasts([groups[index] for index in same]), strict=True):
            further = [each.word for each in told[index] if each.word not in chosen[index] and score(each.word) > 0]
            chosen[index] += tuple(sorted(further, key=lambda word: (-score(word), word))[:1])
    named = [", ".join(words) or f"group {number}" for number, words in enumerate(chosen, start=1)]
    for same in _doubled(named):
        for number, index in enumerate(same[1:], start=2):
            named[index] += f" ({number})"
    return named


def _first_words(words: Sequence[WordShare]) -> tuple[str, ...]:
    name: tuple[str, ...] = ()
    covered = 0.0
    frequent = [each for each in words if each.fraction >= IN_A_NAME] or words
    for each in frequent[:WORDS_OF_A_NAME]:
        if covered < COVERED:
            name, covered = (*name, each.word), covered + each.fraction
    return name


def _doubled(names: Sequence[Hashable]) -> list[list[int]]:
    """The indices of each name that several have."""
    places: dict[Hashable, list[int]] = {}
    for index, name in enumerate(names):
        places.setdefault(name, []).append(index)
    return [indices for indices in places.values() if len(indices) > 1]


def _contrasts(groups: Sequence[Answers]) -> list[Callable[[str], float]]:
    """For each group the score of a word: how many standard deviations more often it is said than by the others."""
    every: defaultdict[str, float] = defaultdict(float)
    for group in groups:
        for word, count in group.items():
            every[word] += count
    total = sum(every.values())

    def score(group: Answers, inside: float, word: str) -> float:
        prior = PRIOR * every[word] / total
        own = group.get(word, 0.0)
        here, there = own + prior, max(every[word] - own, 0.0) + prior
        not_here, not_there = inside + PRIOR - here, max(total - inside, 0.0) + PRIOR - there
        ratio = log(here / max(not_here, TINY)) - log(there / max(not_there, TINY))
        return ratio / sqrt(1 / here + 1 / there)

    return [partial(score, group, sum(group.values())) for group in groups]
