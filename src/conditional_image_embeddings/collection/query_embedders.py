"""The models that stored vectors were made with, loaded when a query needs one, and kept for the next."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import RLock
from typing import Any

from ..errors import CieError, StoreError
from ..methods.bound import BoundEmbedder, bind, load_for
from ..methods.embedder import Embedder
from ..methods.options import Vectors
from ..methods.registry import describe
from ..methods.settings import Setting
from .refinement import Refinement
from .storage.store import Store


class QueryEmbedders:
    """Embedders by setting. Settings that differ in their condition only share one model, unless it is fitted to it.

    Args:
        store: The database.
        loading: Keywords of `methods.load_for`.
    """

    def __init__(self, store: Store, loading: Mapping[str, Any]) -> None:
        self._store, self._loading = store, dict(loading)
        self._bound: dict[str, BoundEmbedder] = {}
        self._retired: list[BoundEmbedder] = []  # unloaded while they were in use
        self._at_hand: Embedder | None = None
        self._users = 0
        self._lock = RLock()

    def use(self, embedder: Embedder) -> None:
        """Take this embedder for the settings that it makes; it is not closed here."""
        with self._lock:
            self._at_hand = embedder

    @property
    def loaded(self) -> bool:
        """Whether there is one."""
        return bool(self._bound)

    @contextmanager
    def using(self, settings: Sequence[Setting]) -> Iterator[list[BoundEmbedder]]:
        """What embeds into the spaces of these settings, with one model per space: not closed in the block.

        Raises:
            SettingError: the model is not here any more, or the vectors cannot be made again.
            ModelError: the model cannot be found or loaded.
        """
        with self._lock:
            for setting in settings:
                if setting.name not in self._bound:
                    self._bound[setting.name] = self._made(setting, settings)
            bound = [self._bound[setting.name] for setting in settings]
            self._users += 1
        try:
            yield bound
        finally:
            with self._lock:
                self._users -= 1
                self._close_retired()

    def _made(self, setting: Setting, others: Sequence[Setting]) -> BoundEmbedder:
        if self._at_hand is not None:
            original, then = _refinement(self._store, setting)
            try:
                bind(self._at_hand, original)
            except CieError:  # of another model, or as it was embedded elsewhere
                pass
            else:
                return BoundEmbedder(self._at_hand, setting, then=then)
        space = setting.without_condition
        alike = (other for other in others if other.name in self._bound and other.without_condition == space)
        loaded = next((self._bound[other.name] for other in alike), None)
        if loaded is None or describe(setting.method).is_derived:
            return load_stored(self._store, setting, **self._loading)
        original, then = _refinement(self._store, setting)
        bind(loaded.embedder, original)
        return BoundEmbedder(loaded.embedder, setting, then=then)

    def unload(self) -> None:
        """Let go of the models: at once, or when what is under way with them is done. They load again when needed."""
        with self._lock:
            self._retired += self._bound.values()
            self._bound.clear()
            self._close_retired()

    def _close_retired(self) -> None:
        while self._retired and not self._users:
            each = self._retired.pop()
            if each.embedder is not self._at_hand:
                each.close()


def load_stored(store: Store, setting: Setting, **options: Any) -> BoundEmbedder:
    """The embedder that made a stored setting's vectors, refined ones too.

    Raises:
        StoreError: it was refined by a version that did not keep how.
        SettingError: the model is not here any more, or the vectors cannot be made again.
    """
    original, then = _refinement(store, setting)
    bound = load_for(original, fitted=store.fitted(setting), **options)
    return bound if then is None else BoundEmbedder(bound.embedder, setting, then=then)


def _refinement(store: Store, setting: Setting) -> tuple[Setting, Callable[[Vectors], Vectors] | None]:
    """The setting as it was embedded, and what became of its vectors after that."""
    if "refined" not in setting.extra:
        return setting, None
    fitted = store.fitted(setting)
    if "mean" not in fitted:
        raise StoreError(f"{setting.name} was refined by an earlier version: run `cie refine` once more")
    return setting.without("refined"), Refinement.from_arrays(fitted).apply
