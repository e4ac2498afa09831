"""Colours of the synthetic cars: the paper's rule that names an HSV triple, and triples that it names safely.

The metadata of Kobs et al. (ICCV 2021) stores hue shifted by half a turn and saturation and value doubled;
`(hue, sat, val)` below always means such a stored triple, with hue in [0, 1) and the other two in [0, 2].
"""

from __future__ import annotations

import colorsys
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

HSV: TypeAlias = tuple[float, float, float]

CSS_COLORS = {
    "aqua": (0, 255, 255),
    "black": (0, 0, 0),
    "blue": (0, 0, 255),
    "fuchsia": (255, 0, 255),
    "green": (0, 128, 0),
    "gray": (128, 128, 128),
    "lime": (0, 255, 0),
    "maroon": (128, 0, 0),
    "navy": (0, 0, 128),
    "olive": (128, 128, 0),
    "purple": (128, 0, 128),
    "red": (255, 0, 0),
    "silver": (192, 192, 192),
    "teal": (0, 128, 128),
    "white": (255, 255, 255),
    "yellow": (255, 255, 0),
    "orange": (255, 165, 0),
}
"""The 17 colour names of CSS 2.1, in the order of webcolors 1.5, which the paper's code uses."""

# Degrees of hue, saturation, value. Only names that shading cannot turn into one another: no maroon beside red, no
# silver beside gray.
_RANGES = {
    "red": ((-8, 8), (0.85, 1.0), (0.80, 1.0)),
    "orange": ((32, 42), (0.85, 1.0), (0.92, 1.0)),
    "yellow": ((56, 64), (0.75, 1.0), (0.90, 1.0)),
    "green": ((112, 140), (0.75, 1.0), (0.42, 0.62)),
    "aqua": ((174, 188), (0.65, 1.0), (0.88, 1.0)),
    "blue": ((226, 246), (0.80, 1.0), (0.85, 1.0)),
    "purple": ((276, 294), (0.70, 1.0), (0.45, 0.60)),
    "fuchsia": ((302, 316), (0.70, 1.0), (0.92, 1.0)),
    "white": ((0, 360), (0.0, 0.05), (0.93, 1.0)),
    "gray": ((0, 360), (0.0, 0.08), (0.44, 0.58)),
    "black": ((0, 360), (0.0, 0.30), (0.02, 0.13)),
}
COLORS = tuple(_RANGES)
"""The names that cars and backgrounds have."""


def rgb(hue: float, sat: float, val: float) -> tuple[float, float, float]:
    """The colour of a stored triple, as red, green and blue in [0, 1]."""
    return colorsys.hsv_to_rgb((hue + 0.5) % 1.0, sat / 2, val / 2)


def colour_name(hue: float, sat: float, val: float) -> str:
    """The label of a stored triple: the nearest CSS 2.1 name by squared RGB distance (paper, section 4.1).

    Of names equally near it is the last of `CSS_COLORS`, as in the paper's code.
    """
    return _nearest(hue, sat, val)[-1]


def _nearest(hue: float, sat: float, val: float) -> list[str]:
    color = [int(255 * channel) for channel in rgb(hue, sat, val)]
    names: dict[int, list[str]] = {}
    for name, css in CSS_COLORS.items():
        names.setdefault(sum((a - b) ** 2 for a, b in zip(color, css, strict=True)), []).append(name)
    return names[min(names)]


def sample_color(name: str, rng: np.random.Generator) -> HSV:
    """A random stored triple that `colour_name` calls `name`; six decimals, so that a CSV keeps it exactly.

    One that is as near to another name is moved a little towards the middle of the colour's range.
    """
    while True:
        drawn = np.array([rng.uniform(*bounds) for bounds in _RANGES[name]])
        while name in (nearest := _nearest(*_stored(drawn))):
            if nearest[-1] == name:
                return _stored(drawn)
            drawn += 1e-4 * (np.mean(_RANGES[name], axis=1) - drawn)


def _stored(drawn: NDArray[np.float64]) -> HSV:
    hue, sat, val = drawn.tolist()
    return (round((hue / 360 + 0.5) % 1.0, 6) % 1.0, round(2 * sat, 6), round(2 * val, 6))
