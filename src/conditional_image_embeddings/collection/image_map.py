"""The map of a setting: each image's place on a plane, computed once and stored beside the vectors.

Places are of a fit to all images. Those that came since, up to a tenth as many, lie among the nearest of the fitted
ones; with more, all is fitted anew. So a map depends neither on the order of rows, nor on when it was looked at.
"""

import logging
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import OptionError, StoreError
from ..methods.settings import Setting
from .grouping.selection import finite, selected_ids
from .projection import Method, matrix, plane, preferred
from .storage.projection_table import Projection
from .storage.store import Store

NEWCOMERS = 0.1  # of the fitted images: so many get places among them
NEAREST = 5
CERTAIN = 1e-4  # squared distance of unit vectors: a neighbour nearer than this decides the place alone
INNER = 0.999  # of the images: what lies twice as far out as they is drawn in to the edge
MOST_CORNERS = 10_000
FARTHEST = 1e6  # coordinates of a polygon

logger = logging.getLogger(__name__)

# Whoever waits finds it stored; who asks for principal components does not wait for UMAP.
_computing = {"umap": threading.Lock(), "pca": threading.Lock(), None: threading.Lock()}


@dataclass(frozen=True, eq=False)
class ImageMap:
    """Where the images of a setting lie.

    Attributes:
        setting: Whose vectors they are.
        image_ids: Sorted.
        places: float32 (n, 2), from -1 to 1. Both axes have one scale; up is more.
        made_by: "UMAP" or "PCA".
        computed_now: Whether it was computed by this call, not read.
    """

    setting: Setting
    image_ids: list[str]
    places: NDArray[np.float32]
    made_by: str
    computed_now: bool

    def inside(self, polygon: Any) -> list[str]:
        """The images in a polygon, sorted; where it crosses itself, those that it goes around an odd number of times.

        Args:
            polygon: Its corners, (m, 2), in the map's coordinates, 3 to 10,000; the last is joined to the first.

        Raises:
            OptionError: it is no such polygon.
        """
        corners = _checked(polygon)
        order = np.argsort(self.places[:, 1], kind="stable")
        x, y = self.places[order].astype(np.float64).T
        within = np.zeros(len(order), bool)
        starts = np.roll(corners, 1, axis=0)
        lowest = np.searchsorted(y, np.minimum(starts, corners)[:, 1])
        highest = np.searchsorted(y, np.maximum(starts, corners)[:, 1])
        for (x0, y0), (x1, y1), first, last in zip(starts, corners, lowest, highest, strict=True):
            if first < last:  # only these are as high as the side; it is crossed by what lies to its left
                within[first:last] ^= x[first:last] < (y[first:last] - y0) / (y1 - y0) * (x1 - x0) + x0
        return [self.image_ids[row] for row in np.sort(order[within])]


def image_map(
    store: Store, setting: Setting, method: Method | None = None, *, show_progress_bar: bool | None = None
) -> ImageMap:
    """The map of a setting: as stored, or computed and stored where the database can be written at this moment.

    Args:
        store: The database.
        setting: One of it.
        method: "umap", "pca", or None: as it was stored; otherwise UMAP where that is installed and takes minutes at
            most (see `projection.preferred`).
        show_progress_bar: On stderr; None shows it on a terminal only.

    Raises:
        StoreError: there is no such setting, nothing in it, or vectors that are not finite.
        OptionError: an unknown method.
        ExtraError: UMAP is asked for and not installed.
    """
    if found := _stored(store, setting, method):
        return found
    with _computing[method]:
        return _stored(store, setting, method) or _computed(store, setting, method, show_progress_bar)


def _stored(store: Store, setting: Setting, method: Method | None) -> ImageMap | None:
    """What is stored and still good, with places for what came since."""
    state = store.state([setting])
    image_ids = selected_ids(store, {setting.condition: setting})
    best = preferred(len(image_ids), method)
    for made_by in [best] if method or best == "UMAP" else ["UMAP", "PCA"]:
        stored = store.projection(setting, made_by)
        if stored is None:
            continue
        there = set(image_ids)
        rows = [row for row, image_id in enumerate(stored.image_ids) if image_id in there]
        kept = Projection([stored.image_ids[row] for row in rows], stored.places[rows], stored.fitted[rows])
        late = sorted(there.difference(kept.image_ids))
        if len(late) + (~kept.fitted).sum() > NEWCOMERS * kept.fitted.sum():
            continue
        if late:
            kept = _with(kept, late, _places_of(store, setting, kept, late))
            _keep(store, setting, made_by, kept, state)
        return ImageMap(setting, kept.image_ids, kept.places, made_by, computed_now=False)
    return None


