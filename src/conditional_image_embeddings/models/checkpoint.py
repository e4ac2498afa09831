"""A model on disk or on the hub: where it is, what it is, how it is loaded, and which exact files it was.

Every method loads through here, so a hub id, a local directory and the models in the box behave alike, weights come
from safetensors only, and whatever goes wrong inside transformers or the hub's client reaches the user as one line.
"""

import errno
import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ModelError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel

BUILTIN = {"builtin": "lvlm", "builtin-clip": "clip"}  # the models in the box, and their folders in `builtin/`

HUB_TIMEOUT = 10  # seconds to wait for the hub's first answer; without one, only the cache is asked from then on
LARGE_WEIGHTS = 2**30  # bytes; loading so much takes long enough for a progress bar
SAMPLE = 4096  # bytes read in the middle of each tensor for the fingerprint of large local weights
RANDOM_SEED = 0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A model that was found, its config read and its device chosen, but whose weights are not loaded yet.

    Attributes:
        name: The model as the user named it: a hub id, a local directory, "builtin" or "builtin-clip".
        location: What transformers' `from_pretrained` gets: a hub id or a directory.
        config: The model's config; its class decides the method.
        revision: The hub's commit, or a fingerprint of the local files that is the same for copies of them.
        random_weights: The architecture with seeded random weights: a control for what the trained ones add.
        hub_options: What `from_pretrained` needs besides (commit, cache folder, token, ...), the same for all parts.
    """

    name: str
    location: str
    config: "PreTrainedConfig"
    revision: str | None
    device: "torch.device"
    dtype: "torch.dtype"
    random_weights: bool = False
    hub_options: Mapping[str, Any] = field(default_factory=dict, repr=False)  # holds the token
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
        chosen_device = _device(device)
        chosen_dtype = _dtype(dtype, chosen_device)
        directory = local_directory(name)
        options: dict[str, Any] = {"trust_remote_code": trust_remote_code}  # None would ask on standard input
        commit = None
        if directory is None:
            options |= {"cache_dir": None if cache_folder is None else str(cache_folder), "token": token}
            commit, reachable = hub_commit(name, revision, options, local_files_only)
            options |= {"revision": commit, "local_files_only": not reachable}
        location = name if directory is None else str(directory)
        return cls(
            name=name,
            location=location,
            config=_config(name, location, options),
            revision=commit if directory is None else fingerprint(directory),
            device=chosen_device,
            dtype=chosen_dtype,
            random_weights=random_weights,
            hub_options=options,
            model_kwargs=dict(model_kwargs or {}),
            processor_kwargs=dict(processor_kwargs or {}),
        )

    @property
    def setting_extra(self) -> dict[str, Any]:
        """What a setting must remember of how this model is loaded, beyond its name and revision."""
        extra: dict[str, Any] = {"random_weights": True} if self.random_weights else {}
        for key, kwargs in (("model_kwargs", self.model_kwargs), ("processor_kwargs", self.processor_kwargs)):
            if kwargs:
                extra[key] = {name: repr(value) for name, value in sorted(kwargs.items())}
        return extra

    def load_model(self, auto_class: Any, **kwargs: Any) -> "PreTrainedModel":
        """The model, in evaluation mode, in this dtype and on this device.

        Args:
            auto_class: One of transformers' auto classes, or a model class.
            kwargs: What the method itself needs, such as `attn_implementation`.

        Raises:
            ModelError: weights that are missing, damaged, pickled, or do not fit the architecture or the memory.
        """
        kwargs = {**kwargs, **self.model_kwargs}
        with one_line(self.name, "loaded"), quiet(progress=self._large()):
            if self.random_weights:
                model = self._random_model(auto_class, kwargs)
            else:
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
                self._check_complete(model, report)
            if "device_map" not in kwargs:
                model = model.to(self.device)
        logger.info("%s: %s on %s in %s", self.name, type(model).__name__, self.device, self.dtype)
        return model.requires_grad_(requires_grad=False).eval()

    def load_processor(self, auto_class: Any = None) -> Any:
        """The model's processor; a tokenizer or image processor where `auto_class` is one of those auto classes."""
        from transformers import AutoProcessor

        with one_line(self.name, "given its processor"), quiet(progress=False):
            return (auto_class or AutoProcessor).from_pretrained(
                self.location, **self.hub_options, **self.processor_kwargs
            )

    def _check_complete(self, model: "PreTrainedModel", report: dict[str, Any]) -> None:
        """Refuse what transformers would fill with random numbers, and so every vector."""
        kind = type(model).__name__
        if missing := sorted(report["missing_keys"]):
            raise ModelError(
                f"model {self.name!r} has no weights for {len(missing)} parameters of {kind} ({missing[0]} first): "
                "it was saved from another architecture or is incomplete"
            )
        if mismatched := sorted(report["mismatched_keys"]):
            key, saved, expected = mismatched[0]
            raise ModelError(
                f"model {self.name!r} does not fit its config: {key} is saved with shape {tuple(saved)}, "
                f"but {kind} expects {tuple(expected)}"
            )

    def _random_model(self, auto_class: Any, kwargs: dict[str, Any]) -> Any:
        import torch

        # Always drawn in float32 on the CPU: the same numbers whatever the dtype and device asked for.
        build = getattr(auto_class, "from_config", None) or auto_class._from_config  # noqa: SLF001 - a plain class's only way
        if hasattr(auto_class, "from_config"):
            kwargs = {**kwargs, "trust_remote_code": self.hub_options.get("trust_remote_code", False)}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(RANDOM_SEED)
            return build(self.config, dtype=torch.float32, **kwargs).to(self.dtype)

    def _large(self) -> bool:
        """Whether loading deserves a progress bar. What comes from the hub may have to be downloaded."""
        directory = Path(self.location)
        if not directory.is_dir():
            return True
        return sum(file.stat().st_size for file in directory.glob("*.safetensors")) >= LARGE_WEIGHTS


