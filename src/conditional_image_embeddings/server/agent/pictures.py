"""Pictures that an agent looks at: small JPEGs, which every client shows, of a bounded number of bytes."""

import io
from collections.abc import Iterable
from pathlib import Path

from mcp.server.mcpserver import Image
from mcp.types import ContentBlock, TextContent

from ...collection.collection import Collection
from ...errors import ImageError
from ...inputs.images import read_image

PREVIEW_SIDE = 768  # pixels
MOST_PICTURES = 12
QUALITIES = (85, 60, 35)
MOST_BYTES = 192 * 1024


def thumbnails(collection: Collection, image_ids: Iterable[str], setting: str) -> list[ContentBlock]:
    """The stored pictures of the first twelve images, each after a line with its id; one that has none is left out."""
    wanted = list(image_ids)[:MOST_PICTURES]
    stored = collection.thumbnails(wanted, setting=setting) if wanted else {}
    return [block for image_id in wanted if image_id in stored for block in _labelled(image_id, stored[image_id])]


def preview(source: Path | bytes) -> ContentBlock:
    """An image as JPEG, its longer side at most 768 pixels, of at most 192 KiB.

    Raises:
        ImageError: it is no image.
    """
    image, buffer = read_image(source, max_size=PREVIEW_SIDE), io.BytesIO()
    for quality in QUALITIES:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality)
        if buffer.tell() <= MOST_BYTES:
            break
    return Image(data=buffer.getvalue(), format="jpeg").to_image_content()


def _labelled(image_id: str, data: bytes) -> list[ContentBlock]:
    try:
        return [TextContent(type="text", text=image_id), preview(data)]
    except ImageError:  # what an import brought as a thumbnail may be none
        return []
