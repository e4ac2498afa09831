"""How well an aspect separates images, without labels; and which aspects say the same of them.

The groups are the model's own: images that it answers with the same word, as in IC|TC (Kwon et al., Image Clustering
Conditioned on Text Criteria, ICLR 2024). Two figures judge them, each from 0 to 1, and their product is the separation:

- The silhouette (Rousseeuw 1987) of these groups, by the cosine of the aspect's own vectors: a word that the model is
  sure of has its vectors close together and far from others; where it guesses, the groups overlap.
- Their diversity (Gini-Simpson): the probability that two images, drawn at random, have different words. A single odd
  image is a compact group too, but nothing that the others differ in.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

ALIKE = 0.8  # adjusted mutual information of the groups, from which on two aspects say the same of the images


def separation(words: Sequence[str], vectors: NDArray[Any]) -> float:
    """The separation of images grouped by their words: 0 is none, 1 is never reached.

    Args:
        words: One per image.
        vectors: Theirs, (n, d), of any length.
    """
    from sklearn.metrics import silhouette_score

    groups = len(set(words))
    if not 1 < groups < len(words):
        return 0.0  # all say the same, or nobody does: the silhouette is of neither
    return max(0.0, float(silhouette_score(vectors, list(words), metric="cosine"))) * diversity(words)


def diversity(words: Sequence[str]) -> float:
    """The probability that two images, drawn at random, have different words."""
    shares = np.array(list(Counter(words).values())) / len(words)
    return float(1 - np.square(shares).sum())


def are_alike(a: Sequence[str], b: Sequence[str]) -> bool:
    """Whether two aspects group the same images (nearly) the same, whatever the words: adjusted mutual information."""
    from sklearn.metrics import adjusted_mutual_info_score

    return float(adjusted_mutual_info_score(list(a), list(b))) >= ALIKE
