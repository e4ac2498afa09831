"""A collection: what `cie embed` wrote, opened to be read."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import EllipsisType
from typing import Any

from ..errors import OptionError
from ..inputs.conditions import Conditions, checked_conditions
from .comparison import Comparison, compare_stored
from .contents import Contents
from .exchange import exporting
from .exchange.exporting import Exported
from .facets import Facets
from .facets import facets as count_facets
from .filters import FacetWords, Filter
from .grouping.clusters import Cluster, clusters
from .grouping.duplicates import Duplicate, duplicates
from .image_map import ImageMap, image_map
from .projection import Method
from .searching.hits import MOST_HITS, Choice, Hits, weights_of
from .searching.neighbours import build_due_indexes, build_indexes, settings_to_index
from .searching.query import Query
from .searching.ranking import Ranking, rank
from .spaces import choose, choose_each, widest
from .storage.vector_index import IndexReport
from .words import settings_with_words


def open(path: str | Path, **loading: Any) -> "Collection":  # noqa: A001 - cie.open
    """Open a database of embeddings to be read.

    Args:
        path: The directory that `cie embed -e` wrote, or any URI that LanceDB takes.
        loading: How models are loaded when a query needs one, as for `methods.load_for`: `device`, `model_path`,
            `local_files_only`, ...

    Raises:
        StoreError: there is none, or it cannot be opened.
    """
    return Collection(path, **loading)


class Collection(Contents):
    """What is in a database of embeddings. Images, vectors and words are never changed.

    What is derived of them, percentiles of similarities, maps and indexes, is stored beside them where the database can
    be written.
    It may be used from several threads.

    Args:
        path: As for `open`.
        loading: As for `open`.
    """

    def search(
        self,
        *,
        image: Any = None,
        image_id: Any = None,
        text: Any = None,
        conditions: Conditions | Mapping[str | None, float] = None,
        k: int | None = None,
        where: str | None = None,
        word: str | None = None,
        facets: FacetWords | None = None,
        among: Iterable[str] | None = None,
        min_score: float | None = None,
        cut: str | None = None,
        exact: bool = False,
        build_index: bool = False,
        setting: str | Mapping[str | None, str] = "*",
    ) -> Hits:
        """The images that are nearest to a query under conditions.

            collection.search(text="red", conditions={"car color": 1.0, "car model": -0.5}, k=20)
            collection.search(image="query.jpg", conditions="car color", where="width > 500", cut="auto")

        Several images, ids and texts are a query together: the mean of their unit vectors. Each may have a weight:
        `text={"red": 2, "blue": -1}`, `image=[("a.jpg", 2), "b.jpg"]`. Images of the collection need no model; for
        others, and for texts, the one that made the setting is loaded, and kept until `close`.

        Args:
            image: An image as `Embedder.encode` takes it, or several. A file that was embedded as it is now is taken as
                the image of the collection.
            image_id: The id of an image of the collection, or several; they are no hits.
            text: A text, or several.
            conditions: A condition, several, or a mapping to weights: the score is the weighted sum of the cosines
                under each. Negative weights push away; one at least is positive. None is "no condition".
            k: How many hits at most; 20, or with `cut` 100,000.
            where: A filter over the columns of `images` (image_id, width, height, content_hash, path, size, modified),
                in SQL.
            word: Only images that have this word among those stored with them, under one of the conditions.
            facets: Only images whose first word under a condition is this one, or one of these, as `Collection.facets`
                counts them: `{"car color": "red", "car model": ["pickup", "van"]}`; the conditions are of the same
                space, searched or not. "" is an empty answer, None that no word is stored, `cie.Not(word)` any but it.
            among: Only images with these ids.
            min_score: Only images with this score or more.
            cut: "auto" ends the list where images no longer match, see `cutoff`; None does not.
            exact: Score every image. Otherwise, from 10,000 images on (under several conditions from 32,000, and from
                more with a large k), candidates come from an index (`cie index`) of each condition with a positive
                weight, and only they are scored.
            build_index: Build the indexes that the search goes through first, or bring them up to date, where that is
                due: a minute and a half per million images on two cores. Without it, see `Collection.build_index`.
            setting: Glob over the settings' names, where the conditions were embedded in several ways. A mapping from
                condition to glob takes each from another method or model: `{"color": "*describe*", "style":
                "*instruct*"}`. Their cosines mean different things, so the score is then the weighted sum of
                percentiles, every image is scored, and `cut` is not for it.

        Raises:
            OptionError: nothing to search for, weights, k or a filter that cannot be taken.
            StoreError: a condition or image that is not in the collection; the message says how to embed it.
            ImageError: an image that cannot be read.
            ModelError: the model cannot be loaded, or reads no text.
        """
        ranking = self.rank(
            image=image,
            image_id=image_id,
            text=text,
            conditions=conditions,
            k=20 if k is None and not cut else k,
            where=where,
            word=word,
            facets=facets,
            among=among,
            min_score=min_score,
            cut=cut,
            exact=exact,
            build_index=build_index,
            setting=setting,
        )
        return Hits(
            ranking.hits(),
            ranking.conditions,
            ranking.settings,
            images=ranking.images,
            cut=ranking.cut,
            exact=ranking.exact,
        )

    def rank(
        self,
        *,
        image: Any = None,
        image_id: Any = None,
        text: Any = None,
        conditions: Conditions | Mapping[str | None, float] = None,
        k: int | None = None,
        where: str | None = None,
        word: str | None = None,
        facets: FacetWords | None = None,
        among: Iterable[str] | None = None,
        min_score: float | None = None,
        cut: str | None = None,
        exact: bool = False,
        build_index: bool = False,
        setting: str | Mapping[str | None, str] = "*",
    ) -> Ranking:
        """What `search` finds, without what is told of each image: that is fetched for those that are looked at.

            ranking = collection.rank(image_id="cars/0001.png", conditions="car color")
            len(ranking), ranking.image_ids, ranking.scores
            for hit in ranking.hits(200, 400):  # the second page of two hundred
                print(hit.rank, hit.path, hit.words)

        Arguments and errors are those of `search`, except that k is 100,000 if it is not given: all images are scored.
        """
        if cut not in {None, "auto"}:
            raise OptionError(f"cut is {cut!r}; it is 'auto' or None")
        only = Filter.of(where=where, word=word, facets=facets, among=among)
        weights = weights_of(conditions)
        query = Query.of(image=image, image_id=image_id, text=text)
        choice = Choice(k=MOST_HITS if k is None else k, min_score=min_score, cut=cut is not None, exact=exact)
        with self.store.reading():
            mixed = not isinstance(setting, str)
            if mixed and choice.cut:
                raise OptionError("cut tells cosines apart: leave it out where setting names a glob for each condition")
            settings = (
                choose(self.store, weights, setting)
                if isinstance(setting, str)
                else choose_each(self.store, weights, setting)
            )
            first = next(iter(settings.values()))
            if build_index and not choice.exact and not choice.cut:
                build_due_indexes(self.store, (each for name, each in settings.items() if weights[name] > 0))
            passing = only.image_ids(self.store, settings)
            if passing and only.among is not None:  # they may be anybody's
                passing.intersection_update(self.store.image_ids(first))
            query = query.known_to(self.store, first)
            vectors = query.vectors(self.store, list(settings.values()), self._embedders)
            without = {image_id for image_id, _ in query.image_ids}
            choice = replace(choice, among=passing, without=without)
            return rank(
                self.store, settings, weights, vectors, choice, of_pairs=not query.has_text, by_percentile=mixed
            )

    def build_index(
        self, conditions: Conditions | EllipsisType = ..., *, setting: str = "*", show_progress_bar: bool | None = None
    ) -> list[IndexReport]:
        """Build the search index of each setting, or bring it up to date: what `cie index` does.

        Searches are right without it; from 10,000 images on it makes them fast.

        Args:
            conditions: Those whose settings get one, None being "no condition"; left out: all.
            setting: Glob over the settings' names.
            show_progress_bar: On stderr; None shows it on a terminal only.

        Returns:
            What was done of each setting.

        Raises:
            StoreError: there is no such setting, it is damaged, or the database is being written or cannot be.
        """
        wanted = () if isinstance(conditions, EllipsisType) else checked_conditions(conditions)
        settings = settings_to_index(self.store, wanted, setting)
        return list(build_indexes(self.store, settings, show_progress_bar=show_progress_bar))

    def compare(self, a: Any, b: Any, conditions: Conditions = None, *, setting: str = "*") -> list[Comparison]:
        """In which aspects two images agree.

            for each in collection.compare("a.jpg", "b.jpg"):
                print(each.condition, each.similarity, each.percentile, each.words)

        Args:
            a: The id of an image of the collection, or an image as `Embedder.encode` takes it: for that, the model that
                made the collection is loaded.
            b: Another.
            conditions: What counts, one or several; None: all that the images were embedded under in one way, the one
                that has most.
            setting: Glob over the settings' names, where the conditions were embedded in several ways.

        Raises:
            StoreError: a condition that is not in the collection.
            ImageError: an image that is neither in the collection nor can be read.
        """
        wanted = widest(self.store, setting) if conditions is None else list(checked_conditions(conditions))
        return compare_stored(self.store, choose(self.store, wanted, setting), a, b, self._embedders)

    def facets(
        self,
        conditions: Conditions,
        where: str | None = None,
        *,
        facets: FacetWords | None = None,
        among: Iterable[str] | None = None,
        word: str | None = None,
        setting: str = "*",
    ) -> Facets:
        """How many images have each word as their first, under each condition and under all of them together.

            for facet in collection.facets(["car color", "car model"]).crossed:
                print(facet.words, facet.count)  # {"car color": "red", "car model": "pickup"} 12

        Args:
            conditions: One or several, embedded with words.
            where: Only images that fit this filter over the columns of `images`, in SQL.
            facets: Only images with these first words, as for `search`.
            among: Only images with these ids.
            word: Only images that have this word among theirs, under one of the conditions.
            setting: Glob over the settings' names, where the conditions were embedded in several ways.

        Raises:
            StoreError: no words are stored under a condition; the message says how they can be.
            OptionError: `where` is no filter.
        """
        only = Filter.of(where=where, word=word, facets=facets, among=among)
        with self.store.reading():
            settings = settings_with_words(self.store, checked_conditions(conditions), setting)
            return count_facets(self.store, settings, only.image_ids(self.store, settings))

    def map(
        self,
        condition: str | None,
        *,
        method: Method | None = None,
        setting: str = "*",
        show_progress_bar: bool | None = None,
    ) -> ImageMap:
        """Where the images lie on a plane: those that are alike under a condition lie together.

            found = collection.map("car color")
            found.inside([(-1, -1), (0, -1), (0, 0), (-1, 0)])  # the images of the lower left quarter

        It is computed once per setting, in the same way whatever order the images were stored in, and stored where the
        database can be written. Images that came since, up to a tenth as many, are put among their like.

        Args:
            condition: As it was embedded, whatever its case; None is "no condition".
            method: "umap" (extra `umap`), "pca" (the first two principal components), or None: UMAP where it is
                installed, up to 100,000 images. Fewer than 16 images are placed by principal components.
            setting: Glob over the settings' names, where several have the condition.
            show_progress_bar: On stderr; None shows it on a terminal only.

        Returns:
            `image_ids` (sorted), `places` (float32 (n, 2), from -1 to 1), `made_by` ("UMAP" or "PCA"), `setting`,
            `computed_now`, and `inside(polygon)`, the ids of the images in it.

        Raises:
            StoreError: there is no such setting, there are several, or its vectors are damaged or not finite.
            OptionError: an unknown method.
            ExtraError: "umap" is asked for and not installed.
        """
        (found,) = choose(self.store, [condition], setting).values()
        return image_map(self.store, found, method, show_progress_bar=show_progress_bar)

    def export(
        self,
        target: str | Path,
        format: str,  # noqa: A002 - the option's name
        *,
        conditions: Conditions | EllipsisType = ...,
        setting: str = "*",
        where: str | None = None,
        overwrite: bool = False,
    ) -> Exported:
        """Write vectors, words and what is known of the images for another tool.

        Args:
            target: The file or folder to write; it appears when all of it was written, or not at all.
            format: "npy", "parquet", "jsonl", "reference", "embedding-atlas", "fiftyone" or "huggingface".
            conditions: Those to export, None being "no condition"; left out: all.
            setting: Glob over the settings' names.
            where: A filter over what is known of the images, such as "width > 500".
            overwrite: Replace an earlier export.

        Returns:
            The settings that were written, and how many vectors of each.

        Raises:
            StoreError: there is nothing to export.
            OptionError: an unknown format, a target that is there already, or a filter that is none.
        """
        chosen = None if isinstance(conditions, EllipsisType) else checked_conditions(conditions)
        return exporting.export(
            self.store, target, format, conditions=chosen, setting=setting, where=where, overwrite=overwrite
        )

    def cluster(
        self,
        condition: str | None,
        n: int | None = None,
        *,
        setting: str = "*",
        where: str | None = None,
        facets: FacetWords | None = None,
        among: Iterable[str] | None = None,
    ) -> list[Cluster]:
        """Groups of images that are alike under a condition, the largest first, each named by its words.

            for group in collection.cluster("car color"):
                print(group.name, group.size, group.images[:3])

        K-means on unit vectors, with a fixed seed: the same groups whatever order the images were stored in.

        Args:
            condition: As it was embedded, whatever its case; None is "no condition".
            n: How many groups, 1 to the number of images. None: the number, up to 30, whose groups have the highest
                mean silhouette. There are fewer, with a warning, where the images have fewer different vectors.
            setting: Glob over the settings' names, where several have the condition.
            where: Only images that fit this filter over the columns of `images`, such as "width > 500".
            facets: Only images with these first words, as for `search`.
            among: Only images with these ids.

        Returns:
            Groups with `cluster` (its number, from 1), `name`, `size`, `words` (each with `word` and `fraction`, the
            most telling first) and `images` (all ids, the nearest to the centre first). A group is "group 3" where the
            setting has no words.

        Raises:
            OptionError: n is no count or more than there are images; a filter that cannot be read or leaves no image.
            StoreError: there is no such setting, there are several, or it is damaged.
        """
        (found,) = choose(self.store, [condition], setting).values()
        return clusters(self.store, found, n, only=Filter.of(where=where, facets=facets, among=among))

    def duplicates(
        self,
        conditions: Conditions,
        *,
        threshold: float | None = None,
        similarity: float | None = None,
        setting: str = "*",
        where: str | None = None,
        facets: FacetWords | None = None,
        among: Iterable[str] | None = None,
        show_progress_bar: bool | None = None,
    ) -> list[Duplicate]:
        """Images that are alike under every one of these conditions, in groups.

        Every image of a group is alike to the group's first, which is the largest in pixels where the others are alike
        to that one: a chain of likenesses does not make one group. All is exact, compared in blocks; the vectors are
        held in memory, 4 bytes per number.

        Args:
            conditions: One or several, as they were embedded; None is "no condition".
            threshold: Two images are alike where so large a fraction of random pairs of the collection is less alike,
                under each condition; by default .999.
            similarity: The least cosine under each condition, instead of `threshold`.
            setting: Glob over the settings' names, where several have the conditions.
            where: Only images that fit this filter over the columns of `images`, such as "width > 500".
            facets: Only images with these first words, as for `search`.
            among: Only images with these ids.
            show_progress_bar: On stderr; by default where that is a terminal.

        Returns:
            The images of all groups, the group with the most images first, with `group` (its number, from 1),
            `image_id`, `path`, `similarity` and `percentile` to the group's first image (of several conditions the
            lowest; `similarities` and `percentiles` have each), `size` (width, height) and `same_file_as`, an image of
            the group whose file has the same bytes.

        Raises:
            OptionError: a bound that is none, or both; a filter that cannot be read or leaves no image.
            StoreError: a condition is missing, several settings fit, or one is damaged.
        """
        found = choose(self.store, checked_conditions(conditions), setting)
        return duplicates(
            self.store,
            found,
            threshold=threshold,
            similarity=similarity,
            only=Filter.of(where=where, facets=facets, among=among),
            show_progress_bar=show_progress_bar,
        )
