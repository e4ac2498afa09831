"""Images with more than 8 bits per sample, as 8: scaled so that what they show is seen, neither clipped nor black.

White is the maximum that the file declares, if no sample exceeds it: TIFF's MaxSampleValue, SMaxSampleValue or
BitsPerSample, PNG's sBIT, PGM's maxval, the precision of JPEG 2000 and HEIF. Without one it is the image's own: of a
16-bit image whose samples need 9 to 15 bits it is the maximum of so many, at least 10 (4095 for 12), of others 65535.
Floats and signed integers spread over their own range.

Everything goes in strips, so that an image costs itself and its 8-bit result, not copies in float64.
"""

import io
import re
import struct
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

GRAY_MODES = frozenset({"I;16", "I;16L", "I;16B", "I;16N", "I", "F"})
FULL = 2**16 - 1
STRIP_PIXELS = 2**18

_BITS_PER_SAMPLE, _MAX_SAMPLE_VALUE, _SAMPLE_FORMAT, _S_MIN_SAMPLE_VALUE, _S_MAX_SAMPLE_VALUE = 258, 281, 339, 340, 341
_COLOR_LAYOUT = re.compile(r"(?P<bands>RGB|RGBA|RGBX|LA);16(?P<order>[BLN])")
_SWAPPED = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}


def load_8_bit(image: Image.Image) -> Image.Image:
    """Decode an opened image; one of more than 8 bits per sample becomes one of 8, its grays `L`.

    Pillow keeps the high bytes of 16-bit colours only, which for 12-bit data is next to black. What it cut off comes
    from decoding the file once more with its bytes swapped, and only where the high bytes leave it open.
    """
    declared = _declared_maximum(image)
    layout = _color_layout(image)
    again = _opened_again(image) if layout else None
    image.load()
    if image.mode in GRAY_MODES:
        return _gray(image, declared)
    if layout is None:
        return image
    if again is not None and _may_be_dark(image, declared):
        image = _color(image, _with_low_bytes(again, layout), layout, declared)
    return _with_high_key(image)


def before_loading(image: Image.Image) -> Image.Image:
    """An image of more than 8 bits that is not decoded yet, opened once more; any other as it is.

    Decoding loses what its file declares and the low bytes of its colours: were the caller's image loaded itself, it
    would have other pixels the next time.
    """
    if getattr(image, "tile", None) and (image.mode in GRAY_MODES or _color_layout(image)):
        again = _opened_again(image)
        if again is not None and (again.size, again.mode) == (image.size, image.mode):
            again.info = image.info.copy()
            return again
    return image


def white_point(largest: float, declared: float | None, *, dark: int = FULL) -> float:
    """The sample that is white; `dark` where the samples need no more than 8 bits and nothing is declared."""
    if declared and largest <= declared:
        return declared
    return dark if largest <= 255 else 2 ** max(10, int(largest).bit_length()) - 1


def _gray(image: Image.Image, declared: float | None) -> Image.Image:
    unsigned = _tag(image, _SAMPLE_FORMAT, 1) == 1 and _tag(image, _BITS_PER_SAMPLE, 0) == 32
    smallest, largest = np.inf, -np.inf
    for _, strip in _samples(image, unsigned):
        finite = strip[np.isfinite(strip)] if image.mode == "F" else strip
        if finite.size:
            smallest, largest = min(smallest, finite.min()), max(largest, finite.max())
    black = 0.0
    if image.mode == "F" or smallest < 0:
        black = float(_tag(image, _S_MIN_SAMPLE_VALUE, smallest))
        black = black if black <= smallest else float(smallest)
        white = float(declared if declared and declared >= largest else largest)
    else:
        white = white_point(int(largest), declared, dark=255 if image.mode == "I" else FULL)
    if not white > black:  # also where nothing is finite
        return Image.new("L", image.size)
    pixels = np.empty((image.height, image.width), np.uint8)
    table = None if image.mode in {"I", "F"} else _table(white)
    for top, strip in _samples(image, unsigned):
        rows = pixels[top : top + len(strip)]
        if table is None:
            values = (np.nan_to_num(strip.astype(np.float64), nan=black) - black) / (white - black) * 255
            rows[:] = values.clip(0, 255).round()
        else:
            np.take(table, strip, out=rows)
        if isinstance(clear := image.info.get("transparency"), int):
            rows[strip == clear] = 255  # on white
    return Image.fromarray(pixels)


def _color(high: Image.Image, low: Image.Image, layout: re.Match[str], declared: float | None) -> Image.Image:
    """Colours from their high and low bytes, written over `low`; the image as it is where white is 65535."""
    largest = np.zeros(len(high.getbands()), int)
    for _, strip in _color_strips(high, low, layout):
        largest = np.maximum(largest, strip.max((0, 1)))
    white = white_point(largest[:3].max(), declared)
    if white >= FULL:
        return high
    tables = [_table(white)] * 3 + [_table(white_point(alpha, declared)) for alpha in largest[3:]]
    if isinstance(key := low.info.get("transparency"), tuple):
        low.info["transparency"] = tuple(int(tables[0][sample]) for sample in key)
    for top, strip in _color_strips(high, low, layout):
        pixels = np.stack([table[strip[..., band]] for band, table in enumerate(tables)], axis=2)
        low.paste(Image.fromarray(pixels), (0, top))
    return low


