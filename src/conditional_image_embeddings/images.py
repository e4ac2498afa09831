"""An image, read safely, or an error that names it and says why.

Whatever it comes as, an image leaves here upright, in RGB, and no larger than asked for; the same picture gives the
same pixels as a path, as bytes or as a PIL image. Formats that run other programs (EPS, PDF) are not read, and nothing
is fetched from the network.
"""

import io
import os
import warnings
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from .errors import ImageError

if TYPE_CHECKING:
    import torch

ImageInput: TypeAlias = "str | os.PathLike[str] | bytes | Image.Image | NDArray[np.uint8] | torch.Tensor"

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM", "ICO", "TGA", "DDS")
MAX_PIXELS = 178_956_970  # where Pillow too takes an image for a decompression bomb
MAX_BYTES = 2**29  # of an encoded image
THUMBNAIL_SIDE = 160

_OPENING = Lock()


def read_image(image: ImageInput, *, max_size: int = 700, name: str | None = None) -> Image.Image:
    """Read an image as RGB: upright by its EXIF orientation, its first frame, transparency on white.

    Args:
        image: A path, encoded bytes, a PIL image, or an (H, W, 3) uint8 array or tensor. Not a URL.
        max_size: The longer side is scaled down to at most so many pixels (Lanczos, aspect kept); 0 leaves it as it is.
        name: What messages call the image; None: its path, if it has one.

    Raises:
        ImageError: it cannot be read; one line names the file and says why.
    """
    name = name or image_name(image)
    try:
        opened = _opened(image, name)
        _check_size(opened, name)
        opened.load()  # at full size: a JPEG decoded at a fraction of it would have other pixels than a PIL image
        return _scaled(_rgb(ImageOps.exif_transpose(opened)), max_size)
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name} is too large when decoded: at most {MAX_PIXELS} pixels are read") from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{name} is no image in a format that is read ({', '.join(FORMATS)})") from error
    except MemoryError as error:
        raise ImageError(f"{name} does not fit into memory") from error
    except Exception as error:  # decoders of damaged files raise whatever they stumble over
        raise ImageError(f"{name} cannot be read: {_reason(error)}") from error


def image_name(image: Any, key: object = None) -> str:
    """What messages call an image: its path, quoted, so that a newline there does not break the line; else its key."""
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


def _opened(image: Any, name: str) -> Image.Image:
    """A PIL image, its pixels not decoded yet where it comes from a file."""
    if isinstance(image, Image.Image):
        return image
    if isinstance(image, bytes):
        return _decoder(io.BytesIO(image), len(image), name)
    if isinstance(image, str | os.PathLike):
        if isinstance(image, str) and image.startswith(("http://", "https://", "ftp://", "data:")):
            raise ImageError(f"{name} is a URL, and URLs are not fetched: download the image and pass its path")
        path = Path(image)
        if path.is_dir():
            raise ImageError(f"{name} is a folder, not an image")
        if path.is_symlink() and not path.exists():
            raise ImageError(f"{name} is a broken link")
        if not path.is_file():
            raise ImageError(f"{name} is not there" if not path.exists() else f"{name} is not a regular file")
        return _decoder(path, path.stat().st_size, name)
    return _from_array(image, name)


def _decoder(file: Path | io.BytesIO, size: int, name: str) -> Image.Image:
    if size == 0:
        raise ImageError(f"{name} is empty")
    if size > MAX_BYTES:
        raise ImageError(f"{name} has {size} bytes; at most {MAX_BYTES} are read")
    with _OPENING, warnings.catch_warnings():  # the filters are the whole process's: one thread at a time
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # from half the size that is refused
        return Image.open(file, formats=FORMATS)


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


def _check_size(image: Image.Image, name: str) -> None:
    width, height = image.size
    if width * height == 0:
        raise ImageError(f"{name} has no pixels: it is {width} x {height}")
    if width * height > MAX_PIXELS:
        raise ImageError(f"{name} has {width} x {height} pixels; at most {MAX_PIXELS} are read")


def _rgb(image: Image.Image) -> Image.Image:
    """Any mode as RGB: what is transparent shows white, 16 bits a channel become 8 by scaling rather than clipping."""
    if image.mode in {"I;16", "I;16L", "I;16B", "I;16N", "I", "F"}:
        return _from_deep_gray(image)
    if image.mode in {"RGBA", "LA", "PA", "La", "RGBa"} or "transparency" in image.info:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _from_deep_gray(image: Image.Image) -> Image.Image:
    values = np.nan_to_num(np.asarray(image, dtype=np.float64))
    if image.mode == "F":  # without a scale of its own
        low, high = float(values.min()), float(values.max())
        values = (values - low) / (high - low) * 255 if high > low else np.zeros_like(values)
    elif image.mode != "I" or values.max() > 255:
        values = values / 257  # 65535 is white
    return Image.fromarray(values.clip(0, 255).round().astype(np.uint8)).convert("RGB")


def _scaled(image: Image.Image, max_size: int) -> Image.Image:
    longer = max(image.size)
    if not max_size or longer <= max_size:
        return image
    width, height = (max(1, round(side * max_size / longer)) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return " ".join(str(error).split()) or type(error).__name__
