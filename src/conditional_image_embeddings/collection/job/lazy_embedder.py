"""An embedder that a store knows already: its settings are read there, and its model is loaded only if it must work.

Running a finished job again then takes the time of looking, not that of loading torch and a model.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import ImageError, ModelError
from ...methods.embedder import Embedder
from ...methods.registry import describe
from ...methods.request import Embedded, Request
from ...methods.settings import Setting
from ...methods.streaming import Key
from ...models.adapters import local_revision

if TYPE_CHECKING:
    from ..storage.store import Store

Axes = tuple[str | None, str | None, int | None, int | str | None]  # condition, prompt type, token, layer

IRRELEVANT = {"share", "device", "dtype", "positions", "image_max_size"}  # to a setting, or compared with it here


def from_store(
    store: "Store",
    model: str,
    method: str | None,
    request: Request,
    options: Mapping[str, Any],
    load: Callable[[], Embedder],
) -> "LazyEmbedder | None":
    """The embedder that made settings of this store with this local model under this request, if there is one.

    None wherever only loading can tell: a model on the hub (whose commit may have moved), a machine with a GPU and no
    dtype given (whose default depends on it), an option that is not in a setting's own words.
    """
    dtype = options.get("dtype") or (None if _has_gpu() else "float32")
    revision = local_revision(model)
    if revision is None or dtype is None or options.get("device") not in {None, "cpu"}:
        return None
    if any(value for name, value in options.items() if name not in IRRELEVANT):
        return None
    wanted = {
        "model": model,
        "revision": revision,
        "dtype": dtype,
        "image_max_size": options.get("image_max_size", 700),
    }
    for_a_prompt = {
        "embedding_source": request.embedding_source,
        "positions": options.get("positions", "native"),
    }
    known: dict[Axes, Setting] = {}
    for setting in store.settings():
        if setting.extra.keys() - {"chat_template"}:  # the template is one of the fingerprint's files
            continue
        if method in {None, setting.method} and all(getattr(setting, name) == value for name, value in wanted.items()):
            if setting.prompt_type is None:  # a method without a prompt
                known[None, "describe", -1, -1] = setting
            elif all(getattr(setting, name) == value for name, value in for_a_prompt.items()):
                known[setting.condition, setting.prompt_type, setting.token, setting.layer] = setting
    if not all(axes in known for axes in _axes(request)):
        return None
    return LazyEmbedder(known, load)


def _axes(request: Request) -> Iterator[Axes]:
    return product(request.conditions, request.prompt_names, request.tokens, request.layer_names)


def _has_gpu() -> bool:
    """Whether there may be an accelerator: asked without torch, so generously."""
    return sys.platform == "darwin" or any(Path("/dev").glob("nvidia*")) or Path("/dev/dxg").exists()


class LazyEmbedder:
    """Stands in for an embedder in a job, until an image has to be embedded."""

    image_reading = "upright"  # another is in `extra`

    def __init__(self, known: Mapping[Axes, Setting], load: Callable[[], Embedder]) -> None:
        first = next(iter(known.values()))
        self.model = first.model
        self.image_max_size = first.image_max_size
        self._known, self._load = known, load
        self._may_have_words = describe(first.method).tells == "words"

    @property
    def has_words(self) -> bool:
        """As the embedder itself says, which is loaded for it: a model without words looks like one whose words were
        not asked for.
        """
        return self._may_have_words and self._load().has_words

    def settings(self, request: Request, *, dataset: str, source: str | None = None) -> list[Setting]:
        return [replace(self._known[axes], dataset=dataset, source=source) for axes in _axes(request)]

    def stream(
        self, images: Iterable[tuple[Key, Any]], request: Request, **options: Any
    ) -> Iterator[tuple[Key, Embedded | ImageError]]:
        embedder = self._load()
        if embedder.settings(request, dataset="") != self.settings(request, dataset=""):
            raise ModelError(
                f"{self.model} does not load as it did when this database was made: choose another with -e"
            )
        return embedder.stream(images, request, **options)
