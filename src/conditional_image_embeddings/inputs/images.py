"""An image, read safely, or an error that names it and says why.

Whatever it comes as, an image leaves here upright, in RGB, and no larger than asked for; the same picture gives the
same pixels as a path, as bytes or as a PIL image. What is read is what people keep pictures in: not formats that run
other programs (EPS, PDF) or that Pillow reads for old times' sake, and nothing is fetched from the network.
"""

import io
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from ..errors import ImageError
from .bit_depth import load_8_bit
from .encoded import Encoded, read_encoded

if TYPE_CHECKING:
    import torch

ImageInput: TypeAlias = "str | os.PathLike[str] | bytes | Encoded | Image.Image | NDArray[np.uint8] | torch.Tensor"

FORMATS = (
    *("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "JPEG2000", "PPM", "ICO", "ICNS", "DDS", "PSD"),
    *("QOI", "SGI", "PCX", "TGA"),  # TGA last: it begins with no mark of its own
)
HEIF_SUFFIXES = (".heic", ".heics", ".heif", ".heifs", ".hif")
MAX_PIXELS = 178_956_970  # where Pillow too takes an image for a decompression bomb
THUMBNAIL_SIDE = 160

_OPENING = Lock()
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@cache
def suffixes() -> frozenset[str]:
    """The suffixes, in lower case, of the files that folders are searched for: those of the formats that are read.

    HEIF is among them whether or not its extra is installed: a photograph that cannot be read is listed as such.
    """
    Image.init()
    read = {*FORMATS, "MPO"}  # a JPEG with more pictures behind the first, which is read as one
    return frozenset((*(each for each, kind in Image.registered_extensions().items() if kind in read), *HEIF_SUFFIXES))


def read_image(
    image: ImageInput, *, max_size: int = 700, as_reference: bool = False, name: str | None = None
) -> Image.Image:
    """Read an image as RGB: upright by its EXIF orientation, its first frame, transparency on white.

    Args:
        image: A path, encoded bytes, what `read_encoded` gives, a PIL image, or an (H, W, 3) uint8 array or tensor.
        max_size: The longer side is scaled down to at most so many pixels (Lanczos, aspect kept, the other side
            truncated as the paper's code does, but never to 0); 0 leaves the image as it is.
        as_reference: The pixels that the paper's code sees, which are those of Pillow's `convert("RGB")`: the EXIF
            orientation ignored, alpha dropped, 16 bits a channel clipped or cut as Pillow has it.
        name: What messages call the image; None: its path, if it has one.

    Raises:
        ImageError: it cannot be read; one line names the file and says why.
    """
    with _errors_name(image, name) as name:
        read = _as_reference if as_reference else _upright
        scaled = _scaled(read(_checked(image, name)), max_size)  # nothing else holds the decoded image any longer
        if scaled.mode != "RGB":
            return scaled.convert("RGB")
        return scaled.copy() if scaled is image or isinstance(scaled, ImageFile.ImageFile) else scaled


def stored_size(image: ImageInput) -> tuple[int, int]:
    """Width and height as the file has them, not turned by its EXIF orientation; no pixel is decoded.

    Raises:
        ImageError: as `read_image`.
    """
    with _errors_name(image) as name:
        opened = _opened(image, name)
        if opened is not image:
            opened.close()
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
    """Whatever goes wrong inside is an `ImageError` of one line that names the image."""
    name = name or image_name(image)
    try:
        yield name
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name} is too large when decoded: at most {MAX_PIXELS} pixels are read") from error
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{name} is no image in a format that is read ({', '.join(FORMATS)}), or a rare variant of one"
        ) from error
    except MemoryError as error:
        raise ImageError(f"{name} does not fit into memory") from error
    except Exception as error:  # decoders of damaged files raise whatever they stumble over
        raise ImageError(f"{name} cannot be read: {_reason(error)}") from error


def _opened(image: Any, name: str) -> Image.Image:
    """A PIL image, its pixels not decoded yet where it comes from a file."""
    if isinstance(image, Image.Image):
        return image
    if isinstance(image, str | os.PathLike | bytes | Encoded):
        return _decoder(io.BytesIO(read_encoded(image, name=name).data), name)
    return _from_array(image, name)


def _decoder(file: io.BytesIO, name: str) -> Image.Image:
    with _OPENING, warnings.catch_warnings():  # the filters are the whole process's: one thread at a time
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # from half the size that is refused
        try:
            return Image.open(file, formats=FORMATS)
        except UnidentifiedImageError:
            if not _is_heif(file):
                raise
    try:
        from pillow_heif import HeifImageFile
    except ImportError as error:
        raise ImageError(
            f"{name} is a HEIF image, which an extra reads: pip install 'conditional-image-embeddings[heif]'"
        ) from error
    # Not registered with Pillow, whose registry is the whole process's.
    return HeifImageFile(file)  # type: ignore[no-untyped-call]


def _is_heif(file: io.BytesIO) -> bool:
    head = bytes(file.getbuffer()[:12])
    file.seek(0)
    return head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS


def _from_array(image: Any, name: str) -> Image.Image:
    expected = "a path, encoded bytes, a PIL image, or an (H, W, 3) uint8 array or tensor"
    if hasattr(image, "detach"):
        image = image.detach().cpu().numpy()
    if not isinstance(image, np.ndarray):
        raise ImageError(f"expected {expected}, not {type(image).__name__}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ImageError(f"expected {expected}, not an array of shape {image.shape} and type {image.dtype}")
    if not image.size:
        raise ImageError(f"{name} has no pixels: its shape is {image.shape}")
    return Image.fromarray(np.ascontiguousarray(image))


def _checked(image: Any, name: str) -> Image.Image:
    """A PIL image of a size that is read."""
    opened = _opened(image, name)
    width, height = opened.size
    if width * height == 0:
        raise ImageError(f"{name} has no pixels: it is {width} x {height}")
    if width * height > MAX_PIXELS:
        raise ImageError(f"{name} has {width} x {height} pixels; at most {MAX_PIXELS} are read")
    return opened


def _as_reference(image: Image.Image) -> Image.Image:
    return image.convert("RGB")


def _upright(image: Image.Image) -> Image.Image:
    """Any image as RGB or gray: turned by its EXIF orientation, what is transparent white."""
    picture = load_8_bit(image)  # at full size: a JPEG decoded at a fraction of it would have other pixels
    turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    if picture.mode in {"RGBA", "LA", "PA", "La", "RGBa"} or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    elif picture.mode not in {"RGB", "L"}:
        picture = picture.convert("L" if picture.mode == "1" else "RGB")
    return picture if turn is None else picture.transpose(turn)


def _scaled(image: Image.Image, max_size: int) -> Image.Image:
    longer = max(image.size)
    if not max_size or longer <= max_size:
        return image
    width, height = (max(1, side * max_size // longer) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return " ".join(str(error).split()) or type(error).__name__
