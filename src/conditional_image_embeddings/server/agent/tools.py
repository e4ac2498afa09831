"""The tools: each is a view of a function of `collection`, with a docstring for the agent that calls it."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

from mcp.types import CallToolResult, ContentBlock, TextContent
from pydantic import BaseModel

from ...collection.collection import Collection
from ...collection.spaces import Space, choose, widest
from ...collection.words import counts_by_condition
from ...errors import ImageError, NotStoredError, OptionError, preview
from ...methods.registry import describe
from ...methods.settings import Setting
from ..pictures import file_of
from ..problems import NotThereError
from . import pictures
from .answers import (
    ClusterAnswer,
    CollectionAnswer,
    CompareAnswer,
    ConditionInfo,
    ImageAnswer,
    SearchAnswer,
    SpaceInfo,
    WordsAnswer,
)
from .requests import (
    Aspects,
    Facets,
    File,
    Groups,
    ImageId,
    ImageIds,
    MostHits,
    MostWords,
    OneCondition,
    SettingName,
    SeveralConditions,
    Text,
    Thumbnails,
    Where,
    WithPicture,
    filters,
    weights_by_condition,
)

MOST_SPACES = 50


class Tools:
    """What an agent can ask of a collection. Each public method is a tool.

    Args:
        collection: It is read, not changed.
        files: The folder whose images may be searched with; None: no file is read.
    """

    def __init__(self, collection: Collection, files: Path | None = None) -> None:
        self._collection = collection
        self._files = files and files.resolve()

    def describe_collection(self) -> Annotated[CallToolResult, CollectionAnswer]:
        """What is in this collection of images: the conditions that can be asked about, with how many images.

        Call this first. A condition is an aspect in plain words, such as "car color": every image has one vector under
        each, so that "similar" can mean similar in color, or in model, and nothing else. Only the conditions listed
        here can be used; null is the image as a whole, under no condition.
        """
        store = self._collection.store
        with store.reading():
            every = self._collection.spaces()
            told = [self._space(space) for space in every[:MOST_SPACES]]
        return _answer(CollectionAnswer(path=store.uri, spaces=told, left_out=max(0, len(every) - MOST_SPACES)))

    def search(
        self,
        conditions: Aspects,
        text: Text = "",
        image_ids: ImageIds | None = None,
        file: File = "",
        k: MostHits = 10,
        where: Where = "",
        facets: Facets | None = None,
        setting: SettingName = "*",
        thumbnails: Thumbnails = 4,
    ) -> Annotated[CallToolResult, SearchAnswer]:
        """Find the images that are most similar to a text, to images, or to both, in the respects that you name.

        Give text, image_ids or file; several together are their mean. The score of a hit is the weighted sum of its
        cosines under each condition. A cosine alone says little: its percentile is the share of random pairs of images
        that are at most as similar under that condition. 0.5 is chance; read the words beside it to see what is a
        match: they are what the model says of the image under the condition.

        Red cars: conditions=["car color"], text="red". Like a.jpg in color but another model: image_ids=["a.jpg"],
        conditions=[{"condition": "car color", "weight": 1}, {"condition": "car model", "weight": -0.5}]. To count
        images, use `words`: a search always finds k images, alike or not. The first text loads the model, which may
        take a minute.
        """
        hits = self._collection.search(
            text=text or None,
            image_id=image_ids or None,
            image=[self._allowed(file)] if file else None,
            conditions=weights_by_condition(conditions),
            k=k,
            setting=setting,
            **filters(where, facets),
        )
        first = next(iter(hits.settings.values()))
        shown = [hit.image_id for hit in hits[:thumbnails]]
        return _answer(SearchAnswer.of(hits), pictures.thumbnails(self._collection, shown, first.name))

    def compare(
        self,
        a: ImageId,
        b: ImageId,
        conditions: SeveralConditions | None = None,
        setting: SettingName = "*",
        thumbnails: Thumbnails = 2,
    ) -> Annotated[CallToolResult, CompareAnswer]:
        """In which aspects two images of the collection agree, and what the model says of each.

        Per condition: the cosine, and its percentile among random pairs of the collection. Near 1 they agree in this,
        around 0.5 they are as two random images are.
        """
        settings = self._settings(conditions, setting)
        first = next(iter(settings.values()))
        there = self._collection.store.among(first, [a, b])
        if missing := [repr(each) for each in dict.fromkeys([a, b]) if each not in there]:  # it would be read as a file
            raise NotStoredError(f"{preview(missing)} is no image of the collection: give ids as `search` lists them")
        found = self._collection.compare(a, b, list(settings), setting=setting)
        shown = dict.fromkeys([a, b][:thumbnails])
        return _answer(CompareAnswer.of(found), pictures.thumbnails(self._collection, shown, first.name))

    def words(
        self,
        conditions: SeveralConditions,
        where: Where = "",
        facets: Facets | None = None,
        most: MostWords = 20,
        setting: SettingName = "*",
    ) -> Annotated[CallToolResult, WordsAnswer]:
        """Count images by the first word that the model says of them, under each condition and under all together.

        What colors are there: conditions=["car color"]. How many red pickups: conditions=["car color", "car model"], in
        `crossed`. What models the red ones are: conditions=["car model"],
        facets=[{"condition": "car color", "words": ["red"]}]. The words are a model's, not labels: it may err.
        """
        found = self._collection.facets(list(conditions), setting=setting, **filters(where, facets))
        return _answer(WordsAnswer.of(found, most))

    def cluster(
        self,
        condition: OneCondition,
        n: Groups | None = None,
        where: Where = "",
        facets: Facets | None = None,
        setting: SettingName = "*",
        thumbnails: Thumbnails = 6,
    ) -> Annotated[CallToolResult, ClusterAnswer]:
        """Put images into groups that are alike under a condition, each named by the words that tell it apart.

        The largest group comes first, each with the few images that are nearest to its centre; the pictures are the
        nearest of the first groups.
        """
        (found,) = self._settings([condition], setting).values()
        groups = self._collection.cluster(condition, n, setting=found.name, **filters(where, facets))
        shown = [group.images[0] for group in groups[:thumbnails]]
        return _answer(ClusterAnswer.of(groups), pictures.thumbnails(self._collection, shown, found.name))

    def image(
        self, image_id: ImageId, setting: SettingName = "*", picture: WithPicture = True
    ) -> Annotated[CallToolResult, ImageAnswer]:
        """What is known of one image: its file, size, and what the model says of it under every condition.

        The picture is the file at up to 768 pixels, or, where the file is gone, the thumbnail that is stored.
        """
        settings = self._settings(None, setting)
        first = next(iter(settings.values()))
        (known,) = self._collection.images([image_id], list(settings), setting=setting)
        return _answer(ImageAnswer.of(known), self._picture(first, image_id) if picture else ())

    def _settings(self, conditions: Sequence[str | None] | None, setting: str) -> dict[str | None, Setting]:
        """The settings of conditions by condition; None: all that the images were embedded under in one way."""
        store = self._collection.store
        with store.reading():
            return choose(store, widest(store, setting) if conditions is None else conditions, setting)

    def _space(self, space: Space) -> SpaceInfo:
        store, first = self._collection.store, space.shared
        return SpaceInfo(
            setting=space.name,
            method=describe(first.method).title,
            model=first.model,
            source=first.source or first.dataset,
            is_refined=space.is_refined,
            conditions=[
                ConditionInfo(condition=each.condition, images=each.images, has_words=each.has_words)
                for each in counts_by_condition(store, space)
            ],
        )

    def _picture(self, setting: Setting, image_id: str) -> Iterable[ContentBlock]:
        """The image's file at a bounded size, or its stored thumbnail with why."""
        space = next(each for each in self._collection.spaces() if setting in each.settings.values())
        try:
            return [pictures.preview(file_of(self._collection.store, space, image_id))]
        except (NotThereError, ImageError) as error:
            stored = pictures.thumbnails(self._collection, [image_id], setting.name)
            return [TextContent(type="text", text=f"the stored thumbnail only: {error}"), *stored[1:]] if stored else []

    def _allowed(self, file: str) -> Path:
        """A file that the user allowed to be read.

        Raises:
            OptionError: it is none.
        """
        if self._files is None:
            raise OptionError(
                "no files are read here: search by text or image_ids, or have the user start `cie mcp` with "
                "--allow-files DIR"
            )
        try:
            path = (self._files / file).resolve()
            inside, there = path.is_relative_to(self._files), path.is_file()
        except (OSError, RuntimeError, ValueError):  # a name too long, links in a circle, a null character
            inside = there = False
        if not inside:
            raise OptionError(f"{file[:200]!r} does not lie in {self._files}: only images in this folder are read")
        if not there:
            raise OptionError(f"there is no file {file[:200]!r} in {self._files}")
        return path


def _answer(told: BaseModel, shown: Iterable[ContentBlock] = ()) -> CallToolResult:
    """As data, as the same in a text for clients that know no data, and pictures."""
    text = TextContent(type="text", text=told.model_dump_json())
    return CallToolResult(content=[text, *shown], structured_content=told.model_dump(mode="json"))
