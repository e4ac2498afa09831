"""A setting: everything that decides a vector, and the name of the table that holds its vectors.

Two settings never share a table: the readable part of the name is that of the paper's folders, so that patterns written
for these select here what they select there, and a digest of the whole setting at its end keeps apart what the readable
part folds. The digest alone identifies: the readable part of a later version may say more.

What identifies holds `format_version` and the fields that differ from their defaults, as values that JSON can hold. So
a field of a later version changes no digest while it has its default, and an embedder is made again from its setting.
"""

import fnmatch
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, asdict, dataclass, field, fields, replace
from importlib import metadata
from typing import Any, Self

from ..errors import OptionError, SettingError
from .registry import describe

PACKAGE = "conditional-image-embeddings"
FORMAT_VERSION = 2
# Fields of format 1: its digest covered all. It had a digest of the words, and model options as Python writes them.
FIRST_FORMAT = (
    *("dataset", "source", "method", "model", "revision", "prompt_type", "condition", "layer", "token"),
    *("embedding_source", "dtype", "image_max_size", "positions", "extra"),
)
OF_CONDITIONS = ("texts", "together")  # in `extra`
MODEL_OPTIONS = ("model_kwargs", "processor_kwargs")  # in `extra`

READABLE = 200  # characters: with the digest, well below what a file's name may have


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What decides a vector. `condition` is None for the embedding without a condition.

    Attributes:
        dataset: A benchmark's name, or the name of the folder or file that the images came from.
        source: Absolute path of that folder or file; None for a benchmark, whose name says it all.
        method: dior, instruct, clip, generative, indirect, clay, pixels.
        model: The id or directory as the user named it.
        revision: The hub's commit, or a fingerprint of a local model's files.
        prompt_type: One of the paper's, or several joined by "+": the mean of their vectors.
        layer: Index into the hidden states, or "mean(-1,-4)", "concat(-1,-4)".
        extra: What only this method knows, such as the text encoder of the generative method; only what differs from
            its default.
        format_version: 1 for a setting of an earlier version that cannot be said in today's format.
    """

    dataset: str
    source: str | None = None
    method: str
    model: str
    revision: str | None = None
    prompt_type: str | None = None
    condition: str | None = None
    layer: int | str | None = None
    token: int | None = None
    embedding_source: str | None = None
    dtype: str = "float32"
    image_max_size: int = 700
    positions: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    @property
    def name(self) -> str:
        """The table's name, in letters, digits and `_ - .` only, as LanceDB wants it."""
        return f"{'-'.join(map(_slug, self._parts()))[:READABLE]}-{self.digest}"

    def _parts(self) -> Iterator[str]:
        """What the paper's folders are named after, in their order, and what only this package has."""
        extra = self.extra
        yield from (self.dataset, self.model)
        method = describe(self.method)
        if method.name_part is None:
            yield self.method
        if self.prompt_type is not None:
            yield self.prompt_type
        yield "none" if self.condition is None else self.condition
        if extra.get("components") is not None:
            yield f"num_components_{extra['components']}"
        if self.layer is not None:
            yield f"num_layer_{self.layer}"
        if self.token is not None:
            yield f"num_token_{self.token}"
        if part := method.name_part or (self.embedding_source and f"embedsrc_{self.embedding_source}"):
            yield part
        if "text_encoder" in extra:
            yield extra["text_encoder"]
        if "max_new_tokens" in extra:
            tokens = "max_tokens" if method.tells == "answer" else "gen_max_new_tokens"
            yield f"{tokens}_{extra['max_new_tokens']}"
        if "temperature" in extra:
            yield f"sample-temp_{extra['temperature']:.2f}"
        if refined := extra.get("refined"):
            named = [key for key in ("center", "whiten") if refined[key]]
            yield "_".join(["refined", *named, str(refined["dimensions"] or "")])

    @property
    def digest(self) -> str:
        """Eight hexadecimal digits of what identifies the setting."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:8]

    @property
    def identity(self) -> dict[str, Any]:
        """The format's version and the fields that differ from their defaults: what identifies the setting."""
        if self.format_version == 1:
            return {name: getattr(self, name) for name in FIRST_FORMAT}
        told = {each.name: getattr(self, each.name) for each in fields(self)}
        differing = {each.name: told[each.name] for each in fields(self) if told[each.name] != _default(each)}
        return {**differing, "format_version": self.format_version}

    @property
    def formats(self) -> "tuple[Self, ...]":
        """The setting as tables may have it: in today's format, and as earlier versions wrote it."""
        if self.format_version == 1 or self.identity.keys() - {*FIRST_FORMAT, "format_version"}:
            return (self,)
        extra = {**self.extra, **({"texts": _abbreviated(self.extra["texts"])} if "texts" in self.extra else {})}
        for name in MODEL_OPTIONS:
            if name in extra:
                extra[name] = {key: repr(value) for key, value in extra[name].items()}
        return (self, replace(self, extra=extra, format_version=1))

    @property
    def without_condition(self) -> Self:
        """What it has in common with the settings of other conditions that were made in the same way."""
        return replace(self.without(*OF_CONDITIONS), condition=None)

    def without(self, *names: str) -> Self:
        """The setting without these of its `extra`."""
        return replace(self, extra={key: value for key, value in self.extra.items() if key not in names})

    def summary(self) -> dict[str, Any]:
        """All fields as tables of figures show them: of texts their number and a digest."""
        told = {**asdict(self), "extra": dict(self.extra)}
        del told["format_version"]
        if "texts" in self.extra:
            told["extra"]["texts"] = _abbreviated(self.extra["texts"])
        return told

    def to_json(self) -> str:
        """What identifies the setting as JSON with sorted keys: the table's metadata."""
        return json.dumps(self.identity, sort_keys=True, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str, *, written_by: Mapping[str, str] | None = None) -> Self:
        """The setting that `to_json` wrote, here or in an earlier version.

        Args:
            text: The JSON.
            written_by: `versions` as they were when it was written, for messages.

        Raises:
            SettingError: it is of a later version: nothing of it is left out in silence.
            OptionError: it is damaged.
        """
        try:
            told = json.loads(text)
        except ValueError as error:
            raise OptionError(f"its setting is no JSON ({error})") from error
        if not isinstance(told, dict):
            raise OptionError(f"its setting is no JSON object but {type(told).__name__}")
        version = told.pop("format_version", 1)
        known = {each.name for each in fields(cls)}
        unknown = ", ".join(sorted(told.keys() - known))
        if not isinstance(version, int) or version > FORMAT_VERSION or unknown:
            here = metadata.version(PACKAGE)
            author = (written_by or {}).get(PACKAGE, "")
            what = f"has {unknown}, which" if unknown else f"is in format {version}, which"
            needed = f"{author} or later" if author and author != here else f"a later version than {here}"
            raise SettingError(f"its setting {what} {PACKAGE} {here} does not know: install {needed}")
        for name in ("dataset", "method", "model"):
            if not isinstance(told.get(name), str):
                raise OptionError(f"its setting has {told.get(name)!r} as {name}")
        if not isinstance(told.get("extra", {}), dict):
            raise OptionError("its setting has no JSON object as extra")
        setting = cls(**told, format_version=version)
        if version == 1 and not setting.extra.keys() & {"texts", *MODEL_OPTIONS}:
            return replace(setting, format_version=FORMAT_VERSION)  # nothing was abbreviated in it
        return setting


