"""Groups of images that are alike in an aspect, each named by its words: k-means on unit vectors.

Centres are fitted on a sample, the same whatever order the rows are in; then every image goes to the nearest, part by
part. So memory is that of the sample, and of a number and an id per image.
"""

import csv
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import OptionError
from ...inputs.arguments import optional_count
from ...methods.settings import Setting
from ..filters import EVERY, Filter
from ..storage.digests import digests
from ..storage.store import Store
from ..words import setting_telling
from . import centres
from .cluster_names import WordShare, answers, names, telling_words
from .selection import finite, selected_ids, unit_vectors

WORDS = 5  # of a group, that are told

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Cluster:
    """A group of images.

    Attributes:
        cluster: Its number, from 1: the largest first.
        name: Its most telling words; "group 3" where no words are stored.
        size: How many images it has.
        words: Those that tell it from the other groups, the most telling first.
        images: The ids of all its images, the nearest to its centre first.
    """

    cluster: int
    name: str
    size: int
    words: list[WordShare]
    images: list[str]


def clusters(store: Store, setting: Setting, n: int | None = None, *, only: Filter = EVERY) -> list[Cluster]:
    """Group the images of a setting; the largest group comes first.

    Args:
        store: The database.
        setting: One of it: under its condition the images of a group are alike.
        n: How many groups; None chooses by the mean silhouette, see `centres.choose`. There are fewer, with a warning,
            where the images have fewer different vectors.
        only: Which images.

    Raises:
        OptionError: n is no count or more than there are images; a filter that cannot be read or leaves none.
        StoreError: there is no such setting, or its vectors are damaged or empty.
    """
    wanted = optional_count("n", n)
    image_ids = selected_ids(store, {setting.condition: setting}, only)
    if wanted is not None and wanted > len(image_ids):
        raise OptionError(f"n is {wanted}, but there are {len(image_ids)} images: ask for at most as many groups")
    found = _centres(store, setting, image_ids, wanted)
    members = _members(store, setting, found, set(image_ids))
    if wanted is not None and len(members) < wanted:
        logger.warning("%d groups, not %d: the images have no more different vectors", len(members), wanted)
    words = store.words(setting_telling(store, setting) or setting)
    said = [answers(images, words) for images in members]
    told = telling_words(said, [sum(bool(words.get(each)) for each in images) for images in members])
    named = zip(names(said, told), told, members, strict=True)
    return [
        Cluster(number, name, len(images), best[:WORDS], images) for number, (name, best, images) in enumerate(named, 1)
    ]


def write_labels(groups: Sequence[Cluster], path: Path) -> None:
    """Each image's group as CSV: image_id, cluster, name; sorted by id."""
    rows = sorted((image_id, group.cluster, group.name) for group in groups for image_id in group.images)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image_id", "cluster", "name"])
        writer.writerows(rows)


def _centres(store: Store, setting: Setting, image_ids: Sequence[str], n: int | None) -> NDArray[np.float64]:
    """Fitted on a sample: as good as drawn, and yet decided by the images' ids alone."""
    size = max(centres.SAMPLE, centres.SAMPLE_PER_GROUP * (n or 1))
    order = np.argsort(digests(image_ids), kind="stable")[:size]
    vectors = unit_vectors(store, setting, [image_ids[index] for index in order])
    if n is None:
        n, silhouette = centres.choose(vectors)
        most = " (the most that were tried: give n for more)" if n == centres.MOST_GROUPS else ""
        logger.info("%d groups%s, mean silhouette %.2f", n, most, silhouette)
    return centres.fit(vectors, n)


def _members(store: Store, setting: Setting, found: NDArray[np.float64], wanted: set[str]) -> list[list[str]]:
    """The images of each centre, nearest first; the largest group first, of equals that with the first id."""
    ranked: list[list[tuple[float, str]]] = [[] for _ in found]
    for ids, part in store.scan(setting):
        rows = [row for row, image_id in enumerate(ids) if image_id in wanted]
        if not rows:
            continue
        kept = [ids[row] for row in rows]
        distances = centres.squared_distances(finite(setting, kept, part[rows]), found)
        for image_id, row, place in zip(kept, distances, distances.argmin(axis=1), strict=True):
            ranked[place].append((float(row[place]), image_id))
    groups = [[image_id for _, image_id in sorted(each)] for each in ranked if each]
    return sorted(groups, key=lambda images: (-len(images), min(images)))