def _computed(store: Store, setting: Setting, method: Method | None, shown: bool | None) -> ImageMap:
    state = store.state([setting])
    image_ids = selected_ids(store, {setting.condition: setting})
    made_by = preferred(len(image_ids), method)
    with _vectors(store, setting, image_ids) as values:
        places = scaled(plane(values, made_by, show_progress_bar=shown))
    _keep(store, setting, made_by, Projection(image_ids, places, np.ones(len(image_ids), bool)), state)
    return ImageMap(setting, image_ids, places, made_by, computed_now=True)


def _keep(store: Store, setting: Setting, made_by: str, projection: Projection, state: str) -> None:
    try:
        with store.writing():
            if store.state([setting]) == state:  # otherwise a place may be of a former vector
                store.keep_projection(setting, made_by, projection)
    except StoreError as error:
        logger.debug("the map of %s is not stored: %s", setting.name, error)


def _vectors(store: Store, setting: Setting, image_ids: Sequence[str]) -> Any:
    """Unit vectors of these images, in their order, in a file beside the database while they are needed."""
    row_of = {image_id: row for row, image_id in enumerate(image_ids)}

    def parts() -> Iterator[tuple[list[int], NDArray[np.float32]]]:
        found = 0
        for ids, part in store.scan(setting):
            wanted = [index for index, image_id in enumerate(ids) if image_id in row_of]
            kept = [ids[index] for index in wanted]
            yield [row_of[image_id] for image_id in kept], finite(setting, kept, part[wanted])
            found += len(kept)
        if found < len(image_ids):
            raise StoreError(f"{setting.name} was changed while it was read: run the command again")

    folder = store.directory if store.directory and os.access(store.directory, os.W_OK) else None
    return matrix(parts(), len(image_ids), folder)


def _places_of(store: Store, setting: Setting, placed: Projection, late: Sequence[str]) -> NDArray[np.float32]:
    """Each of these images between the nearest of those that the map was fitted to, (n, 2)."""
    from sklearn.neighbors import NearestNeighbors

    fitted = np.flatnonzero(placed.fitted)
    image_ids = [*(placed.image_ids[row] for row in fitted), *late]
    with _vectors(store, setting, image_ids) as values:
        nearest = NearestNeighbors(n_neighbors=min(NEAREST, len(fitted)), algorithm="brute")
        distances, rows = nearest.fit(values[: len(fitted)]).kneighbors(values[len(fitted) :])
    weights = 1 / (distances**2 + CERTAIN)
    weights /= weights.sum(axis=1, keepdims=True)
    return np.asarray(np.einsum("ij,ijk->ik", weights, placed.places[fitted][rows]), np.float32)


def _with(placed: Projection, late: Sequence[str], places: NDArray[np.float32]) -> Projection:
    image_ids = [*placed.image_ids, *late]
    order = sorted(range(len(image_ids)), key=image_ids.__getitem__)
    fitted = np.concatenate([placed.fitted, np.zeros(len(late), bool)])
    every = np.concatenate([placed.places, places])
    return Projection([image_ids[row] for row in order], every[order], fitted[order])


def scaled(places: NDArray[np.float32]) -> NDArray[np.float32]:
    """Places (n, 2) in the square from -1 to 1, both axes by one factor.

    The square is as large as the farthest needs, or twice what the inner 99.9 % need: beyond, outliers are at its edge.
    """
    exact = places.astype(np.float64)
    low = np.quantile(exact, 1 - INNER, axis=0, method="higher")
    high = np.quantile(exact, INNER, axis=0, method="lower")
    exact -= (low + high) / 2
    out = np.abs(exact).max(axis=1)
    size = min(out.max(), 2 * np.quantile(out, INNER, method="lower")) or out.max() or 1
    return np.asarray((exact / size).clip(-1, 1), np.float32)


def _checked(polygon: Any) -> NDArray[np.float64]:
    try:
        corners = np.asarray(polygon, np.float64)
    except (TypeError, ValueError):
        corners = np.empty(0)
    if corners.ndim != 2 or corners.shape[1] != 2 or not 3 <= len(corners) <= MOST_CORNERS:
        raise OptionError(f"a polygon is a list of 3 to {MOST_CORNERS:,} corners (x, y)")
    if not (np.abs(corners) <= FARTHEST).all():  # nor NaN
        raise OptionError(f"a corner of the polygon is no place: x and y are numbers up to {FARTHEST:,.0f}")
    return corners
