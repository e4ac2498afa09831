"""The pages of groups: what a collection falls into under a condition, and the images that are alike."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from .pages import pictures, write_page

if TYPE_CHECKING:
    from ..collection.grouping.clusters import Cluster
    from ..collection.grouping.duplicates import Duplicate
    from ..collection.storage.store import Store
    from ..methods.settings import Setting

MOST_GROUPS = 100
MOST_PICTURES = 1500  # in one file
PICTURES_OF_A_CLUSTER, PICTURES_OF_A_GROUP = 24, 12
COVER = 4


def write_clusters(path: Path, store: "Store", setting: "Setting", groups: "Sequence[Cluster]") -> None:
    """Write the page of clusters to `path`.

    Args:
        path: The HTML file; replaced whole if it is there.
        store: Where the pictures come from.
        setting: What was clustered.
        groups: The clusters; the first hundred are shown.
    """
    shown = groups[:MOST_GROUPS]
    each = max(COVER, min(PICTURES_OF_A_CLUSTER, MOST_PICTURES // max(1, len(shown))))
    shown_pictures = pictures(store, setting, (image_id for group in shown for image_id in group.images[:each]))
    write_page(
        path,
        "clusters.html",
        condition=setting.condition,
        groups=groups,
        shown=[(group, [shown_pictures[image_id] for image_id in group.images[:each]]) for group in shown],
        full_cover=COVER,
        total=sum(group.size for group in groups),
    )


def write_duplicates(
    path: Path, store: "Store", settings: "Mapping[str | None, Setting]", rows: "Sequence[Duplicate]"
) -> None:
    """Write the page of duplicates to `path`.

    Args:
        path: The HTML file; replaced whole if it is there.
        store: Where the pictures come from.
        settings: What was compared, by condition.
        rows: As `duplicates` found them; the first hundred groups are shown.
    """
    groups = [list(members) for _, members in groupby(rows, key=lambda row: row.group)]
    shown = groups[:MOST_GROUPS]
    setting = next(iter(settings.values()))
    shown_pictures = pictures(store, setting, (row.image_id for group in shown for row in group[:PICTURES_OF_A_GROUP]))
    write_page(
        path,
        "duplicates.html",
        conditions=list(settings),
        groups=groups,
        images=len(rows),
        shown=[
            (group, [(row, shown_pictures[row.image_id]) for row in group[:PICTURES_OF_A_GROUP]]) for group in shown
        ],
    )