def fingerprint(directory: Path) -> str:
    """16 hexadecimal digits that stand for a local model's files: the same for copies, another for other weights.

    Small files count whole. Of a large safetensors file count its header and a piece from the middle of every tensor,
    so that a 16 GB model takes some hundred short reads.
    """
    digest = hashlib.sha256()
    kinds = {".safetensors", ".json", ".jinja", ".txt", ".model", ".py"}
    for file in sorted(directory.iterdir()):
        if file.suffix not in kinds or not file.is_file():
            continue
        size = file.stat().st_size
        digest.update(f"{file.name}\0{size}\0".encode())
        if file.suffix == ".safetensors" and size > 2**24:
            for piece in _samples(file):
                digest.update(piece)
        else:
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _samples(path: Path) -> Iterator[bytes]:
    """A safetensors file's header and the middle of each of its tensors."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = file.read(min(length, 2**26))
        yield header
        try:
            tensors = [entry["data_offsets"] for key, entry in json.loads(header).items() if key != "__metadata__"]
        except (ValueError, TypeError, KeyError, AttributeError):
            return  # damaged: loading will say so
        for begin, end in sorted(tensors):
            file.seek(8 + length + max(begin, (begin + end - SAMPLE) // 2))
            yield file.read(min(SAMPLE, end - begin))


def local_directory(name: str) -> Path | None:
    """The local directory that a name means; None for a hub id."""
    if name in BUILTIN:
        directory = Path(__file__).parent.parent / "builtin" / BUILTIN[name]
        if not (directory / "config.json").is_file():
            raise ModelError(f"the model in the box {name!r} is not installed at {directory}: install the package anew")
        return directory
    path = Path(name).expanduser()
    if not name.strip():
        raise ModelError("the model's name is empty: pass a hub id, a local directory, or 'builtin'")
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ModelError(f"directory {name!r} has no config.json: pass a directory written by save_pretrained")
        return path
    if path.exists():
        raise ModelError(f"model {name!r} is a file: pass the directory that holds its config.json")
    if name.startswith((".", "~", "/")) or name.count("/") > 1 or "\\" in name:
        raise ModelError(f"model directory {name!r} does not exist")
    return None


def hub_commit(
    name: str,
    revision: str | None,
    options: dict[str, Any],
    local: bool,
    remedy: str = "pass a local directory, or 'builtin' for the model in the box",
) -> tuple[str, bool]:
    """The commit that a hub id and revision mean now, and whether the hub answered.

    Asked once, briefly: without network, transformers by itself retries each of several files for half a minute.
    """
    from huggingface_hub import HfApi, is_offline_mode
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    api = HfApi(token=options["token"])
    cause = "no network was to be used"
    if not (local or is_offline_mode()):
        try:
            return str(api.model_info(name, revision=revision, timeout=HUB_TIMEOUT).sha), True
        except GatedRepoError as error:
            raise ModelError(f"model {name!r} cannot be read: {_gated(name)}") from error
        except RevisionNotFoundError as error:
            raise ModelError(f"model {name!r} has no revision {revision!r} on the hub") from error
        except RepositoryNotFoundError as error:
            raise ModelError(
                f"model {name!r} is neither a local directory nor on the hub; "
                "if it is private, log in with `hf auth login` or pass token"
            ) from error
        except HFValidationError as error:
            raise ModelError(
                f"model {name!r} is neither a local directory nor a possible hub id: {_line(error)}"
            ) from error
        except Exception as error:  # noqa: BLE001 - whatever the client's HTTP library raises: ask the cache
            cause = f"the hub cannot be reached ({_line(error)})"
    try:
        found = api.resolve_revision(name, revision=revision, cache_dir=options["cache_dir"], local_files_only=True)
    except Exception as error:
        raise ModelError(
            f"model {name!r} is neither a local directory nor in the cache, and {cause}: {remedy}"
        ) from error
    return str(getattr(found, "resolved", found)), False


def _config(name: str, location: str, options: dict[str, Any]) -> Any:
    import transformers
    from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig

    with one_line(name, "read"), quiet(progress=False):
        raw, _ = PreTrainedConfig.get_config_dict(location, **options)
        model_type = raw.get("model_type")
        own_code = "AutoConfig" in raw.get("auto_map", {})
        if not model_type and not own_code:
            raise ModelError(f"model {name!r}: its config.json names no model_type, so it is no model for transformers")
        if model_type not in CONFIG_MAPPING and not (own_code and options["trust_remote_code"]):
            if own_code:
                raise ModelError(
                    f"model {name!r} comes with its own code, which is not run: "
                    "pass trust_remote_code=True only if you trust its author"
                )
            raise ModelError(
                f"model {name!r} is a {model_type} model, which transformers {transformers.__version__} does not know: "
                "a newer transformers may"
            )
        return AutoConfig.from_pretrained(location, **options)


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


def _dtype(dtype: "str | torch.dtype | None", device: "torch.device") -> "torch.dtype":
    import torch

    if dtype is None:
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    chosen = known.get(str(dtype).removeprefix("torch."))
    if chosen is None:
        raise ModelError(f"unknown dtype {str(dtype)!r}: use one of {', '.join(known)}")
    return chosen


@contextmanager
def one_line(name: str, what: str) -> Iterator[None]:
    """Turn whatever a loader raises (they raise nearly anything, over many lines) into one line about this model."""
    try:
        yield
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"model {name!r} cannot be {what}: {_reason(name, error)}") from error


def _reason(name: str, error: Exception) -> str:
    import torch
    from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError
    from safetensors import SafetensorError

    causes = [cause for cause in (error, error.__cause__, error.__context__) if cause is not None]
    text = _line(error)
    if any(isinstance(cause, GatedRepoError) for cause in causes):
        return _gated(name)
    if any(isinstance(cause, OSError) and cause.errno == errno.ENOSPC for cause in causes):
        return "the disk is full; free some space, or keep models elsewhere with cache_folder"
    if any(isinstance(cause, LocalEntryNotFoundError) for cause in causes):
        return "it is only partly in the cache and the hub cannot be reached; try online, or pass a local directory"
    if isinstance(error, SafetensorError):
        return f"a safetensors file is damaged ({text}); fetch it again"
    if isinstance(error, torch.OutOfMemoryError):
        return "it does not fit in the device's memory; pass dtype='bfloat16', a smaller model, or device='cpu'"
    if "trust_remote_code" in text:
        return "it comes with its own code, which is not run; pass trust_remote_code=True only if you trust its author"
    if isinstance(error, OSError) and "safetensors" in text:
        return "it has no weights in safetensors (pickled weights are not loaded); save it anew with save_pretrained"
    return text


def _gated(name: str) -> str:
    return (
        f"it is gated; accept its terms at https://huggingface.co/{name}, "
        "then log in with `hf auth login` or pass token"
    )


def _line(error: Exception, limit: int = 300) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= limit else f"{text[:limit]}..."


@contextmanager
def quiet(*, progress: bool) -> Iterator[None]:
    """Without transformers' remarks on its loading, and with its progress bars only where they are worth it."""
    from transformers.utils import logging as transformers_logging

    verbosity = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    if not progress:
        transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()
