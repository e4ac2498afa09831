"""Arrays and tensors as images: the layouts and ranges that can be told apart, and one line for all others."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import ImageError

LAYOUTS = "(H, W), (H, W, 1 / 3 / 4) or (3, H, W)"
TOLERANCE = 1e-3  # of floats around 0..1: what arithmetic in 16 bits leaves


def is_array(image: Any) -> bool:
    """Whether `from_array` takes it: an array of NumPy's or one of another library's."""
    return isinstance(image, np.ndarray) or _is_tensor(image) or hasattr(image, "__array__")


def from_array(image: Any, name: str) -> Image.Image:
    """An array or tensor of `LAYOUTS`, of uint8 or of floats in 0..1, as a PIL image (`L`, `RGB` or `RGBA`).

    Raises:
        ImageError: another shape or type, a shape that has two meanings, or values out of range.
    """
    pixels = _values(image, name)
    shape, first, last = pixels.shape, 3 in pixels.shape[:1], pixels.shape[-1:] in {(1,), (3,), (4,)}
    if 0 in shape:
        raise ImageError(f"{name} has no pixels: its shape is {shape}")
    if pixels.ndim == 3 and first and last:
        raise ImageError(
            f"{name} has the shape {shape}, which may be (3, H, W) or (H, W, {shape[2]}): give a PIL image"
        )
    if pixels.ndim == 3 and first:
        pixels = pixels.transpose(1, 2, 0)
    elif pixels.ndim == 3 and last:
        pixels = pixels[..., 0] if shape[2] == 1 else pixels
    elif pixels.ndim != 2:
        more = "; of several images pass each by itself" if pixels.ndim == 4 else ""
        raise ImageError(f"{name} has the shape {shape}: expected {LAYOUTS}{more}")
    return Image.fromarray(np.ascontiguousarray(_in_8_bits(pixels, name)))


def _is_tensor(image: Any) -> bool:
    return hasattr(image, "detach") and hasattr(image, "cpu")  # without importing torch; files have `detach` too


def _values(image: Any, name: str) -> NDArray[Any]:
    """As an array of NumPy's. Of a type that it has not, such as bfloat16, as float32."""
    if _is_tensor(image):
        image = image.detach().cpu()
        try:
            image = image.numpy()
        except TypeError:
            image = image.float().numpy()
    values = np.asarray(image)
    if values.dtype != object:
        return values
    try:
        values = np.array(values.tolist())  # numbers, each an object of its own
    except ValueError:
        values = np.asarray(image)
    if values.dtype.kind in "iu" and values.size and values.min() >= 0 and values.max() <= 255:
        return values.astype(np.uint8)
    if values.dtype.kind != "f":
        raise ImageError(f"{name} is an array of objects: of several images pass a list")
    return values


def _in_8_bits(pixels: NDArray[Any], name: str) -> NDArray[np.uint8]:
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype.kind != "f":
        raise ImageError(f"{name} has values of type {pixels.dtype}: expected uint8, or floats in 0..1")
    smallest, largest = pixels.min(), pixels.max()
    if not (smallest >= -TOLERANCE and largest <= 1 + TOLERANCE):  # NaN neither
        raise ImageError(
            f"{name} has floats in {smallest:g}..{largest:g}: expected 0..1 (divide by 255, or convert to uint8)"
        )
    scaled: NDArray[np.uint8] = (pixels.astype(np.float32) * 255).round().clip(0, 255).astype(np.uint8)
    return scaled
