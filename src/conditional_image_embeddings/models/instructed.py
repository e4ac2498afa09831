"""Embedders that are trained to take an instruction: how each family wants it, as data (`instructed.toml`).

A family is a record: where the condition goes, its wording, what ends the prompt, which state is the vector. A user may
give one, or change parts of one that is known.
"""

import tomllib
import unicodedata
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from fnmatch import fnmatchcase
from importlib import resources
from pathlib import PurePosixPath
from typing import Any

from ..errors import ConditionError, ModelError, OptionError

PLACES = ("system", "before", "after")
POOLINGS = ("last", "mean")
POSITIONS = ("native", "flat")
MAX_INSTRUCTION = 2000  # characters; it is stored with each setting, and read with every image
OF_A_FAMILY = ("name", "title", "models", "architectures", "model_types", "source")  # no part of a user's record
EXAMPLE = (
    "instruction={'place': 'system', 'with_condition': 'Represent the image regarding {c}.', "
    "'without_condition': 'Represent the image.'}, pooling='last'"
)


@dataclass(frozen=True, kw_only=True)
class InstructRecord:
    """How a family of embedders is instructed; `instructed.toml` says what its fields are."""

    name: str = ""
    title: str = ""
    models: tuple[str, ...] = ()
    architectures: tuple[str, ...] = ()
    model_types: tuple[str, ...] = ()
    place: str = "after"
    prompt: str = ""
    text_prompt: str = ""
    pair_prompt: str = ""
    image: str = ""
    with_condition: str = ""
    without_condition: str = ""
    text_with_condition: str = ""
    text_without_condition: str = ""
    pair_with_condition: str = ""
    pair_without_condition: str = ""
    punctuated: bool = False
    end: str = ""
    pooling: str = "last"
    normalized: bool = True
    positions: str = "native"
    pixels: tuple[int, ...] = ()
    dimensions: int = 0
    source: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, known in (("place", PLACES), ("pooling", POOLINGS), ("positions", POSITIONS)):
            if getattr(self, name) not in known:
                raise OptionError(f"unknown {name} {getattr(self, name)!r}; known: {', '.join(known)}")
        for each in fields(self):
            value = getattr(self, each.name)
            if each.type in {str, bool} and not isinstance(value, each.type):
                raise OptionError(f"an instruction's {each.name} is {each.type.__name__}, not {value!r}")
            if isinstance(value, str) and len(value) > MAX_INSTRUCTION:
                raise OptionError(
                    f"the instruction's {each.name} {value[:40]!r}... has {len(value)} characters; at most "
                    f"{MAX_INSTRUCTION} are taken"
                )
            if each.name.endswith("with_condition") and value and "{c}" not in value:
                raise OptionError(
                    f"the instruction's {each.name} {value[:80]!r} has no {{c}}, which is where the condition goes"
                )
            if isinstance(value, list):
                object.__setattr__(self, each.name, tuple(value))
        if self.prompt and ("{instruction}" not in self.prompt or "{input}" not in self.prompt):
            raise OptionError("an instruction's prompt has {input}, the image, and {instruction} in it")
        if self.prompt and not self.image:
            raise OptionError("an instruction's prompt needs what stands for the image in it, as in image='<image>'")
        if len(self.pixels) not in {0, 2} or not all(isinstance(each, int) for each in self.pixels):
            raise OptionError("an instruction's pixels are two whole numbers: at least and at most so many")

    def instruction(self, condition: str | None, kind: str = "") -> str:
        """The instruction under a condition.

        Args:
            condition: The condition; None for none.
            kind: "" for an image, "text", or "pair" for an image with a text.

        Raises:
            ConditionError: the record has no wording for that.
        """
        which = "without_condition" if condition is None else "with_condition"
        wording = (kind and getattr(self, f"{kind}_{which}")) or getattr(self, which)
        if not wording:
            raise ConditionError(
                f"this instruction has no wording {'without' if condition is None else 'with'} a condition: "
                f"give {which}= in instruction={{...}}"
            )
        filled = str(wording).replace("{c}", condition or "")
        if self.punctuated:
            filled = filled.strip()
            if not unicodedata.category(filled[-1]).startswith("P"):
                filled += "."
        return filled

    @property
    def identity(self) -> dict[str, Any]:
        """What decides a vector: all but what the family is called."""
        own = {each.name: each.default for each in fields(self)}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
            if name not in {*OF_A_FAMILY, "dimensions"} and value != own[name]
        }


_DATA = tomllib.loads(resources.files(__package__).joinpath("instructed.toml").read_text(encoding="utf-8"))
FAMILIES = {row["name"]: InstructRecord(**row) for row in _DATA["families"]}


def known_family(model: str, config: Any) -> InstructRecord | None:
    """The family that a model says it is of: by its name, or by the architecture in its config.

    Args:
        model: As the user named it.
        config: Its config; of an adapter, the base model's.
    """
    named = model.casefold().rstrip("/").replace("\\", "/")
    saved = {str(each).casefold() for each in getattr(config, "architectures", None) or ()}
    for family in FAMILIES.values():
        if config.model_type not in family.model_types:
            continue
        if saved & {each.casefold() for each in family.architectures}:
            return family
        for pattern in map(str.casefold, family.models):
            if fnmatchcase(named, pattern) or fnmatchcase(PurePosixPath(named).name, PurePosixPath(pattern).name):
                return family
    return None


def record_for(
    model: str,
    config: Any,
    *,
    family: str | None = None,
    instruction: str | Mapping[str, Any] | None = None,
    pooling: str | None = None,
) -> InstructRecord:
    """How a model is instructed: as its family is, with what a user changes of it; or as the user says alone.

    Args:
        model: As the user named it.
        config: Its config.
        family: One of `FAMILIES`, where the model does not say it.
        instruction: The wording about {c}, or a mapping of fields of a record.
        pooling: "last" or "mean".

    Raises:
        ModelError: the family is not known and nothing was said of it, or the model cannot be of it.
        OptionError: a field that there is none of, or a value that it cannot have.
    """
    if family is not None and family not in FAMILIES:
        raise OptionError(f"unknown family {family!r}; known: {', '.join(FAMILIES)}, or give a record: {EXAMPLE}")
    known = FAMILIES[family] if family else known_family(model, config)
    if known is None and instruction is None:
        raise ModelError(
            f"{model} ({config.model_type}) is of no family that is known to take instructions: say which "
            f"(family=; known: {', '.join(FAMILIES)}), or give a record: {EXAMPLE}"
        )
    if known is not None and config.model_type not in known.model_types:
        raise ModelError(
            f"{model} is a {config.model_type} model, and {known.title} is {' or '.join(known.model_types)}: "
            f"name another family, or give a record: {EXAMPLE}"
        )
    given: dict[str, Any] = {} if pooling is None else {"pooling": pooling}
    if isinstance(instruction, str):
        given["with_condition"] = instruction
        if "{c}" not in instruction and len(instruction) <= MAX_INSTRUCTION:
            raise OptionError(f"the instruction {instruction[:80]!r} has no {{c}}, which is where the condition goes")
    elif isinstance(instruction, Mapping):
        taken = [each.name for each in fields(InstructRecord) if each.name not in OF_A_FAMILY]
        if unknown := sorted(map(str, instruction.keys() - set(taken))):
            raise OptionError(f"an instruction has no {', '.join(unknown)}; it takes {', '.join(taken)}")
        given = {**instruction, **given}
    elif instruction is not None:
        raise OptionError(f"an instruction is a text or a mapping, not {type(instruction).__name__}")
    return replace(known or InstructRecord(), **given)
