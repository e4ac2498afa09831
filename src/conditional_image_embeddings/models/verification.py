"""Whether a checkpoint is what it claims to be, and whole: its config, and its weights once they are loaded."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import ModelError
from .finding import Location
from .limits import check_counts
from .reasons import quiet

if TYPE_CHECKING:
    from transformers import PreTrainedModel

AUTO_CLASS = "AutoModelForImageTextToText"  # what a model's own code must bring; no own code makes a dual encoder


def read_config(name: str, files: Location) -> Any:
    """The model's config.

    Raises:
        ModelError: it is absent or damaged, of an unknown kind, or needs code that is not trusted.
    """
    import transformers
    from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig

    with quiet(progress=False):
        raw, _ = PreTrainedConfig.get_config_dict(files.path, **files.options)
        check_counts(name, raw)
        model_type = raw.get("model_type")
        code = raw.get("auto_map", {})
        if not model_type and "AutoConfig" not in code:
            raise ModelError(f"model {name!r}: its config.json names no model_type, so it is no model for transformers")
        if model_type not in CONFIG_MAPPING:
            if "AutoConfig" in code:
                _check_own_code(name, code, trusted=files.options["trust_remote_code"])
            else:
                raise ModelError(
                    f"model {name!r} is a {model_type} model, which transformers {transformers.__version__} does not "
                    "know: a newer transformers may"
                )
        return AutoConfig.from_pretrained(files.path, **files.options)


def _check_own_code(name: str, code: Mapping[str, Any], *, trusted: bool) -> None:
    """Refuse code that nobody trusted, and at once what would be refused if it were trusted."""
    if AUTO_CLASS not in code:
        raise ModelError(
            f"model {name!r} comes with its own code, which has no {AUTO_CLASS} (only {', '.join(sorted(code))}): "
            "to trust it would not help; use a version of the model that transformers itself knows"
        )
    if not trusted:
        raise ModelError(
            f"model {name!r} comes with its own code, which is not run: "
            "pass trust_remote_code=True only if you trust its author"
        )


def check_weights(name: str, model: "PreTrainedModel", report: Mapping[str, Any], head: str | None) -> bool:
    """Refuse what transformers would fill with random numbers, and so every vector; whether the head is all that lacks.

    Args:
        name: The model's.
        model: As transformers loaded it.
        report: Its loading info.
        head: The head's name in the model.

    Raises:
        ModelError: weights are missing, or have another shape than the config says.
    """
    kind = type(model).__name__
    missing = sorted(report["missing_keys"])
    if others := [key for key in missing if head is None or not key.startswith(f"{head}.")]:
        raise ModelError(
            f"model {name!r} has no weights for {len(others)} parameters of {kind} ({others[0]} first): "
            "it was saved from another architecture or is incomplete"
        )
    if mismatched := sorted(report["mismatched_keys"]):
        key, saved, expected = mismatched[0]
        raise ModelError(
            f"model {name!r} does not fit its config: {key} is saved with shape {tuple(saved)}, "
            f"but {kind} expects {tuple(expected)}"
        )
    return bool(missing)
