"""The files behind images: a path never comes from a request, and never leads out of the folder.

A request names an image by its id. The database says where its file was; what is served is a regular file that really
lies, links resolved, in the folder that was embedded, and is an image.
"""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..collection.spaces import Space
from ..collection.storage.store import Store
from ..errors import ImageError
from ..inputs.encoded import read_encoded
from ..inputs.images import read_image
from ..inputs.object_store import SCHEME
from .problems import NotThereError

PREVIEW_SIDE = 1600  # pixels
SHOWN_BY_BROWSERS: Mapping[bytes, str] = {
    b"\xff\xd8\xff": "image/jpeg", b"\x89PNG\r\n\x1a\n": "image/png", b"GIF8": "image/gif", b"BM": "image/bmp",
}  # fmt: skip


def file_of(store: Store, space: Space, image_id: str) -> Path:
    """Where an image's file is.

    Raises:
        NotThereError: no such image, it is no file of its own, the file is gone, or is not in the folder that was
            embedded.
    """
    first = space.shared
    paths = store.image_paths(first.dataset, [image_id], source=first.source)
    if image_id not in paths:
        raise NotThereError(f"there is no image {image_id!r}")
    place = paths[image_id]
    if place is None:
        raise NotThereError(f"{image_id!r} is no file of its own (it came from a table or was imported)")
    if place.startswith(SCHEME):
        raise NotThereError(f"{place} is on an object store: only its thumbnail is shown")
    path = Path(place)
    if not path.is_file():
        raise NotThereError(f"the file of {image_id!r} is gone: it was at {place}")
    root = store.source_root(first)
    if root is None or not _lies_in(path, Path(root)):
        raise NotThereError(f"{place} does not lie in the folder that was embedded: it is not shown")
    return path


def original(path: Path) -> tuple[bytes, str]:
    """A file's bytes and what kind they are, of an image that browsers show; any other as PNG.

    Raises:
        ImageError: it is no image.
    """
    data = read_encoded(path).data
    kind = next((kind for begin, kind in SHOWN_BY_BROWSERS.items() if data.startswith(begin)), None)
    if data[8:12] == b"WEBP":
        kind = "image/webp"
    if kind is not None:
        return data, kind
    buffer = io.BytesIO()
    read_image(data, max_size=0, name=str(path)).save(buffer, "PNG")
    return buffer.getvalue(), "image/png"


def preview(path: Path) -> bytes:
    """A file's image as WebP, its longer side at most 1,600 pixels.

    Raises:
        ImageError: it is no image.
    """
    buffer = io.BytesIO()
    read_image(path, max_size=PREVIEW_SIDE).save(buffer, "WEBP", quality=86, method=2)
    return buffer.getvalue()


def presence(store: Store, space: Space, image_id: str) -> dict[str, Any]:
    """Whether an image's file is there: `{file, reason}`, one of them null."""
    try:
        return {"file": str(file_of(store, space, image_id)), "reason": None}
    except (NotThereError, ImageError) as error:
        return {"file": None, "reason": str(error)}


def _lies_in(path: Path, root: Path) -> bool:
    """Links resolved. A single file that was embedded, and a table of paths, are roots of what is beside them."""
    real = root.resolve()
    return path.resolve().is_relative_to(real if real.is_dir() else real.parent)