def _default(one: "Field[Any]") -> Any:
    return one.default if one.default_factory is MISSING else one.default_factory()


def _abbreviated(texts: Any) -> str:
    """Of each condition's texts, as format 1 had them, how many there are and a digest."""
    lists: Sequence[Sequence[str]] = list(texts.values()) if isinstance(texts, Mapping) else []
    if not lists:
        return str(texts)
    digests = (hashlib.sha256("\n".join(each).encode()).hexdigest()[:12] for each in lists)
    return " + ".join(f"{len(each)}, {digest}" for each, digest in zip(lists, digests, strict=True))


def matches(name: str, pattern: str) -> bool:
    """Whether a glob selects a setting's name, with or without its digest.

    A pattern may be written as the paper's folders are: its `num_layer=-1` finds `num_layer_-1`, its `None` `none`.
    """
    folded = re.sub(r"\bNone\b", "none", re.sub(r"[^A-Za-z0-9_.*?\[\]!-]+", "_", pattern))
    names = (name, re.sub(r"-[0-9a-f]{8}$", "", name))
    return any(fnmatch.fnmatchcase(each, glob) for each in names for glob in {pattern, folded})


def _slug(text: str) -> str:
    """Readable and safe: what LanceDB does not allow in a table's name becomes an underscore."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", text).strip("_.-") or "_"
