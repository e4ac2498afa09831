"""The words that the model would answer with: whole words, each with its probability.

The most probable first tokens are continued greedily, each for itself, until the word that it begins has ended
(`first_word`); what is spelled alike but for case is one word, and its probabilities are added up.
"""

import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import ModelError
from .equivalence import UNSUPPORTED_ERRORS
from .first_word import MAX_BEFORE, first_word, folded, has_ended, word_end
from .generation import PrefillState, Row, end_tokens, following, prefill, written
from .loading import LVLM
from .prompts import Prepared

WordScores = list[tuple[str, float]]

CANDIDATES = 2  # first tokens tried for each word wanted: some begin the same word
MAX_TOKENS = 128  # of a candidate: its characters are bounded, and each is a few bytes, but a token may have none
CACHED_TOKENS = 2**16  # in the caches of the candidates that are continued together
BROKEN = "\ufffd"  # what a decoder writes for bytes that are no character
MAX_BYTES = 4  # of a character
_UNFINISHED = re.compile(f"{BROKEN}{{1,{MAX_BYTES - 1}}}$")


@dataclass
class Candidate:
    """A first token and what it is continued with.

    Attributes:
        row: The row of its prompt.
        tokens: So far; the last of them may be behind the word, where only they tell that it has ended.
        logarithms: Of each token's probability.
        texts: What the tokens up to each of them spell.
    """

    row: int
    tokens: list[int]
    logarithms: list[float]
    texts: list[str]

    @classmethod
    def begun(cls, tokenizer: Any, row: int, token: int, logarithm: float) -> "Candidate":
        return cls(row, [token], [logarithm], [_spelled(tokenizer, [token])])

    def add(self, tokenizer: Any, token: int, logarithm: float) -> None:
        self.tokens.append(token)
        self.logarithms.append(logarithm)
        self.texts.append(_spelled(tokenizer, self.tokens))

    @property
    def has_begun(self) -> bool:
        return bool(first_word(self.texts[-1]))

    @property
    def has_ended(self) -> bool:
        return has_ended(self.texts[-1])

    def word(self) -> tuple[str, float]:
        """The word, and the probability of the tokens that it needs, one after another."""
        word = first_word(self.texts[-1])
        if not word:
            spelled = self.texts[-1][:MAX_BEFORE].replace(BROKEN, "")
            return folded(" ".join(spelled.split())), math.exp(sum(self.logarithms))
        end = word_end(self.texts[-1])
        needed = next(index for index, text in enumerate(self.texts, 1) if len(text) >= end)
        return folded(word), math.exp(sum(self.logarithms[:needed]))


def silence(lvlm: LVLM, batch: Sequence[Prepared], *, share: bool) -> str | None:
    """Why the model tells no words; None if it does: it is given prompts, and then a token more.

    Args:
        lvlm: The model.
        batch: Any prepared images that can be in one pass.
        share: As for `top_words`.
    """
    try:
        for group in prefill(lvlm, batch, [], share=share):
            following(lvlm, group, group.inputs, group.logits.argmax(-1))
    except torch.OutOfMemoryError:
        raise
    except ModelError as error:
        return str(error)
    except UNSUPPORTED_ERRORS as error:
        return f"{lvlm.name} gives no words: {' '.join(str(error).split())}"
    return None


def top_words(
    lvlm: LVLM, batch: Sequence[Prepared], layers: Sequence[int], k: int, min_probability: float, *, share: bool
) -> tuple[Tensor | None, list[WordScores]]:
    """From one reading of each prompt the hidden states of its last token, and the words that would follow.

    Args:
        lvlm: The model.
        batch: Prepared images.
        layers: Indices into the hidden states; none if only words are wanted.
        k: Words per prompt at most.
        min_probability: First tokens less probable than this begin no word, but for the most probable one.
        share: Whether the image and the common prefix are read once for all prompts of an image.

    Returns:
        States (images, prompts, layers, d) or None, and for each prompt of each image its words, most probable first.
    """
    states: dict[Row, Tensor] = {}
    words: dict[Row, WordScores] = {}
    for group in prefill(lvlm, batch, layers, share=share):
        if group.states is not None:
            states |= zip(group.rows, group.states, strict=True)
        words |= zip(group.rows, _words(lvlm, group, k, min_probability), strict=True)
    ordered = sorted(words)
    stacked = torch.stack([states[row] for row in ordered]) if states else None
    return (
        None if stacked is None else stacked.reshape(len(batch), -1, *stacked.shape[1:]),
        [words[row] for row in ordered],
    )


