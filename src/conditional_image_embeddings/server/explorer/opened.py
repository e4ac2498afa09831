"""A collection that the page looks at: opened once, with what was computed for it kept for the next look.

Several tabs ask at once, and one tab asks for the same again when it scrolls: a ranking, a filter's images, groups and
maps are computed once per state of the collection, in whichever request comes first; the others wait for it.
"""

import hashlib
import threading
from collections.abc import Callable, Hashable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from cachetools import LRUCache

from ...collection.collection import Collection
from ...collection.filters import facet_words
from ...collection.grouping.clusters import Cluster
from ...collection.grouping.duplicates import Duplicate
from ...collection.image_map import ImageMap
from ...collection.searching.ranking import Ranking
from ...collection.spaces import Space
from ...errors import OptionError
from ..problems import NotThereError
from .models import Models
from .requests import Filters, Query, View
from .uploads import Uploads

KEPT_RESULTS = 3_000_000  # images that they name together: 100 to 200 bytes each
ONE_RESULT = 3_000  # what one weighs besides
KEPT_THUMBNAILS = 64 * 2**20  # bytes

Result = TypeVar("Result")


class OpenedCollection:
    """A collection, and what was computed of it.

    Args:
        name: What the page calls it in its links.
        path: Its database.
        keep_model: Seconds after which a model that no query needed is let go.
        loading: As for `cie.open`.
    """

    def __init__(self, name: str, path: str | Path, *, keep_model: float, **loading: Any) -> None:
        self.name, self.path = name, str(path)
        self.collection = Collection(path, **loading)
        self.uploads = Uploads()
        self.models = Models(self.collection, keep_model)
        self._results: LRUCache[Hashable, Any] = LRUCache(KEPT_RESULTS, getsizeof=_weight)
        self._computing: dict[Hashable, _Once] = {}
        self._thumbnails: LRUCache[tuple[str, str, str], bytes] = LRUCache(KEPT_THUMBNAILS, getsizeof=len)
        self._lock = threading.Lock()

    # What there is.

    def space(self, name: str) -> Space:
        """A space by its name.

        Raises:
            NotThereError: there is none of this name (any more).
        """
        for space in self.collection.spaces():
            if space.name == name:
                return space
        raise NotThereError(f"{self.path} has no setting {name}: it was removed, or the link is of another collection")

    def state_of(self, space: Space) -> str:
        """What changes when a space's vectors, words or images do."""
        return self.collection.store.state(space.settings.values())

    # What is asked.

    def ranking(self, view: View) -> Ranking:
        """The images nearest to the view's query, as `collection.rank` gives them."""
        space = self.space(view.space)
        query = view.query

        def compute() -> Ranking:
            images = [(self.uploads.data(each.value), each.weight) for each in query.upload if each.weight]
            names = [each.condition for each in view.conditions]
            with self.models.needed(space, names, by=bool(query.text or images)):
                return self.collection.rank(
                    image=images or None,
                    image_id=[(each.value, each.weight) for each in query.image_id if each.weight] or None,
                    text=[(each.value, each.weight) for each in query.text if each.weight] or None,
                    conditions={each.condition: each.weight for each in view.conditions},
                    k=view.k,
                    cut="auto" if view.cut else None,
                    setting=view.space,
                    **self.passing(view.space, view.filters),
                )

        key = (
            "ranking",
            self.state_of(space),
            _key(query),
            tuple(view.conditions),
            _key(view.filters),
            view.cut,
            view.k,
        )
        return self._once((view.space, *key), compute)

    def shown(self, view: View) -> list[str]:
        """The images of a view without a query, sorted by id."""
        names = [each.condition for each in view.conditions if each.weight] or [view.conditions[0].condition]
        return self.image_ids(view.space, names, view.filters)

    def image_ids(self, space: str, conditions: Sequence[str | None], filters: Filters) -> list[str]:
        """The images that have a vector under each condition and pass."""

        def compute() -> list[str]:
            if filters.group is not None:  # in their order: the nearest to the group's centre first
                group = self.passing(space, filters)
                inside = set(self.collection.image_ids(conditions, setting=space, **group))
                return [each for each in group["among"] if each in inside]
            return self.collection.image_ids(conditions, setting=space, **self.passing(space, filters))

        key = ("ids", space, self.state_of(self.space(space)), tuple(conditions), _key(filters))
        return self._once(key, compute)

    def passing(self, space: str, filters: Filters, *, grouped: Filters | None = None) -> dict[str, Any]:
        """Filters as keywords of the collection's functions.

        `grouped`: the filters that the images passed of which a group is one, if others.
        """
        among: list[str] | None = None
        if filters.group is not None:
            asked = filters.group
            groups = self.clusters(space, asked.condition, asked.n, grouped or filters)
            if asked.number > len(groups):
                raise OptionError(
                    f"there is no group {asked.number} under {asked.condition!r}: there are {len(groups)}"
                )
            among = groups[asked.number - 1].images
        if filters.lasso is not None:
            inside = self.map(space, filters.lasso.condition).inside(filters.lasso.polygon)
            kept = set(inside)
            among = inside if among is None else [each for each in among if each in kept]
        facets = facet_words((each.condition, each.words, each.excluded) for each in filters.facets)
        return {"where": filters.where, "facets": facets or None, "among": among}

    def clusters(self, space: str, condition: str | None, n: int | None, filters: Filters) -> list[Cluster]:
        """As `collection.cluster`, of the images that pass the filters; one for a group is none of them."""
        others = filters.model_copy(update={"group": None})

        def compute() -> list[Cluster]:
            return self.collection.cluster(condition, n, setting=space, **self.passing(space, others))

        return self._once(("clusters", space, self.state_of(self.space(space)), condition, n, _key(others)), compute)

    def duplicates(
        self, space: str, conditions: Sequence[str | None], threshold: float | None, filters: Filters
    ) -> list[Duplicate]:
        """As `collection.duplicates`, of the images that pass the filters."""

        def compute() -> list[Duplicate]:
            passing = self.passing(space, filters)
            return self.collection.duplicates(
                conditions, threshold=threshold, setting=space, show_progress_bar=False, **passing
            )

        state = self.state_of(self.space(space))
        return self._once(("duplicates", space, state, tuple(conditions), threshold, _key(filters)), compute)

    def map(self, space: str, condition: str | None, method: Literal["pca"] | None = None) -> ImageMap:
        """As `collection.map`."""
        key = ("map", space, self.state_of(self.space(space)), condition, method)
        return self._once(key, lambda: self.collection.map(condition, method=method, setting=space))

    def thumbnail(self, space: str, image_id: str, state: str) -> bytes | None:
        """The stored picture of an image, encoded; None where there is none.

        `state`: that which was looked at; a picture that is at hand since then needs no look into the database.
        """
        with self._lock:
            data = self._thumbnails.get((space, state, image_id))
        return data or self.fetch_thumbnails(space, [image_id]).get(image_id)

    def fetch_thumbnails(self, space: str, image_ids: Iterable[str]) -> dict[str, bytes]:
        """Pictures of those images that have one, and are kept: of many at once it takes hardly longer than of one."""
        found, missing = {}, []
        known = self.space(space)
        state, first = self.state_of(known), known.shared
        with self._lock:
            for each in image_ids:
                data = self._thumbnails.get((space, state, each))
                if data is None:
                    missing.append(each)
                else:
                    found[each] = data
        if missing:
            stored = self.collection.store.thumbnails(first.dataset, missing, source=first.source)
            found |= {image_id: data for image_id, data in stored.items() if data}
            with self._lock:
                for image_id in missing:
                    if 0 < len(found.get(image_id, b"")) < KEPT_THUMBNAILS:
                        self._thumbnails[space, state, image_id] = found[image_id]
        return found

    def close(self) -> None:
        """Let go of the models and the database."""
        self.models.close()
        self.collection.close()

    def _once(self, key: Hashable, compute: Callable[[], Result]) -> Result:
        """What was computed under a key, by whoever asked first."""
        with self._lock:
            if key in self._results:
                kept: Result = self._results[key]
                return kept
            once = self._computing.setdefault(key, _Once())
        try:
            found: Result = once.value(compute)
            with self._lock:
                self._results[key] = found
        finally:
            with self._lock:
                if self._computing.get(key) is once:
                    del self._computing[key]
        return found


class _Once:
    """A value that the first thread computes while others wait; an error is the error of that thread alone."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: list[Any] = []

    def value(self, compute: Callable[[], Any]) -> Any:
        with self._lock:
            if not self._values:
                self._values.append(compute())
            return self._values[0]


def _key(part: Query | Filters) -> str:
    """Short, however long a lasso is."""
    return hashlib.sha256(part.model_dump_json().encode()).hexdigest()


def _weight(result: Any) -> int:
    """Of a result, in images; one that is larger than all that may be kept is kept alone."""
    if isinstance(result, Ranking):
        images = max(len(result), result.images)  # it holds every cosine, for its percentiles
    elif isinstance(result, ImageMap):
        images = len(result.image_ids)
    else:
        images = sum(each.size if isinstance(each, Cluster) else 1 for each in result)
    return min(KEPT_RESULTS, ONE_RESULT + images)
