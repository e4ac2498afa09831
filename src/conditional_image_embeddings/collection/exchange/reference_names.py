"""The names that the paper's code gives its folders: read into what a setting says, and written from a setting.

`DATASET-MODEL-PROMPT-ASPECT-num_layer=L-num_token=T-embedsrc=S`, with other ends for its other methods. Its slashes and
spaces are underscores there; where a file in the folder says more (the prompt, the model), that is believed.
"""

import re
from typing import Any

from ...errors import OptionError
from ...inputs.prompts import PROMPTS
from ...methods.registry import METHODS
from ...methods.settings import Setting

_PROMPT = "|".join(sorted(PROMPTS, key=len, reverse=True))
_START = r"(?P<dataset>[^-]+)-(?P<model>.+)"
_ASKED = rf"-(?:PromptType\.)?(?P<prompt_type>(?i:{_PROMPT}))-(?P<condition>.+?)"
_DRAWN = r"(?:-sample-temp=(?P<temperature>\d+(?:\.\d+)?))?"
NAMES = {  # by method
    "dior": re.compile(
        rf"{_START}{_ASKED}-num_layer=(?P<layer>-?\d+)-num_token=(?P<token>-?\d+)-embedsrc=(?:EmbeddingSource\.)?"
        rf"(?P<embedding_source>(?i:input_last|first_output|mean_output))"
        rf"(?:-gen_max_new_tokens=(?P<max_new_tokens>\d+))?{_DRAWN}"
    ),
    "generative": re.compile(
        rf"{_START}{_ASKED}-embedsrc=generative-(?P<text_encoder>.+)-max_tokens=(?P<max_new_tokens>\d+){_DRAWN}"
    ),
    "clip": re.compile(rf"{_START}-embedsrc=clip"),
    "indirect": re.compile(rf"{_START}-indirect-(?P<condition>.+)-num_components=(?P<components>\d+)"),
}
IN_EXTRA = {"text_encoder": str, "max_new_tokens": int, "temperature": float, "components": int}
SEED = 42


def parse(name: str) -> dict[str, Any] | None:
    """What a folder's name says, as keywords of a setting; None for a name of another kind."""
    for method, pattern in NAMES.items():
        if found := pattern.fullmatch(name):
            told: dict[str, Any] = {key: value for key, value in found.groupdict().items() if value is not None}
            extra = {key: kind(told.pop(key)) for key, kind in IN_EXTRA.items() if key in told}
            extra |= {"seed": SEED} if "temperature" in extra else {}
            if "text_encoder" in extra:
                extra["text_encoder"] = with_slash(extra["text_encoder"])
            for key in ("prompt_type", "embedding_source"):
                told |= {key: told[key].lower()} if key in told else {}
            told["model"] = with_slash(told["model"])
            told["condition"] = None if told.get("condition") in {None, "None"} else spaced(told["condition"])
            told |= {key: int(told[key]) for key in ("layer", "token") if key in told}
            # What that code always does; of positions, which depend on its batch size, the name says nothing.
            always = {key: value for key, value in METHODS[method].reference.items() if key != "positions"}
            told |= {"method": method, "dtype": always.pop("dtype")}
            return {**told, "extra": {**always, **extra}}
    return None


def condition_of(prompt: str, prompt_type: str) -> str | None:
    """The condition in a prompt, letter by letter; None where it is not of this type, or without one."""
    before, _, after = PROMPTS[prompt_type][0].partition("{c}")
    if len(prompt) > len(before) + len(after) and prompt.startswith(before) and prompt.endswith(after):
        return prompt[len(before) : len(prompt) - len(after)]
    return None


def name_of(setting: Setting) -> str:
    """The folder that the paper's code would write this setting's vectors to.

    Raises:
        OptionError: it has no such setting.
    """
    extra = setting.extra
    if setting.method not in NAMES or "refined" in extra or "+" in (setting.prompt_type or "") or (
        isinstance(setting.layer, str) or "together" in extra
    ):  # fmt: skip
        raise OptionError(
            f"{setting.name}: the paper's code has no such vectors, and no name for their folder; leave it out (-c, "
            "--setting), or choose another format"
        )
    start = f"{_joined(setting.dataset)}-{_joined(setting.model)}"
    condition = "None" if setting.condition is None else setting.condition.replace(" ", "_").replace("/", "_")
    drawn = f"-sample-temp={extra['temperature']:.2f}" if "temperature" in extra else ""
    if setting.method == "clip":
        return f"{start}-embedsrc=clip"
    if setting.method == "indirect":
        return f"{start}-indirect-{condition}-num_components={extra.get('components', 128)}"
    asked = f"{start}-{setting.prompt_type}-{condition}"
    if setting.method == "generative":
        encoder = _joined(str(extra.get("text_encoder")))
        return f"{asked}-embedsrc=generative-{encoder}-max_tokens={extra.get('max_new_tokens', 16)}{drawn}"
    tokens = f"-gen_max_new_tokens={extra['max_new_tokens']}" if "max_new_tokens" in extra else ""
    read = f"{asked}-num_layer={setting.layer}-num_token={setting.token}-embedsrc={setting.embedding_source}"
    return f"{read}{tokens}{drawn}"


def refine(told: dict[str, Any], file: dict[str, Any]) -> dict[str, Any]:
    """What `parse` read, as a file of the folder spells it: there, slashes and spaces did not become underscores."""
    extra = dict(told.get("extra", {}))
    spelt = {"model": file.get("clip_model"), "condition": file.get("aspect")}
    if "prompt_type" in told and isinstance(file.get("prompt"), str):
        spelt["condition"] = condition_of(file["prompt"], told["prompt_type"])
    if "text_encoder" in extra and _same(file.get("text_encoder"), extra["text_encoder"]):
        extra["text_encoder"] = file["text_encoder"]
    exact = {key: value for key, value in spelt.items() if key in told and _same(value, told[key])}
    return {**told, **exact, **({"extra": extra} if extra else {})}


def _same(spelt: Any, folded: str | None) -> bool:
    return isinstance(spelt, str) and folded is not None and _folded(spelt) == _folded(folded)


def _folded(text: str) -> str:
    return re.sub(r"[ /]", "_", text)


def with_slash(name: str) -> str:
    """A hub id of a folder's name: owners have no underscores, so the first was the slash."""
    return name.replace("_", "/", 1)


def spaced(condition: str) -> str:
    return condition.replace("_", " ")


def _joined(name: str) -> str:
    return name.strip("/").replace("/", "_")