def _words(lvlm: LVLM, group: PrefillState, k: int, min_probability: float) -> list[WordScores]:
    """The words behind each row of a group."""
    likely, first = group.logits.float().log_softmax(-1).topk(min(CANDIDATES * k, group.logits.shape[-1]))
    candidates = [
        Candidate.begun(lvlm.tokenizer, row, token, logarithm)
        for row, pairs in enumerate(zip(first.tolist(), likely.tolist(), strict=True))
        for index, (token, logarithm) in enumerate(zip(*pairs, strict=True))
        if index == 0 or math.exp(logarithm) >= min_probability
    ]
    together = max(1, CACHED_TOKENS // group.inputs["attention_mask"].shape[1])
    for start in range(0, len(candidates), together):
        _continue(lvlm, group, candidates[start : start + together])
    probabilities: list[dict[str, float]] = [{} for _ in group.rows]
    for candidate in candidates:
        word, probability = candidate.word()
        probabilities[candidate.row][word] = probabilities[candidate.row].get(word, 0.0) + probability
    return [sorted(found.items(), key=lambda pair: -pair[1])[:k] for found in probabilities]


def _continue(lvlm: LVLM, group: PrefillState, candidates: Sequence[Candidate]) -> None:
    """Each candidate continued greedily until its word has ended."""
    ends, silent = end_tokens(lvlm), _silent_tokens(lvlm.tokenizer)
    alive = [each for each in candidates if each.tokens[0] not in ends and not each.has_ended]
    if not alive:
        return
    own = group.select([each.row for each in alive])
    inputs = own.inputs
    chosen = torch.tensor([each.tokens[0] for each in alive], device=lvlm.device)
    rows = list(range(len(alive)))  # of the cache, in which those that have ended stay until they are the half of it
    for _ in range(MAX_TOKENS - 1):
        inputs, logits = following(lvlm, own, inputs, chosen)
        best = logits.float().log_softmax(-1).max(-1)
        chosen = best.indices
        coming, likely = chosen.tolist(), best.values.tolist()
        going = []
        for row, candidate in zip(rows, alive, strict=True):
            if coming[row] in ends or (coming[row] in silent and candidate.has_begun):
                continue
            candidate.add(lvlm.tokenizer, coming[row], likely[row])
            if not candidate.has_ended:
                going.append((row, candidate))
        if not going:
            break
        rows, alive = [row for row, _ in going], [candidate for _, candidate in going]
        if 2 * len(alive) <= len(chosen):
            inputs, chosen = own.keep(rows, inputs), chosen[rows]
            rows = list(range(len(alive)))


def _silent_tokens(tokenizer: Any) -> Collection[int]:
    """Special tokens: they spell nothing, and part words (a turn's end that the model's config does not name)."""
    added = getattr(tokenizer, "added_tokens_decoder", {})
    return {*tokenizer.all_special_ids, *(index for index, token in added.items() if token.special)}


def _spelled(tokenizer: Any, tokens: list[int]) -> str:
    """The text of tokens, of which the last may end inside a character: what is whole of it."""
    text = written(tokenizer, tokens)
    if not text.endswith(BROKEN):
        return text
    # Where bytes are tokens of their own, one that is missing breaks the whole characters before it too.
    shorter = [written(tokenizer, tokens[:-fewer]) for fewer in range(1, min(MAX_BYTES, len(tokens)))]
    return _UNFINISHED.sub("", max((text, *shorter), key=lambda each: len(each.rstrip(BROKEN))))
