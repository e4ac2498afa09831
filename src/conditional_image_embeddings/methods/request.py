"""What one call asks for, and what comes back for one image."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import OptionError
from ..inputs.arguments import checked_count, checked_indices
from ..inputs.conditions import checked_conditions, prompt

EMBEDDING_SOURCES = ("input_last", "first_output", "mean_output")
LAYER_POOLINGS = ("mean", "concat")

WordScores = list[tuple[str, float]]


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked of an embedder, checked: vectors of every combination of condition, prompt type, token and layer.

    Attributes:
        conditions: None among them is "no condition".
        together: One vector of all conditions instead of a vector for each.
        prompt_types: Some of the paper's seven.
        tokens: Indices into the prompt's real tokens.
        layers: Indices into the hidden states.
        average_prompts: The mean over the prompt types instead of a vector for each.
        layer_pooling: "mean" or "concat": one vector from all layers, each scaled to unit length before.
        embedding_source: "input_last", "first_output" or "mean_output".
        max_new_tokens: Of an answer, at most.
        do_sample: Draw an answer's tokens, at a `temperature` above 0, instead of taking the most probable ones.
        temperature: What logits are divided by before drawing.
        seed: Of the draws, which depend on it, the image's content and the prompt alone.
        top_words: How many words are told with each vector, at most.
        least_probability: Words whose first token is less probable than this are not told.
    """

    conditions: tuple[str | None, ...] = (None,)
    together: bool = False
    prompt_types: tuple[str, ...] = ("describe",)
    tokens: tuple[int, ...] = (-1,)
    layers: tuple[int, ...] = (-1,)
    average_prompts: bool = False
    layer_pooling: str | None = None
    embedding_source: str = "input_last"
    max_new_tokens: int = 16
    do_sample: bool = False
    temperature: float = 0.0
    seed: int = 0
    top_words: int = 0
    min_probability: float = 0.01

    def __post_init__(self) -> None:
        checked: dict[str, Any] = {
            "conditions": checked_conditions(self.conditions),
            "tokens": checked_indices("token", self.tokens),
            "layers": checked_indices("layer", self.layers),
            "max_new_tokens": checked_count("max_new_tokens", self.max_new_tokens),
            "top_words": checked_count("top_words", self.top_words, least=0),
            "seed": checked_count("seed", self.seed, least=0),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        if self.together and len(set(self.conditions)) < 2:
            raise OptionError("together takes two conditions or more")
        for prompt_type in self.prompt_types:
            if not isinstance(prompt_type, str):
                raise OptionError(f"a prompt type is a name such as 'describe', not {type(prompt_type).__name__}")
            prompt(None, prompt_type)  # an unknown one is refused before any image is read
        if not self.prompt_types:
            raise OptionError("at least one prompt type is needed")
        if self.layer_pooling not in {None, *LAYER_POOLINGS}:
            raise OptionError(f"unknown layer_pooling {self.layer_pooling!r}; known: {', '.join(LAYER_POOLINGS)}")
        if self.embedding_source not in EMBEDDING_SOURCES:
            raise OptionError(
                f"unknown embedding_source {self.embedding_source!r}; known: {', '.join(EMBEDDING_SOURCES)}"
            )
        if self.embedding_source != "input_last" and self.tokens != (-1,):
            raise OptionError(f"{self.embedding_source} is of the generated tokens: leave token at its default")
        if self.do_sample and not 0 < self.temperature < math.inf:
            raise OptionError(
                f"do_sample draws an answer at a temperature above 0, and temperature is {self.temperature}: give one, "
                "such as 0.7, or leave do_sample out"
            )

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Vectors an image: conditions, prompt types, tokens, layers; averaged or pooled axes have length 1."""
        return (
            1 if self.together else len(self.conditions),
            1 if self.average_prompts else len(self.prompt_types),
            len(self.tokens),
            1 if self.layer_pooling else len(self.layers),
        )

    @property
    def drawing(self) -> dict[str, Any]:
        """What settings say of drawn answers; nothing where they are not drawn."""
        return {"temperature": self.temperature, "seed": self.seed} if self.do_sample else {}

    @property
    def condition_names(self) -> tuple[str | None, ...]:
        """The conditions as settings call them; together they are `car color + car model`."""
        return (" + ".join(map(str, self.conditions)),) if self.together else self.conditions

    @property
    def prompt_names(self) -> tuple[str, ...]:
        """The prompt types as settings call them; their mean is `describe+express`."""
        return ("+".join(self.prompt_types),) if self.average_prompts else self.prompt_types

    @property
    def layer_names(self) -> tuple[int | str, ...]:
        """The layers as settings call them; pooled ones are `mean(-1,-4)`."""
        return (f"{self.layer_pooling}({','.join(map(str, self.layers))})",) if self.layer_pooling else self.layers

    def distinct(self) -> "Request":
        """Without repetitions."""
        return replace(
            self,
            conditions=tuple(dict.fromkeys(self.conditions)),
            prompt_types=tuple(dict.fromkeys(self.prompt_types)),
            tokens=tuple(dict.fromkeys(self.tokens)),
            layers=tuple(dict.fromkeys(self.layers)),
        )

    def by_condition(self) -> list["Request"]:
        """A request for each index of the first axis."""
        return [self] if self.together else [replace(self, conditions=(condition,)) for condition in self.conditions]

    def only(self, wanted: NDArray[np.bool_]) -> tuple["Request", tuple[NDArray[np.intp], ...]]:
        """The smallest request that covers the wanted vectors, and which indices of each axis it keeps.

        Args:
            wanted: bool, of this request's `shape`.
        """
        kept = tuple(
            np.flatnonzero(wanted.any(axis=tuple(other for other in range(4) if other != axis))) for axis in range(4)
        )
        smaller: dict[str, Any] = {}
        if not self.together:
            smaller["conditions"] = tuple(self.conditions[index] for index in kept[0])
        if not self.average_prompts:
            smaller["prompt_types"] = tuple(self.prompt_types[index] for index in kept[1])
        smaller["tokens"] = tuple(self.tokens[index] for index in kept[2])
        if not self.layer_pooling:
            smaller["layers"] = tuple(self.layers[index] for index in kept[3])
        return replace(self, **smaller), kept


@dataclass(frozen=True)
class Embedded:
    """One image.

    Attributes:
        vectors: float32 (conditions, prompt types, tokens, layers, d): the request's `shape`, and the dimensions.
        words: For each condition and prompt type the words that explain it, most probable first; None if not asked for,
            or where the method has none.
        tokens: Of its prompts, the image's among them: all prompts in full, whatever they share. 0 without prompts.
    """

    vectors: NDArray[np.float32]
    words: list[list[WordScores]] | None = None
    tokens: int = 0
