"""A setting: everything that decides a vector, and the name of the table that holds its vectors.

Two settings never share a table: the readable part of the name follows the paper's folders, so that patterns such as
`cub200-*` select by dataset, and a digest of the whole setting at its end keeps apart what the readable part folds.
"""

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field, fields
from typing import Any


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
        parts = [self.dataset, self.model]
        if self.method not in {"dior", "clip"}:
            parts.append(self.method)
        if "text_encoder" in self.extra:
            parts.append(self.extra["text_encoder"])
        if self.prompt_type is not None:
            parts.append(self.prompt_type)
        parts.append("none" if self.condition is None else self.condition)
        if self.layer is not None:
            parts.append(f"num_layer_{self.layer}")
        if self.token is not None:
            parts.append(f"num_token_{self.token}")
        if self.embedding_source is not None:
            parts.append(f"embedsrc_{self.embedding_source}")
        if refined := self.extra.get("refined"):
            named = [key for key in ("center", "whiten") if refined[key]]
            parts.append("_".join(["refined", *named, str(refined["dimensions"] or "")]))
        readable = "-".join(_slug(part) for part in parts)
        return f"{readable[:160]}-{self.digest}"

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


def _slug(text: str) -> str:
    """Readable and safe: what LanceDB does not allow in a table's name becomes an underscore."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", text).strip("_.-") or "_"
