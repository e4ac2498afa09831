"""Rows of images that are gone: found, and removed where that is asked for; never because a disk is not there.

A network mount that is lost leaves an empty folder, a link that leads nowhere, or nothing at all. So an image counts as
gone only where its table has no such row any more, or its file is not there while the folder that it would be in (or
the nearest above it that is left) holds something else. A file that is there but not taken, because it is excluded or
another glob's, is not gone.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ...errors import NoImagesError, SourceError
from ...inputs.references import ImageSource, Unreadable
from ...inputs.tables import Table
from ...methods.settings import Setting
from ..storage.digests import digests
from ..storage.store import Store


@dataclass(frozen=True, kw_only=True)
class Missing:
    """Stored images of a source that it does not have now.

    Attributes:
        gone: Ids of those that are gone, sorted.
        out_of_reach: How many may be there still: their folder is empty, or cannot be looked into.
    """

    gone: list[str] = field(default_factory=list)
    out_of_reach: int = 0


def missing(store: Store, source: ImageSource) -> Missing:
    """Which stored images of a source are gone; of a table without a column of ids, those beyond its last row.

    Raises:
        NoImagesError: no image of the source is there now.
    """
    listed = [image_id for image_id, reference in source.references() if not isinstance(reference, Unreadable)]
    if not listed:
        raise NoImagesError(f"{source.root} has no images now")
    there = np.unique(digests(listed))
    stored = _stored_ids(store, source)
    suspects = sorted(np.array(stored, object)[~np.isin(digests(stored), there)].tolist())
    is_gone = source.judge()
    judged = [(image_id, is_gone(image_id)) for image_id in suspects]
    return Missing(
        gone=[image_id for image_id, gone in judged if gone],
        out_of_reach=sum(gone is None for _, gone in judged),
    )


def prune(store: Store, source: ImageSource, on_work: Callable[[], None] = lambda: None) -> Missing:
    """Remove what `missing` finds from every setting of the source, and from `images`.

    `on_work` is called before, if there is anything.

    Raises:
        NoImagesError: no image of the source is there now; nothing is removed.
        SourceError: the source is a table whose rows are told apart by their numbers only.
        StoreError: another job is writing, or the store cannot be written. What was removed stays so.
    """
    if isinstance(source, Table) and not source.has_ids:
        raise SourceError(
            f"{source.root} has no column of ids, so that rows that follow take the numbers of rows that are gone: "
            "embed it into a new database instead"
        )
    with store.writing(required=False) as blocked:
        found = missing(store, source)
        if found.gone:
            if blocked is not None:
                raise blocked
            on_work()
            store.forget(source.dataset, source.root, found.gone)
            store.compact(_settings(store, source))
    return found


def _settings(store: Store, source: ImageSource) -> list[Setting]:
    return [each for each in store.settings() if (each.dataset, each.source) == (source.dataset, source.root)]


def _stored_ids(store: Store, source: ImageSource) -> list[str]:
    """Those of `images`, and of vectors whose row there is gone."""
    ids = set(store.stored_images(source.dataset, source.root))
    for setting in _settings(store, source):
        ids.update(store.image_ids(setting))
    return list(ids)
