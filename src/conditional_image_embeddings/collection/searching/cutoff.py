"""Where a list of hits ends by itself: where what matches is no longer told apart from what does not.

The similarities of a query to a whole collection fall into groups: those images that match, and others. A mixture of
one to five normal distributions is fitted to them, as many as the Bayesian information criterion asks for; the hits
are the images that belong to the highest one more probably than to all the others together.
"""

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

MOST_GROUPS = 5
SAMPLE = 10_000  # similarities, evenly spaced in their order
LEAST = 20  # similarities; of fewer no distribution is told


def cutoff(similarities: NDArray[np.float64]) -> float | None:
    """The similarity from which on an image matches.

    Args:
        similarities: Of the query to every image, or to as many drawn at random; (n,).

    Returns:
        None where no group stands out: too few images, or one distribution explains them all.
    """
    from sklearn.mixture import GaussianMixture

    ordered = np.sort(similarities)
    if len(ordered) > SAMPLE:
        ordered = ordered[np.linspace(0, len(ordered) - 1, SAMPLE).round().astype(int)]
    spread = float(ordered.std()) if len(ordered) else 0.0
    if len(ordered) < LEAST or not spread > 1e-6:
        return None
    column = ((ordered - ordered.mean()) / spread)[:, None]
    with threadpool_limits(1):  # of so few numbers, threads only wait for one another
        mixtures = [
            GaussianMixture(groups, random_state=0, reg_covar=1e-6).fit(column)
            for groups in range(1, min(MOST_GROUPS, len(np.unique(ordered))) + 1)
        ]
    best = min(mixtures, key=lambda mixture: mixture.bic(column))
    if best.n_components == 1:
        return None
    highest = int(np.argmax(best.means_[:, 0]))
    belongs = best.predict_proba(column)[:, highest] >= 0.5
    # A wide distribution beside it may win again far above: what is more similar than a match is one.
    belongs |= column[:, 0] >= best.means_[highest, 0]
    last = len(belongs) - int(np.argmin(belongs[::-1])) if not belongs.all() else 0
    return float(ordered[last]) if last < len(ordered) else None
