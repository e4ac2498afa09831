"""A collection: what `cie embed` wrote, opened to be read."""

from collections.abc import Callable
from pathlib import Path
from types import EllipsisType, TracebackType
from typing import Any, Self

from ..errors import StoreError, preview
from ..inputs.conditions import Conditions, checked_condition, checked_conditions
from ..methods.bound import BoundEmbedder, load_for
from ..methods.options import Vectors
from ..methods.settings import Setting
from .exchange import exporting
from .exchange.exporting import Exported
from .refinement import Refinement
from .storage.store import Store


def open(path: str | Path) -> "Collection":  # noqa: A001 - cie.open
    """Open a database of embeddings to be read.

    Args:
        path: The directory that `cie embed -e` wrote, or any URI that LanceDB takes.

    Raises:
        StoreError: there is none, or it cannot be opened.
    """
    return Collection(path)


class Collection:
    """What is in a database of embeddings; nothing is ever written to it.

    Args:
        path: As for `open`.
    """

    def __init__(self, path: str | Path) -> None:
        self._store: Store | None = Store(path, create=False)
        self._path = self._store.uri

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
        found = self._one(condition, setting)
        fitted = self.store.fitted(found)
        if "refined" not in found.extra:
            return load_for(found, fitted=fitted, **options)
        if "mean" not in fitted:
            raise StoreError(f"{found.name} was refined by an earlier version: run `cie refine` once more")
        original = found.without("refined")
        bound = load_for(original, fitted=fitted, **options)
        then: Callable[[Vectors], Vectors] = Refinement.from_arrays(fitted).apply
        return BoundEmbedder(bound.embedder, found, then=then)

    def export(
        self,
        target: str | Path,
        format: str,  # noqa: A002 - the option's name
        *,
        conditions: Conditions | EllipsisType = ...,
        setting: str = "*",
        where: str | None = None,
        overwrite: bool = False,
    ) -> Exported:
        """Write vectors, words and what is known of the images for another tool.

        Args:
            target: The file or folder to write; it appears when all of it was written, or not at all.
            format: "npy", "parquet", "jsonl", "reference", "embedding-atlas", "fiftyone" or "huggingface".
            conditions: Those to export, None being "no condition"; left out: all.
            setting: Glob over the settings' names.
            where: A filter over what is known of the images, such as "width > 500".
            overwrite: Replace an earlier export.

        Returns:
            The settings that were written, and how many vectors of each.

        Raises:
            StoreError: there is nothing to export.
            OptionError: an unknown format, a target that is there already, or a filter that is none.
        """
        chosen = None if isinstance(conditions, EllipsisType) else checked_conditions(conditions)
        return exporting.export(
            self.store, target, format, conditions=chosen, setting=setting, where=where, overwrite=overwrite
        )

    def close(self) -> None:
        """Let go of the database."""
        self._store = None

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
