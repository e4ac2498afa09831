"""The formats that are read, and an encoded image opened: its header is parsed, its pixels are not decoded.

They are what people keep pictures in: not formats that run other programs (EPS, PDF) or that Pillow reads for old
times' sake.
"""

import io
from functools import cache

from PIL import Image, UnidentifiedImageError

from ..errors import ImageError

FORMATS = (
    *("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "JPEG2000", "PPM", "ICO", "ICNS", "DDS", "PSD"),
    *("QOI", "SGI", "PCX", "TGA"),  # TGA last: it begins with no mark of its own
)
HEIF_SUFFIXES = (".heic", ".heics", ".heif", ".heifs", ".hif")

_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
_OUTSIDE = {"WEBP": 12, "AVIF": 8, "JPEG2000": 16, "HEIF": 8, "GIF": 4, "QOI": 4}  # what else decoders hold, per pixel


@cache
def suffixes() -> frozenset[str]:
    """The suffixes, in lower case, of the files that folders are searched for: those of the formats that are read.

    HEIF is among them whether or not its extra is installed: a photograph that cannot be read is listed as such.
    """
    Image.init()
    read = {*FORMATS, "MPO"}  # a JPEG with more pictures behind the first, which is read as one
    return frozenset((*(each for each, kind in Image.registered_extensions().items() if kind in read), *HEIF_SUFFIXES))


def open_encoded(data: bytes, name: str) -> Image.Image:
    """A PIL image that decodes these bytes when it is loaded.

    Raises:
        ImageError: it is a HEIF image and the extra for these is not installed.
        UnidentifiedImageError: it is in no format that is read.
    """
    file = io.BytesIO(data)
    try:
        Image.init()
        return Image.open(file, formats=FORMATS)
    except UnidentifiedImageError:
        if not (data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS):
            raise
    try:
        from pillow_heif import HeifImageFile
    except ImportError as error:
        raise ImageError(
            f"{name} is a HEIF image, which an extra reads: pip install 'conditional-image-embeddings[heif]'"
        ) from error
    file.seek(0)
    # Not registered with Pillow, whose registry is the whole process's.
    return HeifImageFile(file)  # type: ignore[no-untyped-call]


def decoded_bytes(image: Image.Image, *, as_reference: bool = False) -> int:
    """About how much memory it takes to decode an opened image and make 8-bit RGB or gray of it."""
    deep_gray = image.mode.startswith("I;16")
    own = 1 if image.mode in {"1", "L", "P"} else 2 if deep_gray else 4
    made = (9 if as_reference else 1) if deep_gray else 0 if image.mode in {"L", "RGB"} else 4
    turned = 4 if "exif" in image.info or 274 in getattr(image, "tag_v2", ()) else 0
    bytes_per_pixel = own + made + turned + 8 * _has_deep_colors(image) + _OUTSIDE.get(str(image.format), 0)
    return image.width * image.height * bytes_per_pixel


def _has_deep_colors(image: Image.Image) -> bool:
    return image.mode in {"RGB", "RGBA", "LA"} and any(";16" in str(tile[3]) for tile in getattr(image, "tile", ())[:1])