def _with_high_key(image: Image.Image) -> Image.Image:
    """The image, its transparent colour in 8 bits like its pixels: Pillow leaves it at 16."""
    key = image.info.get("transparency")
    if isinstance(key, tuple) and max(key) > 255:
        image = image.copy()
        image.info["transparency"] = tuple(sample >> 8 for sample in key)
    return image


def _color_strips(
    high: Image.Image, low: Image.Image, layout: re.Match[str]
) -> Iterator[tuple[int, NDArray[np.uint16]]]:
    for (top, upper), (_, lower) in zip(_samples(high), _samples(low), strict=True):
        if layout["bands"] == "LA":  # decoded as four bytes: gray and alpha, the high one of each first
            gray, alpha = (lower[..., band].astype(np.uint16) << 8 | lower[..., band + 1] for band in (0, 2))
            yield top, np.stack([gray, gray, gray, alpha], axis=2)
        else:
            yield top, upper.astype(np.uint16) << 8 | lower


def strips(image: Image.Image) -> Iterator[tuple[int, int]]:
    """First row and the one behind the last of one strip after the other."""
    rows = max(1, STRIP_PIXELS // image.width)
    return ((top, min(top + rows, image.height)) for top in range(0, image.height, rows))


def _samples(image: Image.Image, unsigned: bool = False) -> Iterator[tuple[int, NDArray[Any]]]:
    """The first row and the samples of one strip after the other."""
    for top, bottom in strips(image):
        strip = np.asarray(image.crop((0, top, image.width, bottom)))
        yield top, strip.view(np.uint32) if unsigned and image.mode == "I" else strip


def _table(white: float) -> NDArray[np.uint8]:
    levels: NDArray[np.uint8] = (np.arange(FULL + 1) / white * 255).clip(0, 255).round().astype(np.uint8)
    return levels


def _may_be_dark(image: Image.Image, declared: float | None) -> bool:
    """Whether the high bytes alone allow for less than 16 bits."""
    largest = max(high for _, high in image.getextrema()[:3])  # type: ignore[misc]
    return largest << 8 <= (declared or FULL // 2)


def _color_layout(image: Image.Image) -> re.Match[str] | None:
    """How the file holds 16-bit colours, if it does and Pillow is about to cut them to 8 bits."""
    if not (tiles := getattr(image, "tile", None)) or tiles[0][0] not in {"zip", "raw", "libtiff"}:
        return None
    arguments = tiles[0][3]
    return _COLOR_LAYOUT.fullmatch(str(arguments if isinstance(arguments, str) else next(iter(arguments or ()), "")))


def _opened_again(image: Image.Image) -> Image.Image | None:
    """Another image of the same bytes and frame, not of the same path, where another file may be by now."""
    encoded = _head(image, -1)
    if not encoded or image.format not in {"PNG", "TIFF", "JPEG2000"}:
        return None
    again = Image.open(io.BytesIO(encoded), formats=[image.format])
    if frame := image.tell():
        again.seek(frame)
    return again


def _with_low_bytes(again: Image.Image, layout: re.Match[str]) -> Image.Image:
    """An opened image, decoded with each sample's low byte in place of its high one."""
    wanted = "RGBA" if layout["bands"] == "LA" else f"{layout['bands']};16{_SWAPPED[layout['order']]}"
    again.tile = [  # type: ignore[attr-defined]
        tile._replace(args=wanted if isinstance(tile.args, str) else (wanted, *tile.args[1:]))
        for tile in again.tile  # type: ignore[attr-defined]
    ]
    again.load()
    return again


def _declared_maximum(image: Image.Image) -> float | None:
    """The sample that the file says is white, as Pillow hands samples out; None if it says nothing."""
    if image.format in {"PPM", "HEIF"}:
        return FULL if image.mode != "F" else None  # scaled by what they declare
    if image.format == "PNG":
        bits = max(_chunk(image, b"sBIT"), default=0)
        return 2**bits - 1 if 8 < bits <= 16 else None
    if image.format == "JPEG2000":
        return FULL if _precision(image) < 16 else None
    bits = _tag(image, _BITS_PER_SAMPLE, 16)
    declared = _tag(image, _S_MAX_SAMPLE_VALUE, None) or _tag(image, _MAX_SAMPLE_VALUE, None)
    return declared or (2**bits - 1 if 8 < bits < 16 else None)


def _tag(image: Image.Image, tag: int, default: Any) -> Any:
    """A TIFF tag, the largest of several samples."""
    value = getattr(image, "tag_v2", {}).get(tag, default)
    return max(value, default=default) if isinstance(value, tuple) else value


def _chunk(image: Image.Image, name: bytes) -> bytes:
    """A chunk in front of a PNG's pixels, which Pillow does not keep; empty if there is none or the file is closed."""
    head = _head(image, 2**16)
    place = 8
    while place + 8 <= len(head):
        length, found = struct.unpack_from(">I4s", head, place)
        if found in {name, b"IDAT"}:
            return head[place + 8 : place + 8 + length] if found == name else b""
        place += length + 12
    return b""


def _precision(image: Image.Image) -> int:
    """Bits per sample of a JPEG 2000 codestream."""
    head = _head(image, 2**16)
    marker = head.find(b"\xff\x4f\xff\x51")
    return (head[marker + 42] & 0x7F) + 1 if 0 <= marker < len(head) - 42 else 16


def _head(image: Image.Image, size: int) -> bytes:
    file = getattr(image, "fp", None)
    if file is None or getattr(file, "closed", False):
        return b""
    place = file.tell()
    file.seek(0)
    try:
        return bytes(file.read(size))
    finally:
        file.seek(place)
