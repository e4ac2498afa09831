"""An image, read safely, or an error that names it and says why.

Whatever it comes as, an image leaves here upright, in RGB, and no larger than asked for; the same picture gives the
same pixels as a path, as bytes or as a PIL image. What is read is what people keep pictures in: not formats that run
other programs (EPS, PDF) or that Pillow reads for old times' sake, and nothing is fetched from the network.
"""

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, TypeAlias

from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from ..errors import ImageError
from . import sharing
from .arrays import from_array, is_array
from .bit_depth import before_loading, load_8_bit, strips
from .decoder_messages import collected
from .encoded import Encoded, read_encoded
from .formats import FORMATS, decoded_bytes, open_encoded

if TYPE_CHECKING:
    import torch

ImageInput: TypeAlias = (
    "str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | Encoded | Image.Image | NDArray[Any]"
    " | torch.Tensor"
)
LazyImage: TypeAlias = "ImageInput | Callable[[], ImageInput]"  # an image, or what reads it when its turn comes

MAX_PIXELS = 178_956_970  # where Pillow too takes an image for a decompression bomb
THUMBNAIL_SIDE = 160

_TRANSPARENT = frozenset({"RGBA", "LA", "PA", "La", "RGBa"})
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_image(
    image: ImageInput, *, max_size: int = 700, as_reference: bool = False, name: str | None = None
) -> Image.Image:
    """Read an image as RGB: upright by its EXIF orientation, its first frame, transparency on white.

    Args:
        image: A path, encoded bytes or a binary file object, what `read_encoded` gives, a PIL image, or an array or
            tensor: (H, W), (H, W, 1 / 3 / 4) or (3, H, W), of uint8 or of floats in 0..1. Not a URL. What is the
            caller's may be used by several threads at once: a PIL image is loaded, as by its `load()`, and is not
            changed otherwise; a file object is read from its beginning, and stands then where it stood.
        max_size: The longer side is scaled down to at most so many pixels (Lanczos, aspect kept, the other side
            truncated as the paper's code does, but never to 0); 0 leaves the image as it is.
        as_reference: The pixels that the paper's code sees, which are those of Pillow's `convert("RGB")`: the EXIF
            orientation ignored, alpha dropped, 16 bits per channel clipped or cut as Pillow has it.
        name: What messages call the image; None: its path, if it has one.

    Raises:
        ImageError: it cannot be read; one line names the file and says why.
    """
    with _errors_name(image, name) as name, _opened(image, name) as opened:
        _check_size(opened, name)
        with sharing.decoding.holding(decoded_bytes(opened, as_reference=as_reference)):
            scaled = _scaled(opened.convert("RGB") if as_reference else _upright(opened), max_size)
            if scaled.mode != "RGB":
                return scaled.convert("RGB")
            return scaled.copy() if scaled is opened or isinstance(scaled, ImageFile.ImageFile) else scaled


def stored_size(image: ImageInput, *, name: str | None = None) -> tuple[int, int]:
    """Width and height as the file has them, not turned by its EXIF orientation; no pixel is decoded.

    Args:
        image: As for `read_image`.
        name: What messages call it; None: its path, if it has one.

    Raises:
        ImageError: as `read_image`.
    """
    with _errors_name(image, name) as name, _opened(image, name) as opened:
        return opened.size


def image_name(image: Any, key: object = None) -> str:
    """What messages call an image: its path, quoted, so that a newline there does not break the line; else its key."""
    if isinstance(image, Encoded):
        image = image.path or image.data
    if isinstance(image, str | os.PathLike):
        return repr(os.fspath(image))
    if key is not None:
        return f"image {key!r}"
    return "the image" if not isinstance(image, bytes) else f"the image of {len(image)} bytes"


def ordinary_image(longer_side: int) -> Image.Image:
    """A picture of the size and shape of a photograph, in shades of gray: what every model takes."""
    return Image.linear_gradient("L").convert("RGB").resize((longer_side, max(1, longer_side * 3 // 4)))


def thumbnail(image: Image.Image, side: int = THUMBNAIL_SIDE) -> bytes:
    """The image as a small WebP, its longer side at most `side` pixels."""
    buffer = io.BytesIO()
    _scaled(image, side).save(buffer, "WEBP", quality=80, method=2)
    return buffer.getvalue()


@contextmanager
def _errors_name(image: Any, name: str | None = None) -> Iterator[str]:
    """Whatever goes wrong inside is an `ImageError` of one line that names the image, and what decoders say of it."""
    name = name or image_name(image)
    with collected() as messages:
        try:
            yield name
        except ImageError:
            raise
        except Exception as error:  # decoders of damaged files raise whatever they stumble over
            said = f" ({'; '.join(messages)})" if messages else ""
            raise ImageError(f"{name} {_reason(error)}{said}") from error


@contextmanager
def _opened(image: Any, name: str) -> Iterator[Image.Image]:
    """A PIL image, not decoded yet where it is made of bytes. One of the caller's is this thread's alone meanwhile."""
    if isinstance(image, Image.Image):
        with sharing.alone_with(image):
            yield image
    elif is_array(image):
        yield from_array(image, name)
    else:
        yield open_encoded(read_encoded(image, name=name).data, name)


def _check_size(image: Image.Image, name: str) -> None:
    width, height = image.size
    if width * height == 0:
        raise ImageError(f"{name} has no pixels: it is {width} x {height}")
    if width * height > MAX_PIXELS:
        raise ImageError(f"{name} has {width} x {height} pixels; at most {MAX_PIXELS} are read")


def _upright(image: Image.Image) -> Image.Image:
    """Any image as RGB or gray: turned by its EXIF orientation, what is transparent white."""
    image = before_loading(image)
    picture = load_8_bit(image)  # at full size: a JPEG decoded at a fraction of it would have other pixels
    turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    if picture.mode in _TRANSPARENT or "transparency" in picture.info:
        picture = _on_white(picture)
    elif picture.mode not in {"RGB", "L"}:
        picture = picture.convert("L" if picture.mode == "1" else "RGB")
    return picture if turn is None else picture.transpose(turn)


def _on_white(picture: Image.Image) -> Image.Image:
    """An image with alpha or a transparent colour as RGB, in strips, so that it is not there three times."""
    opaque = Image.new("RGB", picture.size)
    for top, bottom in strips(picture):
        layer = picture.crop((0, top, picture.width, bottom)).convert("RGBA")
        layer = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
        opaque.paste(layer.convert("RGB"), (0, top))
    return opaque


def _scaled(image: Image.Image, max_size: int) -> Image.Image:
    longer = max(image.size)
    if not max_size or longer <= max_size:
        return image
    width, height = (max(1, side * max_size // longer) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def _reason(error: Exception) -> str:
    """What is wrong with an image, to put behind its name."""
    if isinstance(error, Image.DecompressionBombError):
        return f"is too large when decoded: at most {MAX_PIXELS} pixels are read"
    if isinstance(error, UnidentifiedImageError):
        return f"is no image in a format that is read ({', '.join(FORMATS)}), or a rare variant of one"
    if isinstance(error, MemoryError):
        return "does not fit into memory"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read: {error.strerror.lower()}"
    return f"cannot be read: {' '.join(str(error).split()) or type(error).__name__}"
