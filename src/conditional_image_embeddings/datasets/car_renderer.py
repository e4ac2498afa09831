"""Renders of toy cars, by content: model, colours, viewpoint and paint pattern are chosen, the rest is left to chance.

An orthographic rasteriser with a depth buffer in numpy; Pillow fills the polygons. It takes milliseconds per image and
knows which part of a car every pixel shows, which the training of the builtin models uses.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from .car_bodies import MODELS, PAINTED, Body, Part, build
from .car_colors import COLORS, HSV, rgb, sample_color

VIEWPOINTS = ("front", "rear", "side", "above")
PATTERNS = ("plain", "striped", "dotted", "checkered")

_SUPERSAMPLING = 2
_PART_COLORS = {
    Part.GLASS: (0.20, 0.27, 0.34),
    Part.TRIM: (0.17, 0.17, 0.18),
    Part.SEAT: (0.62, 0.42, 0.26),
    Part.TYRE: (0.10, 0.10, 0.11),
    Part.HUB: (0.78, 0.78, 0.80),
    Part.HEADLIGHT: (1.00, 0.96, 0.72),
    Part.TAILLIGHT: (0.78, 0.06, 0.10),
}


@dataclass(frozen=True)
class Scene:
    """What an image shows. Colours are stored triples (see `car_colors`); `seed` decides the rest."""

    model: str
    color_hsv: HSV
    background_hsv: HSV
    viewpoint: str
    pattern: str
    seed: int


def is_held_out(model: str, color: str) -> bool:
    """Whether the builtin models never saw a car of this model in this colour: one pair in five."""
    return (MODELS.index(model) + COLORS.index(color)) % 5 == 0


def sample_scene(rng: np.random.Generator, held_out: bool = True) -> Scene:
    """A scene whose named factors are independent and uniform; without the held-out pairs if so asked."""
    while True:
        model, color = str(rng.choice(MODELS)), str(rng.choice(COLORS))
        if held_out or not is_held_out(model, color):
            break
    return Scene(
        model=model,
        color_hsv=sample_color(color, rng),
        background_hsv=sample_color(str(rng.choice(COLORS)), rng),
        viewpoint=str(rng.choice(VIEWPOINTS)),
        pattern=str(rng.choice(PATTERNS)),
        seed=int(rng.integers(2**63)),
    )


def render(scene: Scene, size: int = 96) -> NDArray[np.uint8]:
    """The image of a scene, (size, size, 3), RGB."""
    return render_with_parts(scene, size)[0]


def render_with_parts(scene: Scene, size: int = 96) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The image of a scene, (size, size, 3), and the `Part` that each of its pixels shows, (size, size)."""
    rng = np.random.default_rng(scene.seed)
    side = size * _SUPERSAMPLING
    body = build(scene.model, length=round(rng.uniform(0.94, 1.06), 2))  # rounded: bodies are cached
    camera = _Camera.aim(scene.viewpoint, body, side, rng)
    background = np.array(rgb(*scene.background_hsv))
    canvas, parts = _backdrop(background, camera, body, side, rng)
    _paint_car(canvas, parts, scene, body, camera, rng)
    canvas *= rng.uniform(0.94, 1.04)
    fine = Image.fromarray((canvas.clip(0, 1) * 255).astype(np.uint8))
    image = np.asarray(fine.resize((size, size), Image.Resampling.BOX), dtype=np.float32)
    image = image + rng.normal(0, rng.uniform(0.5, 3.0), image.shape).astype(np.float32)
    return image.clip(0, 255).astype(np.uint8), parts[::_SUPERSAMPLING, ::_SUPERSAMPLING].copy()


