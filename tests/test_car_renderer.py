"""The renderer: labels that hold by the paper's rule, images that repeat, parts that are where they should be."""

from dataclasses import replace

import numpy as np
import pytest

from conditional_image_embeddings.datasets.car_bodies import MODELS, Part, build
from conditional_image_embeddings.datasets.car_colors import COLORS, CSS_COLORS, colour_name, rgb, sample_color
from conditional_image_embeddings.datasets.car_renderer import (
    PATTERNS,
    VIEWPOINTS,
    Scene,
    is_held_out,
    render,
    render_with_parts,
    sample_scene,
)

SCENE = Scene("pickup", (0.5, 2.0, 2.0), (0.5 + 2 / 3 - 1, 2.0, 2.0), "side", "plain", seed=7)


@pytest.mark.parametrize(
    ("stored", "name"),
    [
        ((0.5, 2.0, 2.0), "red"),
        ((0.0, 2.0, 2.0), "aqua"),
        ((0.25, 0.0, 2.0), "white"),
        ((0.25, 0.0, 1.0), "gray"),
        ((0.9, 2.0, 0.0), "black"),
        ((0.5 + 1 / 3, 2.0, 1.0), "green"),
    ],
)
def test_colours_are_named_by_the_rule_of_the_paper(stored: tuple[float, float, float], name: str) -> None:
    assert colour_name(*stored) == name


def test_every_css_colour_is_called_by_its_name() -> None:
    import colorsys

    for name, (red, green, blue) in CSS_COLORS.items():
        hue, sat, val = colorsys.rgb_to_hsv(red / 255, green / 255, blue / 255)
        assert colour_name((hue + 0.5) % 1, 2 * sat, 2 * val) == name


WEBCOLORS = (  # 1.5, which the paper's code pins: CSS21_HEX_TO_NAMES in its order
    *("00ffff aqua", "000000 black", "0000ff blue", "ff00ff fuchsia", "008000 green", "808080 gray", "00ff00 lime"),
    *("800000 maroon", "000080 navy", "808000 olive", "800080 purple", "ff0000 red", "c0c0c0 silver", "008080 teal"),
    *("ffffff white", "ffff00 yellow", "ffa500 orange"),
)


def test_of_names_equally_near_the_last_in_webcolors_order_counts() -> None:
    names = [line.split() for line in WEBCOLORS]
    assert [(tuple(bytes.fromhex(color)), name) for color, name in names] == [(c, n) for n, c in CSS_COLORS.items()]
    rng, ties = np.random.default_rng(0), 0
    for hue, sat, val in rng.uniform(0, [1, 2, 2], (20_000, 3)):
        color = [int(255 * channel) for channel in rgb(hue, sat, val)]
        by_distance: dict[int, list[str]] = {}
        for code, name in names:
            distance = sum((a - b) ** 2 for a, b in zip(color, bytes.fromhex(code), strict=True))
            by_distance.setdefault(distance, []).append(name)
        nearest = by_distance[min(by_distance)]
        ties += len(nearest) > 1
        assert colour_name(hue, sat, val) == nearest[-1]
    assert ties > 50
    assert colour_name(0.877075, 1.559076, 1.198231) == "teal"  # as near to green


def test_a_colour_drawn_equally_near_another_name_is_moved_and_nothing_else() -> None:
    scene = sample_scene(np.random.default_rng([42, 693]))  # its colour was drawn as above
    assert scene.color_hsv == pytest.approx((0.877075, 1.559076, 1.198231), abs=0.006)
    assert colour_name(*scene.color_hsv) == "green"
    assert scene.background_hsv == (0.347011, 1.794218, 1.865316)
    assert (scene.model, scene.viewpoint, scene.pattern, scene.seed) == (
        "pickup",
        "side",
        "striped",
        3142574783301780167,
    )


@pytest.mark.parametrize("name", COLORS)
def test_sampled_colours_keep_their_name(name: str) -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        stored = sample_color(name, rng)
        assert colour_name(*stored) == name
        assert all(0 <= channel <= 1 for channel in rgb(*stored))


def test_a_scene_always_gives_the_same_image() -> None:
    image = render(SCENE)
    assert image.shape == (96, 96, 3)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, render(SCENE))
    assert (image != render(replace(SCENE, seed=8))).any()
    assert render(SCENE, size=40).shape == (40, 40, 3)


@pytest.mark.parametrize("viewpoint", VIEWPOINTS)
@pytest.mark.parametrize("model", MODELS)
def test_every_car_is_whole_and_large_from_every_side(model: str, viewpoint: str) -> None:
    _, parts = render_with_parts(replace(SCENE, model=model, viewpoint=viewpoint))
    car = parts > Part.SHADOW
    assert car.mean() > 0.1
    edges = np.concatenate([car[0], car[-1], car[:, 0], car[:, -1]])
    assert not edges.any()
    assert Part.TYRE in parts or viewpoint == "above"
    if viewpoint == "front":
        assert (parts == Part.HEADLIGHT).sum() > (parts == Part.TAILLIGHT).sum()
    if viewpoint == "rear":
        assert Part.TAILLIGHT in parts


def test_body_and_background_show_their_colours() -> None:
    image, parts = render_with_parts(SCENE)  # red on blue
    red, _, blue = (int(channel) for channel in np.median(image[parts == Part.BODY], axis=0))
    assert red > 2 * blue
    red, _, blue = (int(channel) for channel in np.median(image[parts == Part.BACKGROUND], axis=0))
    assert blue > 2 * red


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_leave_most_of_the_paint(pattern: str) -> None:
    _, parts = render_with_parts(replace(SCENE, pattern=pattern))
    decal, body = (parts == Part.DECAL).sum(), np.isin(parts, [Part.BODY, Part.CABIN]).sum()
    if pattern == "plain":
        assert decal == 0
    else:
        assert 0.15 * body < decal < 1.3 * body


def test_factors_are_uniform_and_a_fifth_of_the_pairs_can_be_left_out() -> None:
    rng = np.random.default_rng(0)
    scenes = [sample_scene(rng, held_out=False) for _ in range(600)]
    pairs = {(scene.model, colour_name(*scene.color_hsv)) for scene in scenes}
    assert not any(is_held_out(model, color) for model, color in pairs)
    assert {scene.model for scene in scenes} == set(MODELS)
    assert {scene.viewpoint for scene in scenes} == set(VIEWPOINTS)
    held_out = [(model, color) for model in MODELS for color in COLORS if is_held_out(model, color)]
    assert len(held_out) == len(MODELS) * len(COLORS) // 5
    assert {model for model, _ in held_out} == set(MODELS)


@pytest.mark.parametrize("model", MODELS)
def test_faces_are_flat(model: str) -> None:
    body = build(model)
    for start, stop, normal in zip(body.starts[:-1], body.starts[1:], body.normals, strict=True):
        face = body.vertices[start:stop]
        assert np.abs((face - face[0]) @ normal).max() < 1e-6
