"""The ten toy cars of the synthetic benchmark as flat-sided meshes.

A body is a set of planar faces in the car's own coordinates: x runs forward, y up from the ground, z across; one unit
is about a metre. Proportions are exaggerated so that every model can be told apart at 96 pixels from every viewpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cache

import numpy as np
from numpy.typing import NDArray

Points = Sequence[tuple[float, float]]


class Part(IntEnum):
    """What a pixel shows. The training of the builtin models learns to see these."""

    BACKGROUND = 0
    SHADOW = 1
    BODY = 2
    CABIN = 3
    CARGO = 4
    DECAL = 5
    GLASS = 6
    TRIM = 7
    SEAT = 8
    TYRE = 9
    HUB = 10
    HEADLIGHT = 11
    TAILLIGHT = 12


PAINTED = (Part.BODY, Part.CABIN, Part.CARGO)


@dataclass(frozen=True)
class Body:
    """Planar polygons, counter-clockwise seen from outside; face k has the vertices `starts[k]:starts[k + 1]`."""

    vertices: NDArray[np.float64]  # (n, 3)
    starts: NDArray[np.intp]  # (faces + 1,)
    normals: NDArray[np.float64]  # (faces, 3), unit length
    parts: NDArray[np.uint8]  # (faces,), values of `Part`


@dataclass
class Mesh:
    """Faces under construction. Profiles are polygons in the x-y plane, counter-clockwise seen from +z."""

    faces: list[NDArray[np.float64]] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)

    def polygon(self, vertices: Sequence[tuple[float, float, float]], part: Part) -> None:
        self.faces.append(np.asarray(vertices, dtype=float))
        self.parts.append(part)

    def finish(self) -> Body:
        # Newell's sum gives the normal of polygons that are not convex, too.
        normals = np.stack([np.cross(face, np.roll(face, -1, axis=0)).sum(0) for face in self.faces])
        return Body(
            vertices=np.concatenate(self.faces),
            starts=np.cumsum([0, *map(len, self.faces)]),
            normals=normals / np.linalg.norm(normals, axis=1, keepdims=True),
            parts=np.array(self.parts, dtype=np.uint8),
        )

    def prism(self, profile: Points, part: Part, half: float, top: float | None = None, z: float = 0.0) -> None:
        """The profile extruded to `z` +- `half` at its foot, narrowing to `z` +- `top` at its highest point."""
        width = _width(profile, half, half if top is None else top)
        self.polygon([(x, y, z + width(y)) for x, y in profile], part)
        self.polygon([(x, y, z - width(y)) for x, y in reversed(profile)], part)
        for (xa, ya), (xb, yb) in zip(profile, [*profile[1:], profile[0]], strict=True):
            a, b = width(ya), width(yb)
            self.polygon([(xa, ya, z - a), (xb, yb, z - b), (xb, yb, z + b), (xa, ya, z + a)], part)

    def box(self, x: tuple[float, float], y: tuple[float, float], part: Part, half: float, z: float = 0.0) -> None:
        self.prism([(x[0], y[0]), (x[1], y[0]), (x[1], y[1]), (x[0], y[1])], part, half, z=z)

    def sides(self, outline: Points, part: Part, width: Callable[[float], float]) -> None:
        """A flat outline just outside of both flanks."""
        self.polygon([(x, y, width(y) + 0.012) for x, y in outline], part)
        self.polygon([(x, y, -width(y) - 0.012) for x, y in reversed(outline)], part)

    def panel(
        self, lower: tuple[float, float], upper: tuple[float, float], part: Part, low: float, high: float
    ) -> None:
        """A sheet across the car between two points of the x-y plane, seen from both sides."""
        (xa, ya), (xb, yb) = lower, upper
        sheet = [(xa, ya, -low), (xb, yb, -high), (xb, yb, high), (xa, ya, low)]
        self.polygon(sheet, part)
        self.polygon(sheet[::-1], part)

    def cabin(
        self,
        base: tuple[float, float],
        roof: tuple[float, float],
        y: tuple[float, float],
        half: float,
        windows: int,
        part: Part = Part.CABIN,
    ) -> None:
        """A greenhouse: sloping screens at both ends, `windows` panes on each flank."""
        (y0, y1), top = y, half * 0.82
        profile = [(base[0], y0), (base[1], y0), (roof[1], y1), (roof[0], y1)]
        width = _width(profile, half, top)
        self.prism(profile, part, half, top)
        low, high = y0 + 0.10 * (y1 - y0), y0 + 0.86 * (y1 - y0)

        def edge(end: int, level: float) -> float:
            return base[end] + (roof[end] - base[end]) * (level - y0) / (y1 - y0)

        def at(share: float, level: float) -> tuple[float, float]:
            return edge(0, level) + (edge(1, level) - edge(0, level)) * (0.06 + 0.88 * share), level

        for end, out in ((0, -0.02), (1, 0.02)):
            ends = [(edge(end, level) + out, level) for level in (low, high)]
            self.panel(ends[0], ends[1], Part.GLASS, 0.86 * width(low), 0.86 * width(high))
        for k in range(windows):
            left, right = (k + 0.12) / windows, (k + 0.88) / windows
            self.sides([at(left, low), at(right, low), at(right, high), at(left, high)], Part.GLASS, width)

    def wheels(self, axles: Sequence[float], radius: float, half: float) -> None:
        for axle in axles:
            for z in (half - 0.14, 0.14 - half):
                self.prism(_circle(axle, radius, radius), Part.TYRE, 0.18, z=z)
            self.sides(_circle(axle, radius, 0.55 * radius), Part.HUB, lambda _: half + 0.04)

    def lights(self, length: float, y: float, half: float, grille: bool = True) -> None:
        """Headlights and a dark grille at the nose, tail lights and a pale number plate at the tail."""
        for part, x in ((Part.HEADLIGHT, length / 2), (Part.TAILLIGHT, -length / 2)):
            for side in (-1, 1):
                self.box((x - 0.04, x + 0.04), (y - 0.13, y + 0.13), part, 0.19 * half, z=side * 0.76 * half)
        if grille:
            self.box((length / 2 - 0.03, length / 2 + 0.03), (y - 0.12, y + 0.08), Part.TRIM, 0.45 * half)
        self.box((-length / 2 - 0.03, -length / 2 + 0.03), (y - 0.12, y + 0.06), Part.HUB, 0.3 * half)

    def hull(self, length: float, y: tuple[float, float], half: float) -> None:
        """The lower body of a car, bevelled at its upper edges."""
        x, (y0, y1) = length / 2, y
        self.prism([(-x, y0), (x, y0), (x, y1 - 0.16), (x - 0.16, y1), (-x + 0.1, y1), (-x, y1 - 0.1)], Part.BODY, half)


def _circle(x: float, y: float, radius: float) -> list[tuple[float, float]]:
    """Twelve points around a centre, counter-clockwise."""
    angles = np.linspace(0, 2 * np.pi, 13)[:-1]
    return [(x + radius * c, y + radius * s) for c, s in zip(np.cos(angles), np.sin(angles), strict=True)]


def _width(profile: Points, half: float, top: float) -> Callable[[float], float]:
    heights = [y for _, y in profile]
    y0, y1 = min(heights), max(heights)
    return lambda y: half + (top - half) * (y - y0) / (y1 - y0)


def _sedan(mesh: Mesh, length: float) -> None:
    mesh.hull(4.5 * length, (0.32, 1.0), 0.95)
    mesh.cabin((-1.35, 0.95), (-0.75, 0.35), (1.0, 1.68), 0.88, windows=2)
    mesh.wheels((-1.35 * length, 1.4 * length), 0.38, 0.95)
    mesh.lights(4.5 * length, 0.72, 0.95)


def _hatchback(mesh: Mesh, length: float) -> None:
    mesh.hull(2.9 * length, (0.32, 1.12), 0.92)
    mesh.cabin((-1.44 * length, 0.95), (-1.30 * length, 0.35), (1.12, 2.05), 0.88, windows=1)
    mesh.wheels((-0.98 * length, 0.98 * length), 0.42, 0.92)
    mesh.lights(2.9 * length, 0.82, 0.92)


def _suv(mesh: Mesh, length: float) -> None:
    nose = 2.1 * length
    mesh.hull(2 * nose, (0.68, 1.45), 1.08)
    mesh.cabin((-nose + 0.05, 0.85), (-nose + 0.12, 0.55), (1.45, 2.25), 1.02, windows=3)
    for z in (-0.7, 0.7):
        mesh.box((-nose + 0.3, 0.45), (2.33, 2.45), Part.TRIM, 0.08, z=z)
    mesh.box((-1.5, -0.1), (2.33, 2.62), Part.TRIM, 0.55)
    for x, radius, part in ((-nose - 0.22, 0.52, Part.TYRE), (-nose - 0.24, 0.28, Part.HUB)):
        mesh.polygon([(x, y, z) for z, y in _circle(0, 1.35, radius)], part)  # the spare wheel
    mesh.box((-nose - 0.2, -nose), (0.9, 1.8), Part.TYRE, 0.42)
    mesh.box((-nose - 0.1, nose + 0.12), (0.62, 0.78), Part.TRIM, 1.12)
    mesh.wheels((-1.25 * length, 1.3 * length), 0.6, 1.1)
    mesh.lights(2 * nose, 1.15, 1.08)


def _pickup(mesh: Mesh, length: float) -> None:
    tail, wall = -2.75 * length, 0.09
    mesh.prism([(-0.35, 0.45), (2.4, 0.45), (2.4, 1.05), (2.25, 1.2), (-0.35, 1.2)], Part.BODY, 1.0)
    mesh.cabin((-0.35, 1.35), (-0.28, 0.85), (1.2, 2.0), 0.94, windows=1)
    mesh.box((tail, -0.35), (0.45, 0.62), Part.TRIM, 0.9)
    for z in (-1.0 + wall, 1.0 - wall):
        mesh.box((tail, -0.35), (0.5, 1.25), Part.BODY, wall, z=z)
    mesh.box((tail, tail + 2 * wall), (0.5, 1.25), Part.BODY, 1.0)
    mesh.wheels((tail + 1.0, 1.5), 0.5, 1.0)
    for part, x in ((Part.HEADLIGHT, 2.4), (Part.TAILLIGHT, tail)):
        for z in (-0.8, 0.8):
            mesh.box((x - 0.04, x + 0.04), (0.75, 1.0), part, 0.16, z=z)
    mesh.box((2.37, 2.43), (0.72, 0.95), Part.TRIM, 0.45)


def _coupe(mesh: Mesh, length: float) -> None:
    x = 2.2 * length
    profile = [(-x, 0.24), (x, 0.24), (x, 0.42), (0.8, 0.86), (-x + 0.1, 0.92), (-x, 0.8)]
    mesh.prism(profile, Part.BODY, 1.05)
    mesh.cabin((-1.9, 0.85), (-0.55, -0.15), (0.86, 1.36), 0.86, windows=1)
    for z in (-0.75, 0.75):
        mesh.box((-x + 0.05, -x + 0.25), (0.9, 1.5), Part.TRIM, 0.06, z=z)
    mesh.box((-x - 0.25, -x + 0.4), (1.5, 1.6), Part.BODY, 1.1)
    mesh.wheels((-1.38 * length, 1.35 * length), 0.42, 1.05)
    mesh.lights(2 * x, 0.52, 1.05, grille=False)


def _convertible(mesh: Mesh, length: float) -> None:
    mesh.hull(4.1 * length, (0.32, 1.0), 0.95)
    mesh.box((-1.25, 0.55), (0.95, 1.03), Part.TRIM, 0.76)
    for x in (-0.1, -0.95):
        for z in (-0.38, 0.38):
            mesh.box((x - 0.38, x + 0.12), (1.0, 1.16), Part.SEAT, 0.28, z=z)
            mesh.prism([(x - 0.42, 1.0), (x - 0.2, 1.0), (x - 0.3, 1.62), (x - 0.48, 1.62)], Part.SEAT, 0.26, z=z)
    mesh.panel((0.85, 1.0), (0.4, 1.62), Part.GLASS, 0.84, 0.74)
    mesh.wheels((-1.25 * length, 1.3 * length), 0.4, 0.95)
    mesh.lights(4.1 * length, 0.72, 0.95)


def _van(mesh: Mesh, length: float) -> None:
    x = 2.2 * length
    mesh.prism([(-x, 0.36), (x, 0.36), (x, 1.0), (x - 0.3, 1.2), (x - 1.05, 2.35), (-x + 0.05, 2.35)], Part.BODY, 1.0)
    mesh.panel((x - 0.32, 1.27), (x - 0.95, 2.23), Part.GLASS, 0.88, 0.88)
    mesh.sides([(x - 1.55, 1.3), (x - 0.5, 1.3), (x - 1.0, 2.1), (x - 1.55, 2.1)], Part.GLASS, lambda _: 1.0)
    mesh.sides([(-x + 0.2, 1.02), (x - 1.75, 1.02), (x - 1.75, 1.10), (-x + 0.2, 1.10)], Part.TRIM, lambda _: 1.0)
    for z in (-0.48, 0.48):
        mesh.box((-x - 0.01, -x + 0.1), (1.4, 2.1), Part.GLASS, 0.36, z=z)
    mesh.wheels((-1.35 * length, 1.35 * length), 0.42, 1.0)
    mesh.lights(2 * x, 0.78, 1.0)


def _bus(mesh: Mesh, length: float) -> None:
    x, windows = 3.3 * length, 6
    mesh.box((-x, x), (0.4, 2.9), Part.BODY, 1.15)
    mesh.box((x - 0.05, x + 0.02), (1.3, 2.6), Part.GLASS, 1.02)
    mesh.box((-x - 0.02, -x + 0.05), (1.9, 2.6), Part.GLASS, 0.8)
    pitch = (2 * x - 0.3) / windows
    for k in range(windows):
        left = -x + 0.25 + k * pitch
        mesh.sides(
            [(left, 1.65), (left + 0.78 * pitch, 1.65), (left + 0.78 * pitch, 2.5), (left, 2.5)],
            Part.GLASS,
            lambda _: 1.15,
        )
    for start in (-x + 0.8, 0.7):
        mesh.box((start, start + 1.2), (2.9, 3.06), Part.TRIM, 0.6)
    mesh.wheels((-2.0 * length, 2.1 * length), 0.5, 1.15)
    mesh.lights(2 * x, 0.85, 1.15, grille=False)


def _truck(mesh: Mesh, length: float) -> None:
    x = 3.2 * length
    mesh.box((-x, x - 2.1), (1.0, 3.1), Part.CARGO, 1.2)
    mesh.box((-x, x - 0.3), (0.55, 0.85), Part.TRIM, 0.75)
    mesh.prism([(x - 1.6, 0.5), (x, 0.5), (x, 1.25), (x - 0.25, 2.3), (x - 1.6, 2.3)], Part.BODY, 1.05)
    mesh.panel((x + 0.0, 1.35), (x - 0.2, 2.18), Part.GLASS, 0.92, 0.92)
    mesh.sides([(x - 1.2, 1.35), (x - 0.15, 1.35), (x - 0.35, 2.1), (x - 1.2, 2.1)], Part.GLASS, lambda _: 1.05)
    mesh.wheels((-x + 0.75, -x + 1.95, x - 0.85), 0.55, 1.1)
    mesh.lights(2 * x, 0.85, 1.05)


def _limousine(mesh: Mesh, length: float) -> None:
    x = 3.6 * length
    mesh.hull(2 * x, (0.32, 1.0), 0.95)
    mesh.cabin((-x + 0.8, x - 1.3), (-x + 1.3, x - 1.9), (1.0, 1.68), 0.88, windows=6)
    mesh.wheels((-x + 0.9, x - 0.9), 0.4, 0.95)
    mesh.lights(2 * x, 0.72, 0.95)


_BUILDERS: dict[str, Callable[[Mesh, float], None]] = {
    "sedan": _sedan,
    "hatchback": _hatchback,
    "suv": _suv,
    "pickup": _pickup,
    "coupe": _coupe,
    "convertible": _convertible,
    "van": _van,
    "bus": _bus,
    "truck": _truck,
    "limousine": _limousine,
}
MODELS = tuple(_BUILDERS)


@cache
def build(model: str, length: float = 1.0) -> Body:
    """The body of a car model, `length` times as long as usual."""
    mesh = Mesh()
    _BUILDERS[model](mesh, length)
    return mesh.finish()
