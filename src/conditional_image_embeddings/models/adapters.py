"""Adapters as PEFT saves them (LoRA and others): a few weights beside the base model that they were trained on.

They are merged into the base model as it is loaded, so that everything behind sees a model like any other: its modules,
their names and speed. What cannot be merged exactly, a quantised model, carries its adapter along.
"""

import importlib.util
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ExtraError, ModelError
from .finding import ADAPTER_CONFIG, Location, local_directory
from .limits import check_adapter
from .weights import INDEX
from .weights import WEIGHTS as WHOLE

if TYPE_CHECKING:
    from transformers import PreTrainedModel

WEIGHTS = "adapter_model.safetensors"
PICKLED = "adapter_model.bin"
BASE_WEIGHTS = (WHOLE, INDEX)


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """An adapter that was found, and the base model that it names.

    Attributes:
        location: Where the adapter is.
        base: Where the base model is; the adapter's own place where both lie together.
    """

    location: Location
    base: Location

    @classmethod
    def find(cls, location: Location, **options: Any) -> "Adapter | None":
        """The adapter at a place; None if there is none.

        Args:
            location: The place.
            options: Of `Location.find`, for the base model; its revision is the adapter's to say.

        Raises:
            ModelError: its base model is not there, or its weights are missing or pickled.
            ExtraError: the library that loads adapters is not installed.
        """
        config = location.json(ADAPTER_CONFIG)
        if config is None:
            return None
        base = str(config.get("base_model_name_or_path") or "")
        together = location.file("config.json") is not None and any(map(location.file, BASE_WEIGHTS))
        named = location.name if together else base
        if importlib.util.find_spec("peft") is None:
            raise ExtraError(
                f"model {location.name!r} is an adapter on {named or 'a model it does not name'!r}: "
                "to load both, pip install 'conditional-image-embeddings[peft]'"
            )
        if location.file(WEIGHTS) is None:
            pickled = location.file(PICKLED) is not None
            raise ModelError(
                f"adapter {location.name!r} has no {WEIGHTS}"
                + (f" ({PICKLED} is pickled, and not loaded): save it anew with a newer peft" if pickled else "")
            )
        if together:
            return cls(location=location, base=location)
        if not base:
            raise ModelError(f"adapter {location.name!r} names no base model: put one into its {ADAPTER_CONFIG}")
        try:
            found = Location.find(_local(location, base), revision=config.get("revision"), **options)
        except ModelError as error:
            raise ModelError(
                f"model {location.name!r} is an adapter whose base model is not there: {error}; "
                f"put it there, or change base_model_name_or_path in {ADAPTER_CONFIG}"
            ) from error
        if found.file(ADAPTER_CONFIG) is not None:
            raise ModelError(
                f"model {location.name!r} is an adapter on {base!r}, which is an adapter itself: merge that one first"
            )
        return cls(location=location, base=replace(found, name=base))

    @property
    def revision(self) -> str:
        """Of base model and adapter."""
        own = self.location.revision
        return str(own) if self.base is self.location else f"{self.base.revision}+{own}"

    def apply(self, model: "PreTrainedModel") -> "PreTrainedModel":
        """The base model with this adapter in it.

        Raises:
            ModelError: the adapter does not fit the model, wholly and without rest.
        """
        from peft import PeftConfig, PeftModel

        directory = self._directory()
        check_adapter(self.location.name, self.location.json(ADAPTER_CONFIG) or {}, Path(directory) / WEIGHTS)
        config = PeftConfig.from_pretrained(directory)
        kind = getattr(config.peft_type, "value", config.peft_type)
        if config.is_prompt_learning or config.is_adaption_prompt:
            raise ModelError(
                f"adapter {self.location.name!r} ({kind}) puts tokens of its own into the prompt, which is then no "
                "longer the one asked for: use one that changes weights, such as LoRA"
            )
        if any(parameter.device.type == "meta" for parameter in model.parameters()):
            raise ModelError(
                f"adapter {self.location.name!r} cannot be merged into weights that device_map keeps on the disk or in "
                "the CPU's memory: merge it beforehand, or leave all weights on devices"
            )
        config.inference_mode = True
        adapted = PeftModel(model, config)
        device = str(model.device)
        report = adapted.load_adapter(directory, "default", torch_device=device)
        if report.unexpected_keys:  # saved by an older transformers, under its names
            names = _todays_names(model, Path(directory) / WEIGHTS)
            report = adapted.load_adapter(directory, "default", torch_device=device, key_mapping=names)
        for keys, what in ((report.unexpected_keys, "weights for modules that are not"), (report.missing_keys, "no")):
            if keys:
                raise ModelError(self._misfit(what, sorted(keys), type(model).__name__))
        if getattr(model, "hf_quantizer", None) is not None:
            return model  # the adapter's modules are in it
        merged: PreTrainedModel = adapted.merge_and_unload(safe_merge=True)
        return merged

    def _misfit(self, what: str, keys: list[str], kind: str) -> str:
        told = f"{what} weights for {len(keys)} modules" if what == "no" else f"{len(keys)} {what}"
        return (
            f"adapter {self.location.name!r} has {told} in {kind} ({keys[0]} first): "
            f"it was trained on another model than {self.base.name!r}, or is incomplete"
        )

    def _directory(self) -> str:
        """Where its files are on this machine."""
        config, weights = (self.location.file(name) for name in (ADAPTER_CONFIG, WEIGHTS))
        if config is None or weights is None:
            raise ModelError(f"adapter {self.location.name!r} is no longer there")
        return str(config.parent)


def _todays_names(model: "PreTrainedModel", weights: Path) -> dict[str, str]:
    """From patterns of an adapter's keys to the keys that transformers gives the base model's own weights.

    peft does so by itself only for some model types.
    """
    from safetensors import safe_open
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightRenaming, rename_source_key

    renamings = [each for each in get_model_conversion_mapping(model) if isinstance(each, WeightRenaming)]
    with safe_open(weights, framework="pt") as file:
        keys = [key.removeprefix("base_model.model.") for key in file.keys()]  # noqa: SIM118 - it is no dict
    return {f"^{re.escape(key)}$": rename_source_key(key, renamings, [])[0] for key in keys}


def _local(location: Location, base: str) -> str:
    """The base model's name as `Location.find` takes it: a relative path is relative to the adapter's folder."""
    if location.directory is not None and not Path(base).is_absolute():
        beside = location.directory / base
        if beside.is_dir():
            return str(beside.resolve())
    return base


def local_revision(name: str) -> str | None:
    """The revision of a local model, adapter and all, without loading anything; None if part of it is on the hub."""
    directory = local_directory(name)
    if directory is None:
        return None
    here = Location(name=name, path=str(directory), directory=directory, commit=None, options={})
    config = here.json(ADAPTER_CONFIG)
    if config is None or (here.file("config.json") is not None and any(map(here.file, BASE_WEIGHTS))):
        return here.revision
    named = str(config.get("base_model_name_or_path") or "")
    base = local_directory(_local(here, named)) if named else None
    if base is None:
        return None
    return Adapter(location=here, base=replace(here, path=str(base), directory=base)).revision