@dataclass(frozen=True)
class _Camera:
    """An orthographic view: `rotation` has the rows image right, image up and towards the viewer."""

    rotation: NDArray[np.float64]
    scale: float  # pixels a unit
    offset: NDArray[np.float64]

    @classmethod
    def aim(cls, viewpoint: str, body: Body, side: int, rng: np.random.Generator) -> _Camera:
        # Yaw 0 is a car that drives to the right. Gaps between the ranges keep the names unambiguous.
        yaw, pitch = rng.uniform(-10, 10), rng.uniform(8, 20)
        oblique = rng.uniform(34, 58)
        mirrored = rng.random() < 0.5
        if viewpoint in ("side", "above") and mirrored:
            yaw += 180
        elif viewpoint in ("front", "rear"):
            yaw = 180 - oblique if mirrored else oblique
            yaw = -yaw if viewpoint == "front" else yaw
        if viewpoint == "above":
            yaw, pitch = yaw + rng.uniform(-50, 50), rng.uniform(50, 64)
        rotation = _rotation(*np.radians([yaw, pitch, rng.uniform(-4, 4)]))
        points = body.vertices @ rotation[:2].T
        low, high = points.min(0), points.max(0)
        width, height = high - low
        scale = side * min(rng.uniform(0.80, 0.95) / width, rng.uniform(0.72, 0.86) / height)
        room = side - scale * (high - low)
        corner = room * rng.uniform(0.15, 0.85, size=2)
        return cls(rotation, scale, np.array([corner[0] - scale * low[0], side - corner[1] + scale * low[1]]))

    def pixels(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Image coordinates, (n, 2), and height towards the viewer in units, as a third column."""
        seen = points @ self.rotation.T
        seen[:, :2] = seen[:, :2] * (self.scale, -self.scale) + self.offset
        return seen

    def points(
        self, columns: NDArray[np.intp], rows: NDArray[np.intp], depth: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        """The car's coordinates of pixels whose depth is known: the inverse of `pixels`."""
        right = (columns - self.offset[0]) / self.scale
        up = (self.offset[1] - rows) / self.scale
        return np.stack([right, up, depth], axis=-1) @ self.rotation


def _rotation(yaw: float, pitch: float, roll: float) -> NDArray[np.float64]:
    (cy, cp, cr), (sy, sp, sr) = np.cos([yaw, pitch, roll]), np.sin([yaw, pitch, roll])
    turn = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    tilt = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    lean = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    rotation: NDArray[np.float64] = lean @ tilt @ turn
    return rotation


def _backdrop(
    color: NDArray[np.float64], camera: _Camera, body: Body, side: int, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """A wall, a floor, some shapes on the wall and the car's shadow, all in shades of one colour."""
    shade = Image.new("F", (side, side), rng.uniform(0.94, 1.02))
    parts = Image.new("L", (side, side), Part.BACKGROUND)
    draw = ImageDraw.Draw(shade)
    horizon = rng.uniform(0.25, 0.6) * side
    for _ in range(rng.integers(0, 5)):
        x, y = rng.uniform(-0.1, 1, size=2) * (side, horizon)
        width, height = rng.uniform(0.06, 0.3, size=2) * side
        shape = draw.rectangle if rng.random() < 0.5 else draw.ellipse
        shape(
            [x, y, x + width, min(y + height, horizon)] if y < horizon - 2 else [x, 0, x + width, 2],
            fill=rng.uniform(0.84, 1.06),
        )
    draw.rectangle([0, horizon, side, side], fill=rng.uniform(0.82, 0.92))
    (x0, _, z0), (x1, _, z1) = body.vertices.min(0), body.vertices.max(0)
    for margin, tone in ((0.22, 0.72), (0.05, 0.55)):
        corners = [
            (x0 - margin, 0, z0),
            (x0, 0, z0 - margin),
            (x1, 0, z0 - margin),
            (x1 + margin, 0, z0),
            (x1 + margin, 0, z1),
            (x1, 0, z1 + margin),
            (x0, 0, z1 + margin),
            (x0 - margin, 0, z1),
        ]
        outline = [(x, y) for x, y, _ in camera.pixels(np.array(corners, dtype=float)).tolist()]
        draw.polygon(outline, fill=tone)
        ImageDraw.Draw(parts).polygon(outline, fill=int(Part.SHADOW))
    slope = np.linspace(1 + rng.uniform(-0.06, 0.06), 1, side, dtype=np.float32)
    shades = np.asarray(shade) * slope[:, None]
    return shades[..., None] * color.astype(np.float32), np.array(parts)


def _paint_car(
    canvas: NDArray[np.float32],
    parts: NDArray[np.uint8],
    scene: Scene,
    body: Body,
    camera: _Camera,
    rng: np.random.Generator,
) -> None:
    seen = body.normals @ camera.rotation.T
    owner, depth = _rasterise(body, camera.pixels(body.vertices), seen, camera.scale, canvas.shape[0])
    rows, columns = np.nonzero(owner >= 0)
    face = owner[rows, columns]
    part = body.parts[face]
    points = camera.points(columns, rows, depth[rows, columns])

    paint = np.array(rgb(*scene.color_hsv))
    luminance = float(paint @ (0.3, 0.59, 0.11))
    colors = np.stack([_PART_COLORS.get(p, paint) for p in Part])
    if luminance < 0.2:  # windows and trim of a black car would drown in it
        colors[[Part.GLASS, Part.TRIM]] += 0.16
    colors[Part.DECAL] = 0.35 * paint + (0.65 if luminance < 0.36 else 0.0)
    extent = canvas.shape[0] / camera.scale
    decal = np.isin(part, PAINTED) & _pattern(scene.pattern, points, np.abs(body.normals).argmax(1)[face], extent, rng)
    part[decal] = Part.DECAL

    light = np.array([rng.uniform(-0.6, 0.6), 1.0, rng.uniform(0.2, 0.9)])
    lambert = (seen @ (light / np.linalg.norm(light))).clip(0)
    ambient = rng.uniform(0.62, 0.74)
    brightness = (ambient + (1.08 - ambient) * lambert)[face] * (0.94 + 0.06 * points[:, 1] / points[:, 1].max())
    gloss = (0.16 * lambert**6)[face]
    canvas[rows, columns] = colors[part] * brightness[:, None] + gloss[:, None]
    outlined = np.zeros_like(owner, dtype=bool)
    outlined[:, 1:] = owner[:, 1:] != owner[:, :-1]
    outlined[1:] |= owner[1:] != owner[:-1]
    canvas[outlined & (owner >= 0)] *= 0.72
    parts[rows, columns] = part


def _rasterise(
    body: Body, corners: NDArray[np.float64], normals: NDArray[np.float64], scale: float, side: int
) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
    """For every pixel the index of the nearest face (-1: none) and its height towards the viewer."""
    owner = np.full((side, side), -1, dtype=np.int16)
    nearest = np.full((side, side), -np.inf, dtype=np.float32)
    first = body.starts[:-1]
    low = np.floor(np.minimum.reduceat(corners[:, :2], first)).astype(int).clip(0, side - 1)
    high = np.ceil(np.maximum.reduceat(corners[:, :2], first)).astype(int).clip(0, side - 1) + 1
    for k in np.flatnonzero(normals[:, 2] > 1e-6):
        (left, top), (right, bottom) = low[k].tolist(), high[k].tolist()
        polygon = corners[body.starts[k] : body.starts[k + 1]]
        mask = Image.new("L", (right - left, bottom - top))
        ImageDraw.Draw(mask).polygon((polygon[:, :2] - low[k]).ravel().tolist(), fill=1)
        (x0, y0, d0), (nx, ny, nz) = polygon[0], normals[k]
        across = -nx / nz / scale * (np.arange(left, right) - x0)
        down = ny / nz / scale * (np.arange(top, bottom) - y0)
        depth = (d0 + down[:, None] + across).astype(np.float32)
        window = (slice(top, bottom), slice(left, right))
        wins = (depth > nearest[window]) & np.asarray(mask, dtype=bool)
        np.copyto(nearest[window], depth, where=wins)
        np.copyto(owner[window], k, where=wins, casting="unsafe")
    return owner, nearest


def _pattern(
    name: str, points: NDArray[np.float64], axis: NDArray[np.intp], extent: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Where the contrasting paint goes: flat on each face, in the two coordinates that its normal is not along."""
    period = extent * rng.uniform(0.088, 0.105)
    u = np.where(axis == 0, points[:, 2], points[:, 0]) / period + rng.random()
    v = np.where(axis == 1, points[:, 2], points[:, 1]) / period + rng.random()
    contrasting: NDArray[np.bool_] = np.zeros(len(points), dtype=bool)
    if name == "striped":
        contrasting = u % 1 < 0.42
    elif name == "dotted":
        contrasting = (u % 1 - 0.5) ** 2 + (v % 1 - 0.5) ** 2 < 0.31**2
    elif name == "checkered":
        contrasting = (u % 1 < 0.5) == (v % 1 < 0.5)
    return contrasting
