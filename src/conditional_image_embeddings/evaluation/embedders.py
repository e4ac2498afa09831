"""The embedders of a reproduction, one model in memory at a time: which method goes with which, and its options."""

import gc
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import CieError, OptionError
from ..methods import load, supported_methods, with_method
from ..methods.registry import FAMILIES, METHODS

if TYPE_CHECKING:
    from ..methods import Embedder

Line = tuple[str, str]  # method and model: a line of the table


class Embedders:
    """Loads what lines of the table name.

    Args:
        loading: `device`, `dtype` and whatever else `methods.load` takes for every model.
        text_encoder: Of the methods that have one; None is the paper's.
        positions: Of the methods that have them; None is the embedders' default.
        as_reference: Everything as the paper's reference implementation has it: `Method.reference`.

    Raises:
        OptionError: an option that `as_reference` has its own of.
    """

    def __init__(
        self, loading: Mapping[str, Any], *, text_encoder: str | None, positions: str | None, as_reference: bool
    ) -> None:
        self._loading, self._as_reference = dict(loading), as_reference
        self._text_encoder = {"text_encoder": text_encoder} if text_encoder else {}
        self._positions = {"positions": positions} if positions else {}
        if as_reference:
            _check_free({**loading, **self._positions})
        self._at_hand: tuple[str, str, dict[str, Any]] | None = None  # the model that is loaded, by what, and how
        self._loaded: dict[str, Embedder] = {}  # of that model, by method

    def find(
        self, models: Sequence[str], methods: Sequence[str] | None
    ) -> tuple[list[Line], list[tuple[str, Exception | str]]]:
        """The lines that these models allow, in the order of the table; and what is not there, with the reason."""
        options = {name: value for name, value in self._loading.items() if name != "image_max_size"}
        allowed: dict[str, tuple[str, ...]] = {}
        lines: list[Line] = []
        absent: list[tuple[str, Exception | str]] = []
        for model in models:
            try:
                allowed[model] = supported_methods(model, **options)
            except (CieError, ValueError, OSError) as error:
                absent.append((model, error))
        for method in dict.fromkeys(methods or METHODS):
            family = METHODS[method].model_family
            able = [model for model in allowed if method in allowed[model]]
            if methods and family is None:
                able = [method]
            lines += [(method, model) for model in able]
            if methods and family and not able:
                absent.append((method, f"none of the models named can be used with it; name a {FAMILIES[family]} (-m)"))
        return lines, absent

    def by_model(self, lines: Sequence[Line]) -> list[Line]:
        """The lines model by model, the one at hand first, so that none is loaded twice on the way."""
        models = [self._how(*line)[0] for line in lines]
        # Those that are loaded in the same way first, then the others of the model.
        return sorted(lines, key=lambda line: (self._how(*line)[0] != self._at_hand, models.index(self._how(*line)[0])))

    def load(self, method: str, model: str) -> "Embedder":
        """The embedder; a model is kept for all its methods that load it alike: two large ones need not fit at a time.

        So nobody but this object may hold an embedder while the next model is loaded.
        """
        wanted, own = self._how(method, model)
        if wanted != self._at_hand:
            self._loaded.clear()
            gc.collect()  # an embedder may be part of a cycle: its memory is needed now
            self._at_hand = wanted
        if method not in self._loaded:
            other = next(iter(self._loaded.values()), None)
            self._loaded[method] = (
                with_method(other, method, **own) if other else load(model, method=method, **wanted[2], **own)
            )
        return self._loaded[method]

    def _how(self, method: str, model: str) -> tuple[tuple[str, str, dict[str, Any]], dict[str, Any]]:
        """What is loaded, which methods on one backbone with equal options share, and the method's own options."""
        entry = METHODS[method]
        own = dict(self._text_encoder) if "text_encoder" in entry.options else {}
        shared = dict(self._loading) if entry.model_family else {}
        if "positions" in (*entry.options, *entry.backbone_options):
            shared |= self._positions
        if self._as_reference:
            for name, value in entry.reference.items():
                (own if entry.backbone and name in entry.options else shared)[name] = value
        return (model, entry.backbone or method, shared), own


def _check_free(options: Mapping[str, Any]) -> None:
    """Raise an OptionError if one of these is set that the reference implementation has its own of."""
    if taken := [name for name in options if any(name in method.reference for method in METHODS.values())]:
        raise OptionError(f"as_reference sets {' and '.join(taken)} by itself: leave out the one or the other")
