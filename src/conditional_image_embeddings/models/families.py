"""The families of vision-language models that the tests run, and how each shares its image among conditions.

A record of what was measured, for readers and for `cie models`, kept in `families.toml`: the engine never reads it, and
decides for any model by `self_check`.
"""

import tomllib
from dataclasses import dataclass
from importlib import resources

from . import instructed

_RECORD = tomllib.loads(resources.files(__package__).joinpath("families.toml").read_text(encoding="utf-8"))

_BUNDLED = (
    {"name": "builtin", "kind": "bundled", "family": "idefics3", "exact": "packed"},
    {"name": "builtin-clip", "kind": "bundled", "family": "clip", "exact": "no condition"},
)

_PAGE = """# Families, and how far their vectors lie from separate passes

```bash
cie models --markdown                                          # makes this page of models/families.toml
uv run --group benchmarks python benchmarks/exactness.py       # measures the differences and writes them there
```

Each family as the tests build it: a tiny random-weight model, saved and loaded as any other, in float32. The figure is
the largest absolute difference between a last token's hidden state by the strategy that the engine chose and in a pass
of the whole model on that image and prompt alone, over two image sizes, K = 1, 3 and 8 prompts of different lengths,
and three layers. The tests refuse 1e-4. What the strategies are: [the engine](engine.md).

{measured_on}

| family | model_type | strategy | why not packed | largest difference |
|---|---|---|---|---|
{rows}
"""


@dataclass(frozen=True, kw_only=True)
class Family:
    """A family, or a kind of configuration of one; the file says what its fields are."""

    key: str
    title: str
    model_type: str
    sharing: str
    why: str = ""
    difference: float


FAMILIES = tuple(Family(**row) for row in _RECORD["families"])


def describe() -> list[dict[str, str]]:
    """The bundled models, the families and the embedders that take an instruction: `{name, kind, family, exact}`.

    `exact` says how the image is shared so that vectors stay those of a separate pass.
    """
    return [
        *_BUNDLED,
        *(
            {
                "name": family.title,
                "kind": "image-text-to-text",
                "family": family.model_type,
                "exact": f"{family.sharing} ({family.why})" if family.why else family.sharing,
            }
            for family in FAMILIES
        ),
        *(
            {
                "name": record.title,
                "kind": "instructed embedder",
                "family": ", ".join(record.model_types),
                "exact": "as its family" if record.place == "after" else "tower (the condition is before the image)",
            }
            for record in instructed.FAMILIES.values()
        ),
    ]


def page() -> str:
    """The page docs/families.md, which is made of the same data."""
    rows = (
        f"| {family.title} | `{family.model_type}` | {family.sharing} | {family.why} | {family.difference:.1e} |"
        for family in FAMILIES
    )
    return _PAGE.format(measured_on=_RECORD["measured_on"], rows="\n".join(rows))
