"""The words that the model would answer with: whole words, each with its probability.

The most probable first tokens are continued greedily, each for itself, until the word that it begins has ended; what is
spelled alike but for case and white space is one word, and its probabilities are added up.
"""

import math
import re
from collections.abc import Sequence

import torch
from torch import Tensor

from .generation import Read, Row, end_tokens, following, read
from .loading import LVLM
from .prompts import Prepared

Words = list[tuple[str, float]]

CANDIDATES = 2  # first tokens tried for each word wanted: some begin the same word
MAX_PIECES = 8  # tokens of a word
CACHED_TOKENS = 2**16  # in the caches of the candidates that are continued together
_WORD = re.compile(r"[^\w\ufffd]*(\w[\w'’-]*)(.*)", re.DOTALL)  # what is before a word, the word, what is behind it


def say(
    lvlm: LVLM, batch: Sequence[Prepared], layers: Sequence[int], k: int, least: float, *, share: bool
) -> tuple[Tensor | None, list[Words]]:
    """From one reading of each prompt the hidden states of its last token, and the words that would follow.

    Args:
        lvlm: The model.
        batch: Prepared images.
        layers: Indices into the hidden states; none if only words are wanted.
        k: Words a prompt at most.
        least: First tokens less probable than this begin no word, but for the most probable one.
        share: Whether the image and the common prefix are read once for all prompts of an image.

    Returns:
        States (images, prompts, layers, d) or None, and for each prompt of each image its words, most probable first.
    """
    states: dict[Row, Tensor] = {}
    words: dict[Row, Words] = {}
    for group in read(lvlm, batch, layers, share=share):
        if group.states is not None:
            states |= zip(group.rows, group.states, strict=True)
        words |= zip(group.rows, _words(lvlm, group, k, least), strict=True)
    ordered = sorted(words)
    stacked = torch.stack([states[row] for row in ordered]) if states else None
    return (
        None if stacked is None else stacked.reshape(len(batch), -1, *stacked.shape[1:]),
        [words[row] for row in ordered],
    )


def _words(lvlm: LVLM, group: Read, k: int, least: float) -> list[Words]:
    """The words behind each row of a group."""
    likely, first = group.logits.float().log_softmax(-1).topk(min(CANDIDATES * k, group.logits.shape[-1]))
    candidates = [
        (row, token, logarithm)
        for row, pairs in enumerate(zip(first.tolist(), likely.tolist(), strict=True))
        for index, (token, logarithm) in enumerate(zip(*pairs, strict=True))
        if index == 0 or math.exp(logarithm) >= least
    ]
    probabilities: list[dict[str, float]] = [{} for _ in group.rows]
    together = max(1, CACHED_TOKENS // group.inputs["attention_mask"].shape[1])
    for start in range(0, len(candidates), together):
        part = candidates[start : start + together]
        for (row, _, _), (word, probability) in zip(part, _whole(lvlm, group, part), strict=True):
            probabilities[row][word] = probabilities[row].get(word, 0.0) + probability
    return [sorted(found.items(), key=lambda pair: -pair[1])[:k] for found in probabilities]


def _whole(lvlm: LVLM, group: Read, candidates: Sequence[tuple[int, int, float]]) -> list[tuple[str, float]]:
    """Each candidate continued to a whole word, with the probability of its pieces one after another."""
    own = group.select([row for row, _, _ in candidates])
    ends = end_tokens(lvlm)
    pieces = [[token] for _, token, _ in candidates]
    logarithms = [logarithm for _, _, logarithm in candidates]
    alive = [index for index, (_, token, _) in enumerate(candidates) if token not in ends]
    inputs = own.inputs
    chosen = torch.tensor([token for _, token, _ in candidates], device=lvlm.device)
    for _ in range(MAX_PIECES - 1):
        if not alive:
            break
        inputs, logits = following(lvlm, own, inputs, chosen)
        best = logits.float().log_softmax(-1).max(-1)
        chosen = best.indices
        coming, likely = chosen.tolist(), best.values.tolist()
        alive = [row for row in alive if coming[row] not in ends and not _ended(lvlm, [*pieces[row], coming[row]])]
        for row in alive:
            pieces[row].append(coming[row])
            logarithms[row] += likely[row]
    return [(_folded(lvlm, row), math.exp(logarithm)) for row, logarithm in zip(pieces, logarithms, strict=True)]


def _ended(lvlm: LVLM, tokens: list[int]) -> bool:
    """Whether the last token is behind the first word."""
    match = _WORD.match(_text(lvlm, tokens))
    return match is not None and match[2] != ""


def _folded(lvlm: LVLM, tokens: list[int]) -> str:
    text = _text(lvlm, tokens)
    match = _WORD.match(text)
    return (match[1].rstrip("'’-") if match else " ".join(text.split())).casefold()


def _text(lvlm: LVLM, tokens: list[int]) -> str:
    # A character of several bytes may still lack some.
    return str(lvlm.tokenizer.decode(tokens, skip_special_tokens=True)).rstrip("\ufffd")
