"""A model on disk or on the hub: how it is loaded, with all that it consists of.

Every method loads through here, so a hub id, a local directory and the bundled models behave alike, weights come
from safetensors only, and whatever goes wrong inside transformers or the hub's client reaches the user as one line.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ModelError
from .adapters import Adapter
from .exclusion import loading
from .finding import Location
from .fingerprint import fingerprint
from .json_values import json_value
from .limits import check_size
from .processors import is_complete, load_processor, warn_without_template
from .reasons import quiet, single_line_errors
from .verification import check_weights, read_config
from .weights import find_weights

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel

LARGE_WEIGHTS = 2**30  # bytes; loading so much takes long enough for a progress bar
RANDOM_SEED = 0
PLACEMENT = {"device_map", "max_memory", "offload_folder", "offload_buffers"}  # where numbers are, not what they are

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A model that was found, its config read and its device chosen, but whose weights are not loaded yet.

    Attributes:
        name: The model as the user named it: a hub id, a local directory, "builtin" or "builtin-clip".
        files: Where its files are; those of the base model, for an adapter.
        adapter: What is loaded into the model, if it is an adapter that was named.
        config: The model's config; its class decides the method.
        random_weights: The architecture with seeded random weights: a control for what the trained ones add.
    """

    name: str
    files: Location
    adapter: Adapter | None = None
    config: "PreTrainedConfig"
    device: "torch.device"
    dtype: "torch.dtype"
    random_weights: bool = False
    model_kwargs: Mapping[str, Any] = field(default_factory=dict)
    processor_kwargs: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def find(
        cls,
        name: str | Path,
        *,
        device: "str | torch.device | None" = None,
        dtype: "str | torch.dtype | None" = None,
        revision: str | None = None,
        trust_remote_code: bool = False,
        local_files_only: bool = False,
        cache_folder: str | Path | None = None,
        token: str | bool | None = None,
        random_weights: bool = False,
        model_kwargs: Mapping[str, Any] | None = None,
        processor_kwargs: Mapping[str, Any] | None = None,
    ) -> "Checkpoint":
        """Find a model and read its config.

        Args:
            name: A hub id, a local directory, "builtin" or "builtin-clip".
            device: None takes CUDA where there is one, else Apple's MPS, else the CPU.
            dtype: None is bfloat16 on CUDA and float32 elsewhere. A checkpoint's own dtype never decides.
            revision: A branch, tag or commit on the hub.
            trust_remote_code: Run code that comes with the model. Only for models whose author you trust.
            local_files_only: Ask the hub for nothing.
            token: For private and gated models on the hub; None takes the one of `hf auth login`.
            cache_folder: Where models from the hub are kept; None is the hub client's own folder.
            random_weights: The model's architecture with seeded random weights.
            model_kwargs: Further keywords for the model's `from_pretrained`.
            processor_kwargs: Further keywords for the processor's `from_pretrained`, such as `max_pixels`.

        Raises:
            ModelError: the model cannot be found, reached or read, or the device does not exist.
        """
        name = str(name)
        _kept("model_kwargs", model_kwargs or {})  # refused before anything is looked for
        _kept("processor_kwargs", processor_kwargs or {})
        chosen_device = _device(device)
        chosen_dtype = checked_dtype(dtype, chosen_device)
        options: dict[str, Any] = {
            "trust_remote_code": trust_remote_code,
            "local_files_only": local_files_only,
            "cache_folder": cache_folder,
            "token": token,
        }
        files = Location.find(name, revision=revision, **options)
        with single_line_errors(name, "read"):
            adapter = Adapter.find(files, **options)
        files = files if adapter is None else adapter.base
        with single_line_errors(files.name, "read"):
            config = read_config(files.name, files)
        return cls(
            name=name,
            files=files,
            adapter=adapter,
            config=config,
            device=chosen_device,
            dtype=chosen_dtype,
            random_weights=random_weights,
            model_kwargs=dict(model_kwargs or {}),
            processor_kwargs=dict(processor_kwargs or {}),
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """In another process it is found again, and must be the same there. A token stays here: it is a secret."""
        named = self.files if self.adapter is None else self.adapter.location
        options = {
            "device": str(self.device),
            "dtype": str(self.dtype),
            "revision": named.commit,
            "trust_remote_code": named.options["trust_remote_code"],
            "local_files_only": named.options.get("local_files_only", False),
            "cache_folder": named.options.get("cache_dir"),
            "random_weights": self.random_weights,
            "model_kwargs": dict(self.model_kwargs),
            "processor_kwargs": dict(self.processor_kwargs),
        }
        return _found_again, (named.name, options, self.revision, self.name)

    @property
    def location(self) -> str:
        """What transformers' `from_pretrained` gets: a hub id or a directory."""
        return self.files.path

    @property
    def hub_options(self) -> Mapping[str, Any]:
        """What `from_pretrained` needs besides (commit, cache folder, token, ...), the same for all parts."""
        return self.files.options

    @property
    def revision(self) -> str | None:
        """The hub's commit, or a fingerprint of the local files that is the same for copies of them; of an adapter,
        both that of the base model and its own. What a `subfolder` holds has one too.
        """
        parts = [self.files.revision if self.adapter is None else self.adapter.revision]
        folders = {str(kwargs.get("subfolder") or "") for kwargs in (self.model_kwargs, self.processor_kwargs)}
        if self.files.directory is not None:
            parts += [fingerprint(self.files.directory / each) for each in sorted(folders - {""})]
        return "+".join(part for part in parts if part is not None) or None

    @property
    def setting_extra(self) -> dict[str, Any]:
        """What a setting must remember of how this model is loaded, beyond its name and revision."""
        extra: dict[str, Any] = {"random_weights": True} if self.random_weights else {}
        for key, kwargs in (("model_kwargs", self.model_kwargs), ("processor_kwargs", self.processor_kwargs)):
            if kept := _kept(key, kwargs):
                extra[key] = kept
        return extra

    @property
    def is_quantized(self) -> bool:
        """Whether weights are kept in fewer bits than they are computed with."""
        return bool(self.model_kwargs.get("quantization_config") or getattr(self.config, "quantization_config", None))

    def load_model(self, auto_class: Any, **kwargs: Any) -> "PreTrainedModel":
        """The model, in evaluation mode, in this dtype and on this device.

        Where the checkpoint holds no head, the model has none (`heads.has_head`).

        Args:
            auto_class: One of transformers' auto classes, or a model class.
            kwargs: What the method itself needs, such as `attn_implementation`.

        Raises:
            ModelError: weights that are missing, damaged, pickled, or do not fit the architecture or the memory.
        """
        kwargs = {**kwargs, **self.model_kwargs}
        if isinstance(kwargs.get("quantization_config"), Mapping):  # as a setting has it
            from transformers.quantizers.auto import AutoQuantizationConfig

            kwargs["quantization_config"] = AutoQuantizationConfig.from_dict(dict(kwargs["quantization_config"]))
        if self.random_weights:
            kwargs = {key: value for key, value in kwargs.items() if key not in PLACEMENT}
        elif self.is_quantized:  # cannot be moved later
            kwargs.setdefault("device_map", {"": self.device})
        with loading(), single_line_errors(self.name, "loaded"), quiet(progress=self._large()):
            model = self._random_model(auto_class, kwargs) if self.random_weights else self._saved(auto_class, kwargs)
        logger.info("%s: %s on %s in %s", self.name, type(model).__name__, self.device, self.dtype)
        return model.requires_grad_(requires_grad=False).eval()

    def load_processor(self, auto_class: Any = None) -> Any:
        """The model's processor; a tokenizer or image processor where `auto_class` is one of those auto classes.

        An adapter's own, where it was saved with one.
        """
        from transformers import AutoProcessor

        own = self.adapter is not None and is_complete(self.adapter.location)
        files = self.adapter.location if self.adapter is not None and own else self.files
        processor = load_processor(self.name, files, auto_class or AutoProcessor, **self.processor_kwargs)
        if auto_class is None:
            warn_without_template(self.name, self.config.model_type, processor)
        return processor

    def _saved(self, auto_class: Any, kwargs: dict[str, Any]) -> "PreTrainedModel":
        from . import heads

        if self.adapter is not None and self.adapter.base is self.adapter.location:
            # transformers would load the adapter too, and leave it unmerged.
            kwargs = {**kwargs, "adapter_kwargs": {"subfolder": "none"}}
        weights = find_weights(self.name, self.files, self.config, kwargs)
        if weights:
            check_size(self.name, self._builder(auto_class), self.config, weights)
        model, report = auto_class.from_pretrained(
            self.location,
            config=self.config,
            dtype=self.dtype,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # refused below, with the name and the shapes
            **self.hub_options,
            **kwargs,
        )
        found = heads.find(model)
        headless = check_weights(self.name, model, report, found and found[0])
        if "device_map" not in kwargs:
            model = model.to(self.device)
        if self.adapter is not None:
            model = self.adapter.apply(model)
        if headless and found and found[1] in model.modules():  # an adapter may bring a head
            heads.remove(model, self.name)
        return model

    def _random_model(self, auto_class: Any, kwargs: dict[str, Any]) -> Any:
        import torch

        build = self._builder(auto_class)
        check_size(self.name, build, self.config)
        # Always drawn in float32 on the CPU: the same numbers whatever the dtype and device asked for.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(RANDOM_SEED)
            return build(self.config, dtype=torch.float32, **kwargs).to(self.device, self.dtype)

    def _builder(self, auto_class: Any) -> Callable[..., Any]:
        """What makes a model of a config, without its weights."""
        if not hasattr(auto_class, "from_config"):
            build: Callable[..., Any] = auto_class._from_config  # noqa: SLF001 - a plain class's only way
            return build
        return partial(auto_class.from_config, trust_remote_code=self.hub_options.get("trust_remote_code", False))

    def _large(self) -> bool:
        """Whether loading deserves a progress bar. What comes from the hub may have to be downloaded."""
        directory = self.files.directory
        if directory is None:
            return True
        return sum(file.stat().st_size for file in directory.glob("*.safetensors")) >= LARGE_WEIGHTS


def _kept(name: str, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """What a setting keeps of further keywords: all but where numbers are."""
    told: dict[str, Any] = json_value({key: value for key, value in kwargs.items() if key not in PLACEMENT}, name)
    return told


def _found_again(place: str, options: dict[str, Any], revision: str | None, name: str) -> Checkpoint:
    """The checkpoint; `name` is what it was called where it lay before, if it was moved."""
    found = Checkpoint.find(place, **options)
    if found.revision != revision:
        raise ModelError(f"model {name!r} is not the one that was sent here: it is {found.revision}, not {revision}")
    return replace(found, name=name)


def _device(device: "str | torch.device | None") -> "torch.device":
    import torch

    if device is None:
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ModelError(f"unknown device {str(device)!r}: use 'cpu', 'cuda', 'cuda:1' or 'mps'") from error
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise ModelError(
            f"device {str(device)!r} is not there: {torch.cuda.device_count()} CUDA devices are; use 'cpu'"
        )
    if chosen.type == "mps" and not torch.backends.mps.is_available():
        raise ModelError("device 'mps' is not there on this machine: use 'cpu'")
    return chosen


def checked_dtype(dtype: "str | torch.dtype | None", device: "torch.device") -> "torch.dtype":
    """The torch type of this name; None is bfloat16 on CUDA and float32 elsewhere.

    Raises:
        ModelError: another name; the message lists the known.
    """
    import torch

    if dtype is None:
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    chosen = known.get(str(dtype).removeprefix("torch."))
    if chosen is None:
        raise ModelError(f"unknown dtype {str(dtype)!r}: use one of {', '.join(known)}")
    return chosen
