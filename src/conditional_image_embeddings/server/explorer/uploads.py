"""Pictures that the user dropped on the page: held in memory, bounded, gone with the server."""

import hashlib
import threading
from typing import NamedTuple

from cachetools import LRUCache

from ...inputs.encoded import MAX_BYTES
from ...inputs.images import read_image, thumbnail
from ..problems import NotThereError

KEPT = 256 * 2**20  # bytes
MAX_UPLOAD = min(MAX_BYTES, 50 * 2**20)
SIDE = 320  # of the picture that the page shows of it


class Upload(NamedTuple):
    """The encoded image as it came, and a small WebP of it."""

    data: bytes
    picture: bytes


class Uploads:
    """Images by name, which is the digest of their bytes."""

    def __init__(self) -> None:
        self._kept: LRUCache[str, Upload] = LRUCache(KEPT, getsizeof=lambda each: len(each.data) + len(each.picture))
        self._lock = threading.Lock()

    def add(self, data: bytes) -> str:
        """Keep an image.

        Raises:
            ImageError: it cannot be read as an image, or is too large.
        """
        picture = thumbnail(read_image(data, max_size=2 * SIDE, name="the picture that was dropped"), SIDE)
        name = hashlib.sha256(data).hexdigest()
        with self._lock:
            self._kept[name] = Upload(data, picture)
        return name

    def data(self, name: str) -> bytes:
        """The image as it came.

        Raises:
            NotThereError: the server was started anew, or many others came since.
        """
        return self._of(name).data

    def picture(self, name: str) -> bytes:
        """As WebP, its longer side at most 320 pixels.

        Raises:
            NotThereError: as `data`.
        """
        return self._of(name).picture

    def _of(self, name: str) -> Upload:
        with self._lock:
            found = self._kept.get(name)
        if found is None:
            raise NotThereError("the picture that was dropped is not held any more: drop it once more")
        return found
