"""The images that aspects are tried on: some of all that there are, drawn before any of them is read."""

import random
from collections.abc import Iterable, Sequence
from typing import TypeVar

from ..errors import OptionError
from ..inputs.arguments import checked_count
from ..inputs.images import LazyImage
from ..inputs.references import ImageSource, select

MAX_SAMPLE = 1000  # images whose vectors under all candidates are held at once

T = TypeVar("T")


def draw(items: Iterable[T], count: int, seed: int) -> list[T]:
    """So many of the items, drawn at random, in their order; all, if there are fewer. Holds no more than it gives.

    Raises:
        OptionError: a count that is none, or more than `MAX_SAMPLE`.
    """
    count = checked_count("sample", count)
    if count > MAX_SAMPLE:
        raise OptionError(f"sample is {count}; at most {MAX_SAMPLE} images are taken, whose vectors are held at once")
    generator = random.Random(seed)
    kept: list[tuple[int, T]] = []
    for index, item in enumerate(items):
        if len(kept) < count:
            kept.append((index, item))
        elif (place := generator.randrange(index + 1)) < count:
            kept[place] = (index, item)
    return [item for _, item in sorted(kept, key=lambda pair: pair[0])]


def draw_from_sources(sources: Sequence[ImageSource], count: int, seed: int) -> list[tuple[str, LazyImage]]:
    """Images drawn from all sources together: their ids, or the source's root and the id where there are several."""
    listed = ((index, image_id) for index, source in enumerate(sources) for image_id, _ in source.references())
    drawn = draw(listed, count, seed)
    images: dict[str, LazyImage] = {}
    for index, source in enumerate(sources):
        wanted = {image_id for of, image_id in drawn if of == index}
        prefix = f"{source.root or source.dataset}/" if len(sources) > 1 else ""
        for image_id, image in select(source, wanted.__contains__) if wanted else ():
            images[f"{prefix}{image_id}"] = image
    return list(images.items())
