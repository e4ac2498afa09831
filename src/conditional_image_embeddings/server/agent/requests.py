"""What the tools take: their fields' descriptions are what an agent reads of them."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from ...collection.filters import facet_words
from ...errors import OptionError
from .pictures import MOST_PICTURES

MOST_CONDITIONS = 20

Name = Annotated[str, Field(max_length=1000)]
Words = Annotated[str, Field(max_length=10_000)]


class Strict(BaseModel):
    """What is not known is refused, so that a misspelt field is not left out in silence."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class WeightedCondition(Strict):
    """A condition and how much it counts; negative weights push away."""

    condition: Name | None = Field(description='An aspect as it was embedded, such as "car color"; null: none.')
    weight: float = Field(default=1.0, ge=-100, le=100, allow_inf_nan=False)


class WordFilter(Strict):
    """Only images whose first word under a condition is one of these."""

    condition: Name | None
    words: list[Name] = Field(min_length=1, max_length=1000, description='As the tool `words` lists them; "": empty.')
    excluded: bool = Field(default=False, description="Only images whose first word is none of these.")


Aspects = Annotated[
    list[WeightedCondition | Name | None],
    Field(
        min_length=1,
        max_length=MOST_CONDITIONS,
        description='In which respects: ["car color"], or with weights: [{"condition": "car color", "weight": 1}, '
        '{"condition": "car model", "weight": -0.5}].',
    ),
]
SeveralConditions = Annotated[
    list[Name | None],
    Field(min_length=1, max_length=MOST_CONDITIONS, description='In which respects: ["car color", "car model"].'),
]
OneCondition = Annotated[Name | None, Field(description='An aspect, such as "car color"; null: none.')]
Text = Annotated[Words, Field(description='What is looked for, in words: "red" where the condition is "car color".')]
ImageId = Annotated[Words, Field(description="The id of an image, as `search`, `words` and `cluster` give it.")]
ImageIds = Annotated[list[Words], Field(max_length=100, description="Images of the collection to be similar to.")]
File = Annotated[Words, Field(description="The path of an image in the folder that the user allowed to be read.")]
MostHits = Annotated[int, Field(ge=1, le=100, description="How many hits at most.")]
MostWords = Annotated[int, Field(ge=1, le=200, description="How many words per list at most.")]
Groups = Annotated[int, Field(ge=1, le=100, description="How many groups; null: as many as fit best.")]
Where = Annotated[
    Words,
    Field(
        description="Only images that fit this SQL expression over image_id, path, width, height and size (in bytes), "
        "such as width > 500 AND image_id LIKE 'holiday/%'."
    ),
]
Facets = Annotated[
    list[WordFilter],
    Field(
        max_length=MOST_CONDITIONS,
        description='Only images with these first words: [{"condition": "car color", "words": ["red", "white"]}].',
    ),
]
SettingName = Annotated[
    Name, Field(description="Where `describe_collection` lists several spaces, the one that is meant; *: any.")
]
Thumbnails = Annotated[int, Field(ge=0, le=MOST_PICTURES, description="How many small pictures come along.")]
WithPicture = Annotated[bool, Field(description="Whether to look at it, too.")]


def weights_by_condition(given: Sequence[WeightedCondition | str | None]) -> dict[str | None, float]:
    """Conditions as `Collection.search` takes them.

    Raises:
        OptionError: one is there twice.
    """
    found: dict[str | None, float] = {}
    for each in given:
        name, weight = (each.condition, each.weight) if isinstance(each, WeightedCondition) else (each, 1.0)
        if name in found:
            raise OptionError(f"the condition {name!r} is there more than once: give it once, with one weight")
        found[name] = weight
    return found


def filters(where: str, words: Iterable[WordFilter] | None) -> dict[str, Any]:
    """Filters as keywords of the collection's functions."""
    facets = facet_words((each.condition, each.words, each.excluded) for each in words or ())
    return {"where": where.strip() or None, "facets": facets or None}
