"""An image on its way through a job: read once, so that all that is kept of it is of the same bytes."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from PIL import Image

from ...errors import ImageError
from ...inputs.encoded import Encoded, FileStat, read_encoded
from ...inputs.images import image_name, read_image, stored_size, thumbnail
from ..storage.tables import ImageRecord


@dataclass(eq=False)
class JobImage:
    """What flows through the stream as the key of an image: its id, and its record once it was read."""

    image_id: str
    record: ImageRecord | None = None

    def __repr__(self) -> str:  # what messages call an image that is no file
        return repr(self.image_id)


class Reader:
    """Reads an image in a worker, and notes what the table `images` keeps of it.

    Args:
        max_size: Of the longer side, in pixels.
        as_reference: As `read_image`'s.
        is_expected: Whether an image's file is the one that the job looked at when it began.
    """

    def __init__(
        self,
        max_size: int,
        *,
        as_reference: bool,
        is_expected: Callable[[str, FileStat], bool] = lambda *_: True,
    ) -> None:
        self._max_size, self._as_reference, self._is_expected = max_size, as_reference, is_expected

    def __call__(self, key: JobImage, given: Any) -> Image.Image:
        if callable(given):
            given = given()
        name = image_name(given, key.image_id)
        if isinstance(given, str | os.PathLike | bytes):
            given = read_encoded(given, name=name)
        place = FileStat()
        if isinstance(given, Encoded) and given.stat is not None:
            place = given.stat
            self.check(key.image_id, place, name)
        image = read_image(given, max_size=self._max_size, as_reference=self._as_reference, name=name)
        width, height = _upright_size(given, image)
        key.record = ImageRecord(
            image_id=key.image_id,
            width=width,
            height=height,
            content_hash=given.sha256 if isinstance(given, Encoded) else hashlib.sha256(image.tobytes()).hexdigest(),
            place=place,
            thumbnail=thumbnail(image),
        )
        return image

    def check(self, image_id: str, place: FileStat, name: str) -> None:
        """Raise `ImageError` where a file is no longer what the job looked at when it began."""
        if place.path is not None and not self._is_expected(image_id, place):
            raise ImageError(f"{name} changed while the job ran: run the same command again")


def _upright_size(given: Any, image: Image.Image) -> tuple[int, int]:
    if not isinstance(given, Encoded):
        return image.size
    width, height = stored_size(given)
    turned = (width - height) * (image.width - image.height) < 0  # by its EXIF orientation
    return (height, width) if turned else (width, height)
