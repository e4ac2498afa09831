"""What is in a collection: its settings, images and words, and the models that made its vectors."""

from collections.abc import Iterable
from pathlib import Path
from types import EllipsisType, TracebackType
from typing import Any, Self

from ..errors import StoreError, preview
from ..inputs.conditions import Conditions, checked_condition, checked_conditions
from ..methods.bound import BoundEmbedder
from ..methods.embedder import Embedder
from ..methods.settings import Setting
from .filters import FacetWords, Filter
from .image_info import ImageInfo, images, thumbnails
from .query_embedders import QueryEmbedders, load_stored
from .spaces import Space, choose, spaces, widest
from .storage.store import Store


class Contents:
    """The half of a collection that says what is there.

    Args:
        path: As for `open`.
        loading: As for `open`.
    """

    def __init__(self, path: str | Path, **loading: Any) -> None:
        self._store: Store | None = Store(path, create=False)
        self._path = self._store.uri
        self._embedders = QueryEmbedders(self._store, loading)

    @property
    def store(self) -> Store:
        """The database.

        Raises:
            StoreError: the collection was closed.
        """
        if self._store is None:
            raise StoreError(f"the collection {self._path} was closed: open it again")
        return self._store

    @property
    def settings(self) -> list[Setting]:
        """Every setting that there are vectors of, sorted by name."""
        return self.store.settings()

    @property
    def conditions(self) -> list[str | None]:
        """What the images were embedded under, sorted; None, last, is "no condition"."""
        return sorted({each.condition for each in self.settings}, key=lambda name: (name is None, name))

    def spaces(self) -> list[Space]:
        """The settings, those together that differ in their condition only.

        Those with most conditions come first, refined ones last, then by name.

            for space in collection.spaces():
                print(space.name, space.shared.method, space.shared.model, space.conditions)

        `setting=space.name` selects a space, for every condition of it.
        """
        return sorted(spaces(self.store), key=lambda space: (space.is_refined, -len(space.settings), space.name))

    def image_ids(
        self,
        conditions: Conditions,
        *,
        where: str | None = None,
        word: str | None = None,
        facets: FacetWords | None = None,
        among: Iterable[str] | None = None,
        setting: str = "*",
    ) -> list[str]:
        """The ids of the images that have a vector under every one of these conditions and pass a filter, sorted.

        Args:
            conditions: One or several; None is "no condition".
            where: As for `search`, and so the others.
            word: Under one of the conditions.
            facets: First words by condition.
            among: Ids.
            setting: Glob over the settings' names, where the conditions were embedded in several ways.

        Raises:
            OptionError: a filter that cannot be taken.
            StoreError: a condition that is not in the collection.
        """
        only = Filter.of(where=where, word=word, facets=facets, among=among)
        with self.store.reading():
            settings = choose(self.store, checked_conditions(conditions), setting)
            found = set.intersection(*(set(self.store.image_ids(each)) for each in settings.values()))
            passing = only.image_ids(self.store, settings)
        return sorted(found if passing is None else found & passing)

    def images(self, image_ids: Iterable[str], conditions: Conditions = None, *, setting: str = "*") -> list[ImageInfo]:
        """What is known of images, in the order asked for: path, size, words.

        Args:
            image_ids: The images.
            conditions: Whose words are told, one or several; None: all that the images were embedded under in one way,
                the one that has most.
            setting: Glob over the settings' names, where the conditions were embedded in several ways.

        Raises:
            OptionError: ids that are none.
            StoreError: an image or condition that is not in the collection.
        """
        wanted = widest(self.store, setting) if conditions is None else list(checked_conditions(conditions))
        with self.store.reading():
            return images(self.store, choose(self.store, wanted, setting), image_ids)

    def thumbnails(self, image_ids: Iterable[str], *, setting: str = "*") -> dict[str, bytes]:
        """Small encoded pictures (WebP) by image id; an image that has none is left out.

        Args:
            image_ids: The images.
            setting: Glob over the settings' names, where images of several sources were embedded.

        Raises:
            OptionError: ids that are none.
            StoreError: there is no such setting, or there are several sources.
        """
        return thumbnails(self.store, image_ids, setting)

    @property
    def models_loaded(self) -> bool:
        """Whether a model is loaded for queries."""
        return self._embedders.loaded

    def load_models(self, conditions: Conditions, *, setting: str = "*") -> None:
        """Load now what a query with a text or an image of elsewhere would need under these conditions.

        Args:
            conditions: One or several; None is "no condition".
            setting: Glob over the settings' names, where the conditions were embedded in several ways.

        Raises:
            StoreError: a condition that is not in the collection.
            SettingError: the model is not here any more, or the vectors cannot be made again.
            ModelError: the model cannot be found or loaded.
        """
        settings = choose(self.store, checked_conditions(conditions), setting)
        with self._embedders.using(list(settings.values())):
            pass

    def use_embedder(self, embedder: Embedder) -> None:
        """Have queries use an embedder that is loaded already, for the settings that it makes; others load their own.

        Args:
            embedder: It stays the caller's: the collection does not close it.
        """
        self._embedders.use(embedder)

    def unload_models(self) -> None:
        """Let go of the models that queries loaded; the next query that needs one loads it again.

        A query that is under way in another thread ends as if nothing had been said.
        """
        self._embedders.unload()

    def embedder(
        self, condition: str | EllipsisType | None = ..., *, setting: str = "*", **options: Any
    ) -> BoundEmbedder:
        """The model that made a setting's vectors, loaded from the setting: it encodes into the very space of these.

        Args:
            condition: As it was embedded, whatever its case; None is "no condition". Left out: whichever there is.
            setting: Glob over the settings' names, where several have the condition.
            options: Of `methods.load_for`: `model_path`, `device`, ...

        Raises:
            StoreError: there is no such setting, or there are several; the message lists them.
            SettingError: the model is not here any more, or the vectors cannot be made again.
        """
        return load_stored(self.store, self._one(condition, setting), **options)

    def close(self) -> None:
        """Let go of the database, and of the models that queries loaded."""
        self._store = None
        self._embedders.unload()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        if self._store is None:
            return f"Collection({self._path!r}, closed)"
        return f"Collection({self._path!r}, {len(self.settings)} settings, conditions={self.conditions})"

    def _one(self, condition: str | EllipsisType | None, pattern: str) -> Setting:
        """The setting that is meant."""
        found = self.store.settings(pattern)
        if not isinstance(condition, EllipsisType):
            wanted = (checked_condition(condition) or "").casefold()
            found = [each for each in found if (each.condition or "").casefold() == wanted]
        if len(found) == 1:
            return found[0]
        if found:
            named = preview([each.name for each in found])
            raise StoreError(f"{len(found)} settings fit: choose by condition= or setting=; there are {named}")
        every = preview([each.name for each in self.settings]) or "none"
        raise StoreError(f"no setting of {self._path} fits; there are {every}")
