"""The methods: one entry each, which is all that the rest of the package knows of them.

A new method is a file with its class and an entry here. Loading, jobs, settings' names, tables, reports and commands
read the entry. Importing this loads none of the classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pkgutil import resolve_name
from typing import Any, Literal

LVLM, DUAL_ENCODER = "lvlm", "dual_encoder"
FAMILIES = {LVLM: "image-text-to-text model", DUAL_ENCODER: "dual encoder"}
BUNDLED = {LVLM: "builtin", DUAL_ENCODER: "builtin-clip"}  # the model of a family that needs no network

# Keywords of `encode` that only some methods take, and of `load`.
OF_PROMPTS = frozenset({"prompt_type", "layer", "layer_pooling", "token", "embedding_source"})
OF_IMAGES = ("image_max_size", "image_reading")  # every method takes these
OF_LVLMS = ("positions", "share", "attn_implementation", "thinking", "chat_template_kwargs", "compile")
OF_WORDS = ("words", "components")
OF_INSTRUCTIONS = ("family", "instruction", "pooling")

# For a model that was trained for no instruction, in VLM2Vec-V2's place and much like its words.
UNTRAINED = {
    "with_condition": "Represent the given image regarding {c}.",
    "without_condition": "Represent the given image.",
}

_PIXELS = {"image_reading": "reference"}


@dataclass(frozen=True, kw_only=True)
class Method:
    """What is known of a method without loading it.

    Attributes:
        name: As in `load(model, method=...)` and in settings.
        title: As tables and reports write it.
        implementation: Where its class is, "package.module:Class".
        model_family: What model it needs, of `FAMILIES`; None: it has no model, and is loaded by its own name.
        backbone: The method whose embedder it stands on; None: it reads images by itself.
        is_derived: Whether its vectors are a map of the backbone's, so that a job makes them from stored ones.
        conditions: Whether it takes one: "none", "optional" (with or without) or "required".
        arguments: The keywords of `encode` that it takes, of those that not every method does; "together" is CLAY's.
        options: The keywords of `load` that are its own. Those of its backbone and its model come with these.
        tells: What comes with a vector: "words" if asked for, always the "answer" that was embedded, or nothing.
        name_part: What settings' names say of it, as the paper's folders do: "embedsrc_clip"; "" takes the setting's
            embedding source. None: the method's name, behind the model's.
        reference: The options that the paper's reference implementation has, or, where it lacks the method, those that
            the nearest relative has there.
        bundled: Options with which it runs offline on the bundled model of its family; None: it does not, because that
            is not what the model was trained for.
        citation: BibTeX.
    """

    name: str
    title: str
    implementation: str
    model_family: str | None = None
    backbone: str | None = None
    is_derived: bool = False
    conditions: Literal["none", "optional", "required"] = "none"
    arguments: frozenset[str] = frozenset()
    options: tuple[str, ...] = ()
    tells: Literal["words", "answer"] | None = None
    name_part: str | None = None
    reference: Mapping[str, Any] = field(default_factory=dict)
    bundled: Mapping[str, Any] | None = field(default_factory=dict)
    citation: str | None = None

    @property
    def conditional(self) -> bool:
        """Whether a condition changes the vector."""
        return self.conditions != "none"

    @property
    def backbone_options(self) -> tuple[str, ...]:
        """The keywords of `load` that are of the embedder underneath, which methods on one model share."""
        return OF_IMAGES if self.backbone is None else (*OF_IMAGES, *METHODS[self.backbone].options)

    @property
    def implementing_class(self) -> Any:
        """The class, imported now."""
        return resolve_name(self.implementation)


METHODS: dict[str, Method] = {}  # by name, in the order of the paper's tables


def register(method: Method) -> None:
    """Add a method, or replace the one of its name."""
    METHODS[method.name] = method


def describe(name: str) -> Method:
    """The entry of a method; for a name that nobody registered here one that says nothing and forbids nothing."""
    known = METHODS.get(name)
    return known or Method(name=name, title=name, implementation="", conditions="optional", arguments=OF_PROMPTS)


def methods_of(family: str) -> tuple[str, ...]:
    """The methods for models of a family: first the one that needs nothing else."""
    return tuple(
        method.name
        for method in sorted(METHODS.values(), key=lambda method: method.backbone is not None)
        if method.model_family == family
    )


register(
    Method(
        name="dior",
        title="DIOR",
        implementation=f"{__package__}.dior:DIOR",
        model_family=LVLM,
        conditions="optional",
        arguments=OF_PROMPTS,
        options=OF_LVLMS,
        tells="words",
        name_part="",
        # It numbers a prompt's tokens 0, 1, 2, ... where it reads hidden states; where it generates, the model does.
        reference={**_PIXELS, "dtype": "bfloat16", "positions": "flat"},
        citation="""@inproceedings{kawarada2026dior,
  title = {Training-free Conditional Image Embedding Framework Leveraging Large Vision Language Models},
  author = {Kawarada and Yamada and Tejero-de-Pablos and Inoue},
  booktitle = {Proceedings of the IEEE/CVF Winter Conference on Applications of Computer Vision (WACV)},
  pages = {7636--7646},
  year = {2026}
}""",
    )
)
register(
    Method(
        name="instruct",
        title="Instruct",
        implementation=f"{__package__}.instruct:Instruct",
        model_family=LVLM,
        conditions="optional",
        options=(*OF_INSTRUCTIONS, "share", "attn_implementation"),
        reference={**_PIXELS, "dtype": "bfloat16"},
        bundled={"instruction": UNTRAINED},
    )
)
register(
    Method(
        name="generative",
        title="Generative",
        implementation=f"{__package__}.generative:Generative",
        model_family=LVLM,
        backbone="dior",
        conditions="optional",
        arguments=frozenset({"prompt_type"}),
        options=("text_encoder", "text_encoder_dtype", "text_encoder_revision", "encoded_text"),
        tells="answer",
        name_part="embedsrc_generative",
        reference={**_PIXELS, "dtype": "bfloat16", "encoded_text": "chat", "text_encoder_dtype": "float32"},
        bundled={"text_encoder": "minilm"},
    )
)
register(
    Method(
        name="indirect",
        title="InDiReCT",
        implementation=f"{__package__}.indirect:InDiReCT",
        model_family=DUAL_ENCODER,
        backbone="clip",
        is_derived=True,
        conditions="required",
        options=(*OF_WORDS, "solver", "seed"),
        reference={**_PIXELS, "dtype": "float32"},
    )
)
register(
    Method(
        name="clay",
        title="CLAY",
        implementation=f"{__package__}.clay:CLAY",
        model_family=DUAL_ENCODER,
        backbone="clip",
        is_derived=True,
        conditions="required",
        arguments=frozenset({"together"}),
        options=OF_WORDS,
        reference={**_PIXELS, "dtype": "float32"},
    )
)
register(
    Method(
        name="clip",
        title="CLIP",
        implementation=f"{__package__}.clip:CLIP",
        model_family=DUAL_ENCODER,
        name_part="embedsrc_clip",
        reference={**_PIXELS, "dtype": "bfloat16"},
    )
)
register(
    Method(
        name="pixels",
        title="Pixels",
        implementation=f"{__package__}.pixels:Pixels",
        options=("size",),
        reference=_PIXELS,
    )
)
