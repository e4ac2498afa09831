"""A setting: everything that decides a vector, and the name of the table that holds its vectors.

Two settings never share a table: the readable part of the name is that of the paper's folders, so that patterns written
for these select here what they select there, and a digest of the whole setting at its end keeps apart what the readable
part folds. The digest alone identifies: the readable part of a later version may say more.
"""

import fnmatch
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from .registry import describe

READABLE = 200  # characters: with the digest, well below what a file's name may have


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What decides a vector. `condition` is None for the embedding without a condition.

    Attributes:
        dataset: A benchmark's name, or the name of the folder or file that the images came from.
        source: Absolute path of that folder or file; None for a benchmark, whose name says it all.
        method: dior, clip, generative, indirect, clay, pixels.
        model: The id or directory as the user named it.
        revision: The hub's commit, or a fingerprint of a local model's files.
        prompt_type: One of the paper's, or several joined by "+": the mean of their vectors.
        layer: Index into the hidden states, or "mean(-1,-4)", "concat(-1,-4)".
        extra: What only this method knows, such as the text encoder of the generative method.
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
        """Eight hexadecimal digits of the whole setting."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:8]

    def to_json(self) -> str:
        """The whole setting as JSON with sorted keys: the table's metadata."""
        return json.dumps(asdict(self), sort_keys=True, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "Setting":
        known = {f.name for f in fields(cls)}
        return cls(**{key: value for key, value in json.loads(text).items() if key in known})


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
