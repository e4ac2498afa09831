"""`suggest`: from images to the aspects in which they differ."""

import logging
import math
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from ..errors import ConditionError, ImageError, ModelError, OptionError, preview
from ..inputs.arguments import checked_count, in_order, lists_keywords
from ..inputs.aspects import distinct, known_aspects
from ..inputs.images import image_name
from ..methods.options import Images, is_one_image, shown
from ..methods.registry import METHODS, describe
from ..methods.request import Embedded, Request
from .proposals import ASKED, MIN_PROPOSED, proposed
from .ranking import Judged, Suggestions, ranked
from .sampling import draw
from .shared_pass import embed_together

if TYPE_CHECKING:
    from ..methods.embedder import Embedder

MIN_IMAGES = 3  # two groups of which one has two images
FEW_IMAGES = 20

logger = logging.getLogger(__name__)


@lists_keywords
def suggest(
    images: Images,
    embedder: "Embedder",
    *,
    n: int = 10,
    sample: int = 100,
    candidates: Sequence[str] = (),
    propose: bool = True,
    seed: int = 42,
    batch_size: int | None = None,
    show_progress_bar: bool | None = None,
) -> Suggestions:
    """Find aspects in which images differ, ranked by how well they separate them; no label is needed.

        found = cie.suggest(images, embedder, candidates=["fabric"])
        vectors = embedder.encode(images, found.conditions)

    The model names aspects itself, asked openly about a few images; where it names none, known ones are tried. Each
    image is read once for all candidates. (What is measured: docs/suggest.md.)

    Args:
        images: As `Embedder.encode`'s, several.
        embedder: DIOR or the generative method: one that takes conditions and tells words.
        n: Aspects at most.
        sample: Images that aspects are tried on, drawn at random; all, if there are fewer. At most 1,000.
        candidates: Aspects to try besides.
        propose: If False, the candidates are all that is tried: the model is asked nothing openly.
        seed: Of the draw.
        batch_size: Images per batch at most; None lets the embedder fill its token budget.
        show_progress_bar: None shows it on a terminal.

    Raises:
        ConditionError: the method takes no condition or tells no words; or a candidate is no condition.
        OptionError: fewer than 3 images, or a number that makes no sense.
        ImageError: all but two images cannot be embedded. (A few are among the `failures`.)
        ModelError: the model tells no words, or fails on every image.
    """
    inputs: Any = [images] if is_one_image(images) else images
    drawn = draw(enumerate(inputs), sample, seed)
    return suggest_for(
        drawn,
        embedder,
        n=n,
        candidates=candidates,
        propose=propose,
        batch_size=batch_size,
        show_progress_bar=show_progress_bar,
    )


def suggest_for(
    images: Sequence[tuple[Hashable, Any]],
    embedder: "Embedder",
    *,
    n: int = 10,
    candidates: Sequence[str] = (),
    propose: bool = True,
    batch_size: int | None = None,
    show_progress_bar: bool | None = None,
) -> Suggestions:
    """`suggest` on all of the images given: pairs of a key, by which failures are told, and a `LazyImage`."""
    n = checked_count("n", n)
    check_method(embedder.method)
    if embedder.entry.tells == "words" and not embedder.has_words:
        raise ModelError(f"{embedder.model} tells no words, by which aspects are judged: use another model")
    tried = tuple(distinct(in_order("candidates", candidates)))
    if not tried and not propose:
        raise OptionError("there is nothing to try: give candidates, or let aspects be proposed")
    if len(images) < MIN_IMAGES:
        raise OptionError(
            f"{len(images)} images have no groups: give at least {MIN_IMAGES}, better {FEW_IMAGES} or more"
        )

    def read(key: Hashable, image: Any) -> Image.Image:
        return embedder.read(image() if callable(image) else image, name=image_name(image, key))

    by_model: tuple[str, ...] = ()
    if propose:
        asked = images[:: math.ceil(len(images) / ASKED)]
        by_model = proposed(embedder, asked, read, show_progress_bar=show_progress_bar)
        tried = tuple(distinct([*tried, *by_model, *(known_aspects() if len(by_model) < MIN_PROPOSED else ())]))
    logger.info("%d aspects are tried; the model proposed %d", len(tried), len(by_model))
    request = Request(conditions=(*tried, None), top_words=1, min_probability=1.0)  # the first word, and no other
    embedded: dict[Hashable, Embedded] = {}
    failures: dict[Any, str] = {}
    outcomes = embed_together(embedder, images, request, read=read, batch_size=batch_size)
    for key, outcome in shown(outcomes, "image", len(images), show_progress_bar):
        if isinstance(outcome, ImageError):
            failures[key] = str(outcome)
        else:
            embedded[key] = outcome
    rows = [embedded[key] for key, _ in images if key in embedded]
    if len(rows) < MIN_IMAGES:
        reason = preview(list(failures.values()), 1)
        raise ImageError(f"{len(failures)} of {len(images)} images failed, too many to go on: {reason}")
    if len(rows) < FEW_IMAGES:
        logger.warning("%d images are few to judge aspects by: give %d or more", len(rows), FEW_IMAGES)
    vectors = np.stack([row.vectors[:, 0, 0, 0] for row in rows])
    judged = []
    for index, name in enumerate(tried):
        words = [_first_word(row, index) for row in rows]
        judged.append(Judged.of(name, words, vectors[:, index], vectors[:, -1]))
    return Suggestions(tuple(ranked(judged)[:n]), len(rows), tried, by_model, failures)


def check_method(name: str) -> None:
    """See that a method takes conditions and tells words.

    Raises:
        ConditionError: it does not; the message names those that do.
    """
    entry = describe(name)
    if not entry.conditional or not entry.tells:
        able = " or ".join(each.name for each in METHODS.values() if each.conditional and each.tells)
        lacks = "tells no words" if entry.conditional else "takes no condition"
        raise ConditionError(f"{name} {lacks}: aspects are suggested by method {able}, on a vision-language model")


def _first_word(row: Embedded, condition: int) -> str:
    words = row.words[condition][0] if row.words else []
    return words[0][0] if words else ""
