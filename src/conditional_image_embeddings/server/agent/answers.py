"""The shapes of what the tools answer: their fields' descriptions are what an agent reads of them.

Numbers have four decimals, which is what an agent can tell apart, and lists have bounds; what was left out is counted.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field

from ...collection.comparison import Comparison
from ...collection.facets import Facet, Facets
from ...collection.grouping.clusters import Cluster
from ...collection.image_info import ImageInfo
from ...collection.searching.hits import Hits

MOST_GROUPS = 100
TOP_WORDS = 5  # per image and condition
NEAREST = 5  # images of a group

Number = Annotated[float, AfterValidator(lambda number: round(number, 4))]


class Word(BaseModel):
    """What the model says of an image."""

    word: str
    probability: Number


class Aspect(BaseModel):
    """A hit under one condition."""

    condition: str | None
    score: Number = Field(description="The cosine to the query, -1 to 1.")
    percentile: Number | None = Field(description="The share of random pairs of images that are at most as similar.")
    words: list[Word] = Field(description="The most probable first.")


class Hit(BaseModel):
    """An image that was found."""

    rank: int
    image_id: str
    path: str | None = Field(description="Where its file was when it was embedded.")
    score: Number = Field(description="The weighted sum of the conditions' scores.")
    aspects: list[Aspect]


class SearchAnswer(BaseModel):
    """The images that are nearest to a query."""

    searched: int = Field(description="How many images fit the filters.")
    exact: bool = Field(description="Whether each of them was scored; otherwise candidates came from an index.")
    hits: list[Hit] = Field(description="The most similar first.")

    @classmethod
    def of(cls, hits: Hits) -> "SearchAnswer":
        """What `Collection.search` gives."""
        told = [
            Hit(
                rank=hit.rank,
                image_id=hit.image_id,
                path=hit.path,
                score=hit.score,
                aspects=[
                    Aspect(
                        condition=name,
                        score=score,
                        percentile=hit.percentiles.get(name),
                        words=_words(hit.words.get(name)),
                    )
                    for name, score in hit.scores.items()
                ],
            )
            for hit in hits
        ]
        return cls(searched=hits.images, exact=hits.exact, hits=told)


class Likeness(BaseModel):
    """Two images under one condition."""

    condition: str | None
    similarity: Number = Field(description="The cosine of their vectors, -1 to 1.")
    percentile: Number | None = Field(description="The share of random pairs of images that are at most as similar.")
    words_a: list[Word]
    words_b: list[Word]


class CompareAnswer(BaseModel):
    """In which aspects two images agree."""

    comparisons: list[Likeness]

    @classmethod
    def of(cls, found: Iterable[Comparison]) -> "CompareAnswer":
        """What `Collection.compare` gives."""
        told = [
            Likeness(
                condition=each.condition,
                similarity=each.similarity,
                percentile=each.percentile,
                words_a=_words(each.words[0]),
                words_b=_words(each.words[1]),
            )
            for each in found
        ]
        return cls(comparisons=told)


class WordCount(BaseModel):
    """The images that have one first word under each of the conditions."""

    words: list[str | None] = Field(
        description='One per condition, in the order asked for; "": the model answered nothing, null: none is stored.'
    )
    count: int
    images: list[str] = Field(description="The ids of a few of them, the most certain first.")


class ConditionWords(BaseModel):
    """How often each word is the first, under one condition."""

    condition: str | None
    counts: list[WordCount] = Field(description="The most frequent first.")
    left_out: int = Field(description="How many rarer ones are not listed.")


class WordsAnswer(BaseModel):
    """How many images have each word as their first."""

    images: int = Field(description="How many were counted.")
    by_condition: list[ConditionWords]
    crossed: list[WordCount] = Field(description="The words under all conditions together, the most frequent first.")
    crossed_left_out: int

    @classmethod
    def of(cls, found: Facets, most: int) -> "WordsAnswer":
        """What `Collection.facets` gives."""
        alone = [
            ConditionWords(condition=name, counts=_counts(several, most), left_out=max(0, len(several) - most))
            for name, several in found.by_condition.items()
        ]
        crossed = found.crossed if len(alone) > 1 else ()
        return cls(
            images=found.images,
            by_condition=alone,
            crossed=_counts(crossed, most),
            crossed_left_out=max(0, len(crossed) - most),
        )


class GroupWord(BaseModel):
    """A word that tells a group from the others."""

    word: str
    fraction: Number = Field(description="Of what the model says of the group's images.")


class Group(BaseModel):
    """Images that are alike."""

    cluster: int
    name: str
    size: int
    words: list[GroupWord]
    images: list[str] = Field(description="The ids of the few that are nearest to the group's centre.")


class ClusterAnswer(BaseModel):
    """Groups, the largest first."""

    groups: list[Group]
    left_out: int = Field(description="How many smaller groups are not listed.")

    @classmethod
    def of(cls, groups: Sequence[Cluster]) -> "ClusterAnswer":
        """What `Collection.cluster` gives."""
        told = [
            Group(
                cluster=each.cluster,
                name=each.name,
                size=each.size,
                words=[GroupWord(word=word.word, fraction=word.fraction) for word in each.words],
                images=each.images[:NEAREST],
            )
            for each in groups[:MOST_GROUPS]
        ]
        return cls(groups=told, left_out=max(0, len(groups) - MOST_GROUPS))


class AspectWords(BaseModel):
    """The words of an image under one condition."""

    condition: str | None
    words: list[Word] = Field(description="The most probable first.")


class ImageAnswer(BaseModel):
    """What is known of an image; null is what is not."""

    image_id: str
    path: str | None
    width: int | None
    height: int | None
    bytes: int | None
    aspects: list[AspectWords]

    @classmethod
    def of(cls, known: ImageInfo) -> "ImageAnswer":
        """What `Collection.images` gives of an image."""
        aspects = [AspectWords(condition=name, words=_words(words)) for name, words in known.words.items()]
        return cls(
            image_id=known.image_id,
            path=known.path,
            width=known.width,
            height=known.height,
            bytes=known.size,
            aspects=aspects,
        )


class ConditionInfo(BaseModel):
    """A condition that images were embedded under."""

    condition: str | None
    images: int
    has_words: bool = Field(description="Whether `words` can count under it, and images can be filtered by its words.")


class SpaceInfo(BaseModel):
    """Vectors that were made in one way: what is searched together."""

    setting: str = Field(description="Selects these vectors, as `setting` of every tool.")
    method: str
    model: str
    source: str = Field(description="Where the images were.")
    is_refined: bool = Field(description="Whether the vectors were changed after they were embedded.")
    conditions: list[ConditionInfo]


class CollectionAnswer(BaseModel):
    """What is in the collection."""

    path: str
    spaces: list[SpaceInfo] = Field(description="Where there are several, the tools want to know which: `setting`.")
    left_out: int = Field(description="How many more spaces there are.")


def _words(told: Sequence[tuple[str, float]] | None) -> list[Word]:
    return [Word(word=word, probability=probability) for word, probability in (told or ())[:TOP_WORDS]]


def _counts(several: Sequence[Facet], most: int) -> list[WordCount]:
    return [WordCount(words=_of(each.words), count=each.count, images=list(each.images)) for each in several[:most]]


def _of(words: Mapping[str | None, str | None]) -> list[str | None]:
    return list(words.values())
