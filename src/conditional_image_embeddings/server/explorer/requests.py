"""What the page asks for. Conditions are lists here, since JSON has no null among an object's keys."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from ...collection.searching.hits import MOST_HITS

MOST_AT_ONCE = 500  # images per answer
MOST_CHOSEN = 1_000_000

Text = Annotated[str, Field(max_length=10_000)]
Name = Annotated[str, Field(max_length=1000)]
Weight = Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)]
Number = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]


class Strict(BaseModel):
    """What is not known is refused, so that a misspelt field is not left out in silence."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Weighted(Strict):
    """A text, an image's id or an upload's name, with its weight."""

    value: Text
    weight: Weight = 1.0


class Query(Strict):
    """What hits are near to."""

    text: list[Weighted] = Field(default=[], max_length=100)
    image_id: list[Weighted] = Field(default=[], max_length=100)
    upload: list[Weighted] = Field(default=[], max_length=100)

    def __bool__(self) -> bool:
        return bool(self.text or self.image_id or self.upload)


class Aspect(Strict):
    """A condition and its weight; null is "no condition"."""

    condition: Name | None
    weight: Weight = 1.0


class Facet(Strict):
    """Images whose first word under a condition is one of these, or is none of them; "" is an empty answer."""

    condition: Name | None
    words: list[Name] = Field(min_length=1, max_length=1000)
    excluded: bool = False


class Group(Strict):
    """A group of `cluster`, of the images that pass the other filters: its number, of n (null: as many as fit best)."""

    condition: Name | None
    n: int | None = Field(default=None, ge=1, le=100_000)
    number: int = Field(ge=1)


class Lasso(Strict):
    """Images whose place on a condition's map lies in a polygon."""

    condition: Name | None
    polygon: list[tuple[Number, Number]] = Field(min_length=3, max_length=10_000)


class Filters(Strict):
    """Which images are shown at all."""

    where: Text | None = None
    facets: list[Facet] = Field(default=[], max_length=100)
    group: Group | None = None
    lasso: Lasso | None = None


def _each_once(conditions: list[Aspect]) -> list[Aspect]:
    names = [each.condition for each in conditions]
    if len({*names}) < len(names):
        raise ValueError("a condition is there more than once")  # caught
    return conditions


class View(Strict):
    """What the page shows: of which space, in which respects, near to what, of which images."""

    space: Name
    conditions: Annotated[list[Aspect], AfterValidator(_each_once)] = Field(min_length=1, max_length=100)
    query: Query = Query()
    filters: Filters = Filters()
    cut: bool = False
    k: int = Field(default=1000, ge=1, le=MOST_HITS)


class ImagesRequest(View):
    """A part of what a view shows."""

    offset: int = Field(default=0, ge=0)
    limit: int = Field(default=200, ge=1, le=MOST_AT_ONCE)


class ImageRequest(Strict):
    """One image, with its words under every condition of a space."""

    space: Name
    image_id: Text


class CompareRequest(Strict):
    """Two images."""

    space: Name
    a: Text
    b: Text


class FacetsRequest(Strict):
    """The words under conditions of a space, of the images that pass."""

    space: Name
    conditions: list[Name | None] = Field(min_length=1, max_length=100)
    filters: Filters = Filters()


class ClustersRequest(Strict):
    """Groups under a condition."""

    space: Name
    condition: Name | None
    n: int | None = Field(default=None, ge=1, le=1000)
    filters: Filters = Filters()


class DuplicatesRequest(Strict):
    """Images that are alike under all of these conditions."""

    space: Name
    conditions: list[Name | None] = Field(min_length=1, max_length=100)
    threshold: Annotated[float, Field(ge=0, le=1)] | None = None
    filters: Filters = Filters()


class MapRequest(Strict):
    """The map of a condition, on which what does not pass is faint; by "pca" it is there soon."""

    space: Name
    condition: Name | None
    method: Literal["pca"] | None = None
    filters: Filters = Filters()


class PointsRequest(MapRequest):
    """Which images some points of a map are; `images` says of which map, as it did itself."""

    images: str | None = Field(None, max_length=64)
    points: list[Annotated[int, Field(ge=0)]] = Field(max_length=MOST_AT_ONCE)


class ExportRequest(View):
    """A list of images to keep: those chosen, or, without any, all that the view shows."""

    chosen: list[Text] | None = Field(default=None, max_length=MOST_CHOSEN)
    format: Literal["paths", "ids", "csv", "json"]


class CommandRequest(View):
    """The command that prints what the page shows."""

    shows: Literal["images", "groups", "duplicates", "compare", "words"] = "images"
    groups: int | None = None
    threshold: float | None = None
    pair: tuple[Text, Text] | None = None


Answer = dict[str, Any]
