"""Linear maps from texts: laws that hold for any vectors, slow rivals, and what they do for a real model's images."""

import logging
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

import conditional_image_embeddings as cie
from conditional_image_embeddings.datasets.car_colors import colour_name
from conditional_image_embeddings.datasets.car_renderer import render, sample_scene
from conditional_image_embeddings.errors import ConditionError
from conditional_image_embeddings.evaluation import scores
from conditional_image_embeddings.inputs.aspect_texts import texts as texts_of
from conditional_image_embeddings.methods import clay, indirect
from conditional_image_embeddings.methods.unit_vectors import mean_direction, project

Array = NDArray[np.float64]
Cars = tuple[Array, dict[str, list[str]], dict[str, Array]]


def unit(vectors: Array) -> Array:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def sample(seed: int, n: int, d: int, *, spread: float = 1.0) -> Array:
    """n vectors around a common direction, as a dual encoder's are, of any length."""
    rng = np.random.default_rng(seed)
    vectors = unit(rng.normal(size=(1, d))) + spread * rng.normal(size=(n, d)) / math.sqrt(d)
    return vectors * rng.uniform(0.5, 20, (n, 1))


seeds = st.integers(0, 10_000)
sizes = st.tuples(seeds, st.integers(2, 12), st.integers(2, 10), st.integers(1, 15))  # seed, n, d, k


# InDiReCT


@given(sizes)
@settings(max_examples=25)
def test_svd_has_orthonormal_rows_and_zeros_beyond_the_rank(size: tuple[int, int, int, int]) -> None:
    seed, n, d, k = size
    (matrix,) = indirect.fit([sample(seed, n, d)], components=k, solver="svd")
    assert matrix.shape == (k, d)
    assert matrix.dtype == np.float32
    rank = min(n, d, k)
    assert np.abs(matrix @ matrix.T - np.diag([1.0] * rank + [0.0] * (k - rank))).max() < 1e-5
    images = project(matrix, sample(seed + 1, 5, d))
    assert images.dtype == np.float32
    assert np.abs(np.linalg.norm(images, axis=1) - 1).max() < 1e-5


@given(sizes, st.sampled_from([-3.0, 0.2, 40.0]))
@settings(max_examples=50)
def test_the_loss_sees_neither_a_rotation_of_the_rows_nor_their_common_scale(
    size: tuple[int, int, int, int], scale: float
) -> None:
    seed, n, d, k = size
    rng = np.random.default_rng(seed)
    matrix, texts = rng.normal(size=(k, d)), sample(seed, n, d)
    rotation, _ = np.linalg.qr(rng.normal(size=(k, k)))
    assert indirect.loss(scale * rotation @ matrix, texts) == pytest.approx(indirect.loss(matrix, texts), abs=1e-5)


@given(sizes)
@settings(max_examples=50)
def test_of_one_row_space_orthonormal_rows_lose_least(size: tuple[int, int, int, int]) -> None:
    seed, n, d, k = size
    matrix, texts = np.random.default_rng(seed).normal(size=(k, d)), sample(seed, n, d)
    orthonormal = np.linalg.qr(matrix.T)[0].T
    assert indirect.loss(orthonormal, texts) <= indirect.loss(matrix, texts) + 1e-6


@given(seeds, st.integers(2, 10), st.integers(2, 8))
@settings(max_examples=25)
def test_svd_loses_nothing_with_as_many_components_as_texts_and_less_with_every_one(seed: int, n: int, d: int) -> None:
    texts = sample(seed, n, d)
    fits = [indirect.fit([texts], components=k, solver="svd")[0] for k in range(1, n + 3)]
    assert indirect.loss(fits[-1], texts) < 1e-3
    kept = [np.mean(np.linalg.norm(unit(texts) @ matrix.T, axis=1) ** 2) for matrix in fits]
    assert np.diff(kept).min() > -1e-6


def test_the_loss_by_hand() -> None:
    texts = np.array([[3.0, 4.0, 0.0], [0.0, 0.0, 2.0]])
    keeps_the_first_axis = np.array([[1.0, 0.0, 0.0]])
    assert indirect.loss(keeps_the_first_axis, texts) == pytest.approx((math.acos(0.6) + math.pi / 2) / 2, abs=1e-6)


def _slow(texts: Array, k: int, seed: int, steps: int) -> tuple[Array, float]:
    """The paper's loop in plain torch, in double precision."""
    x = torch.from_numpy(unit(texts))
    start = np.random.default_rng(seed).normal(0, 0.1, (k, x.shape[1]))
    matrix = torch.from_numpy(start).requires_grad_()
    optimizer = torch.optim.Adam([matrix], lr=0.01)
    best, best_loss, without = matrix.detach().clone(), math.inf, 0
    for _ in range(steps):
        value = torch.nn.functional.normalize(x @ matrix.T, dim=1)
        back = torch.nn.functional.normalize(value @ matrix, dim=1)
        cosine = (x * back).sum(1)
        assert cosine.max() < 1 - 1e-7  # so that plain arccos will do
        loss = torch.arccos(cosine).mean()
        without += 1
        if loss.item() < best_loss:
            best, best_loss, without = matrix.detach().clone(), loss.item(), 0
        if without == 100:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return best.numpy(), best_loss


@pytest.mark.parametrize(("n", "d", "k"), [(40, 12, 3), (25, 30, 6), (60, 16, 1)])
def test_adam_is_the_plain_slow_loop(n: int, d: int, k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    texts, images = sample(n, n, d), sample(1, 30, d)
    expected, expected_loss = _slow(texts, k, seed=7, steps=20_000)
    (matrix,) = indirect.fit([texts], components=k, seed=7)
    assert indirect.loss(matrix, texts) == pytest.approx(expected_loss, abs=1e-4)
    # Of a plateau's steps rounding picks the best: the images differ a little more than the loss.
    assert np.abs(project(matrix, images) - unit(unit(images) @ expected.T)).max() < 2e-2
    monkeypatch.setattr(indirect, "MAX_STEPS", 80)  # before that, step by step the same
    expected, _ = _slow(texts, k, seed=7, steps=80)
    assert np.abs(indirect.fit([texts], components=k, seed=7)[0] - expected).max() < 1e-4


def test_a_condition_does_not_depend_on_those_beside_it() -> None:
    sets = [sample(seed, n, 16) for seed, n in ((0, 5), (1, 40), (2, 12))]
    together = indirect.fit(sets, components=6)
    backwards = indirect.fit(sets[::-1], components=6)[::-1]
    for texts, one, other in zip(sets, together, backwards, strict=True):
        (alone,) = indirect.fit([texts], components=6)
        assert np.abs(one - alone).max() <= 1e-5
        assert np.abs(one - other).max() <= 1e-5


def test_the_seed_decides() -> None:
    texts = sample(0, 20, 8)
    one, same, other = (indirect.fit([texts], components=3, seed=seed)[0] for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert np.abs(one - other).max() > 1e-3


@pytest.mark.parametrize(
    ("texts", "k"),
    [
        (np.array([[1.0], [-1.0]]), 1),  # every cosine is exactly 1, where arccos has no slope
        (np.eye(3)[:2], 3),
        (sample(0, 4, 6), 20),  # more components than texts and dimensions
        (np.repeat(sample(0, 2, 6), 5, axis=0), 2),  # many times the same two
    ],
)
def test_adam_stays_finite_where_nothing_is_lost(texts: Array, k: int) -> None:
    (matrix,) = indirect.fit([texts], components=k)
    assert matrix.shape == (k, texts.shape[1])
    assert np.isfinite(matrix).all()
    assert indirect.loss(matrix, texts) < 0.1


def test_adam_says_when_it_was_stopped(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(indirect, "MAX_STEPS", 5)
    with caplog.at_level(logging.WARNING):
        (matrix,) = indirect.fit([sample(0, 20, 8)], components=3)
    assert "after 5 steps" in caplog.text
    assert np.isfinite(matrix).all()


def test_what_indirect_refuses() -> None:
    texts = sample(0, 5, 4)
    with pytest.raises(ValueError, match="adam, svd"):
        indirect.fit([texts], solver="pca")
    with pytest.raises(ValueError, match="components is 0"):
        indirect.fit([texts], components=0)
    with pytest.raises(ValueError, match=r"\(n, d\)"):
        indirect.fit(texts)  # one condition's texts where a sequence of conditions belongs


# CLAY


def _exp(base: Array, tangents: Array) -> Array:
    angle = np.linalg.norm(tangents, axis=1, keepdims=True)
    return np.cos(angle) * base + np.sinc(angle / np.pi) * tangents


@given(seeds, st.integers(1, 8), st.integers(2, 8))
@settings(max_examples=50)
def test_the_log_map_is_the_inverse_of_the_exponential_map(seed: int, n: int, d: int) -> None:
    rng = np.random.default_rng(seed)
    base, points = unit(rng.normal(size=d)), unit(rng.normal(size=(n, d)))
    points[0] = unit(base + 1e-9 * points[0])  # next to the base, where arccos would see nothing
    tangents = clay.log_map(base, points)
    assert np.abs(tangents @ base).max() < 1e-9
    assert np.abs(_exp(base, tangents) - points).max() < 1e-9
    assert np.isfinite(clay.log_map(base, np.stack([base, -base]))).all()


@given(seeds, st.integers(1, 8), st.integers(2, 8))
@settings(max_examples=50)
def test_the_reflection_swaps_two_directions_and_keeps_all_lengths_and_angles(seed: int, n: int, d: int) -> None:
    rng = np.random.default_rng(seed)
    source, target, vectors = unit(rng.normal(size=d)), unit(rng.normal(size=d)), rng.normal(size=(n, d))
    assert np.abs(clay.reflect(source[None], source, target) - target).max() < 1e-9
    assert np.abs(clay.reflect(target[None], source, target) - source).max() < 1e-9
    reflected = clay.reflect(vectors, source, target)
    assert np.abs(reflected @ reflected.T - vectors @ vectors.T).max() < 1e-9
    assert np.abs(clay.reflect(reflected, source, target) - vectors).max() < 1e-9
    assert np.array_equal(clay.reflect(vectors, source, source), vectors)


def _slow_clay(texts: Array, images: Array, k: int) -> Array:
    """Similarities (n, n) one image at a time: every image reflected by a matrix and taken to the tangent space."""
    from scipy import linalg

    def log(base: Array, point: Array) -> Array:
        angle = math.acos(np.clip(base @ point, -1, 1))
        return (point - math.cos(angle) * base) * angle / math.sin(angle)

    text_mean = unit(np.mean([unit(text) for text in texts], axis=0))
    image_mean = unit(np.mean([unit(image) for image in images], axis=0))
    normal = image_mean - text_mean
    mirror = np.eye(len(normal)) - 2 * np.outer(normal, normal) / (normal @ normal)
    assert np.abs(mirror @ image_mean - text_mean).max() < 1e-9
    tangents = np.array([log(text_mean, unit(text)) for text in texts])
    _, vectors = linalg.eigh(tangents.T @ tangents)
    subspace = vectors[:, ::-1][:, :k]
    inside = [log(text_mean, mirror @ unit(image)) @ subspace for image in images]
    return np.array([[a @ b / np.linalg.norm(a) / np.linalg.norm(b) for b in inside] for a in inside])


@given(seeds, st.integers(8, 15), st.integers(5, 10), st.integers(1, 4))
@settings(max_examples=25)
def test_clay_is_the_plain_slow_computation(seed: int, n: int, d: int, k: int) -> None:
    texts, images = sample(seed, n, d), sample(seed + 1, 12, d)
    projection = clay.fit(texts, mean_direction(images), components=k)
    vectors = clay.project(projection, images)
    assert vectors.shape == (12, k)
    assert vectors.dtype == np.float32
    assert np.abs(cie.similarity(vectors, vectors) - _slow_clay(texts, images, k)).max() < 1e-3


@given(sizes)
@settings(max_examples=25)
def test_more_components_than_the_texts_have_change_nothing(size: tuple[int, int, int, int]) -> None:
    seed, n, d, _ = size
    texts, images = sample(seed, n, d), sample(seed + 1, 6, d)
    few, many = (clay.fit(texts, mean_direction(images), components=k) for k in (min(n, d), 20))
    assert many.matrix.shape == (20, d)
    assert many.singular_values.shape == (20,)
    one, other = clay.project(few, images), clay.project(many, images)
    assert np.abs(cie.similarity(one, one) - cie.similarity(other, other)).max() < 1e-5


@given(seeds)
@settings(max_examples=25)
def test_the_order_of_the_texts_does_not_matter(seed: int) -> None:
    texts, images = sample(seed, 14, 9), sample(seed + 1, 6, 9)
    shuffled = np.random.default_rng(seed).permutation(texts)
    maps: list[Callable[[Array], NDArray[np.float32]]] = [
        lambda x: clay.project(clay.fit(x, mean_direction(images)), images),
        lambda x: project(indirect.fit([x], components=3, solver="svd")[0], images),
    ]
    for mapped in maps:
        one, other = mapped(texts), mapped(shuffled)
        assert np.abs(cie.similarity(one, one) - cie.similarity(other, other)).max() < 1e-3


@given(seeds, st.integers(3, 20))
@settings(max_examples=25)
def test_as_many_components_as_hold_four_fifths_of_the_variation(seed: int, n: int) -> None:
    texts = sample(seed, n, 8)
    k = len(clay.fit(texts).matrix)
    energy = clay.fit(texts, components=8).singular_values.astype(float) ** 2
    assert energy[:k].sum() >= (0.8 - 1e-6) * energy.sum()
    assert energy[: k - 1].sum() < (0.8 + 1e-6) * energy.sum()


def test_an_image_at_the_images_mean_has_nothing_in_the_subspace() -> None:
    texts, images = sample(0, 10, 8), sample(1, 50, 8)
    mean = mean_direction(images)
    assert np.abs(clay.fit(texts, mean).matrix @ mean).max() < 1e-6
    assert np.abs(clay.fit(texts, mean).matrix @ clay.fit(texts, mean).matrix.T - np.eye(3)).max() < 1e-5
    assert np.abs(clay.fit(texts).matrix @ clay.fit(texts).text_mean).max() < 1e-6


@given(seeds, st.lists(st.sampled_from([0.0, 0.01, 1.0, 7.5]), min_size=1, max_size=4).filter(any))
@settings(max_examples=25)
def test_the_cosine_of_combined_vectors_is_the_weighted_mean_of_the_cosines(seed: int, weights: list[float]) -> None:
    parts = [sample(seed + k, 6, 2 + k) for k in range(len(weights))]
    combined = clay.combine(parts, weights)
    assert combined.dtype == np.float32
    expected = np.average([cie.similarity(part, part) for part in parts], axis=0, weights=weights)
    assert np.abs(cie.similarity(combined, combined) - expected).max() < 1e-5


def test_all_conditions_count_the_same_unless_told() -> None:
    parts = [sample(0, 4, 3), sample(1, 4, 5)]
    assert np.array_equal(clay.combine(parts), clay.combine(parts, [2, 2]))


@pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0], [0.0, 0.0], [1.0, math.nan]])
def test_weights_that_cannot_be_used(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="weight"):
        clay.combine([sample(0, 4, 3), sample(1, 4, 5)], weights)


def test_what_clay_refuses() -> None:
    texts = sample(0, 5, 4)
    with pytest.raises(ValueError, match="4, 5 images"):
        clay.combine([sample(0, 4, 3), sample(1, 5, 3)])
    with pytest.raises(ValueError, match="0 conditions"):
        clay.combine([])
    with pytest.raises(ValueError, match="image mean"):
        clay.fit(texts, np.zeros(4))
    with pytest.raises(ValueError, match="image mean"):
        clay.fit(texts, np.ones(5))
    with pytest.raises(ValueError, match="components is -1"):
        clay.fit(texts, components=-1)
    with pytest.raises(ValueError, match="cancel out"):
        clay.fit(np.array([[1.0, 0.0], [-1.0, 0.0]]))


@pytest.mark.parametrize("fit", [lambda x: indirect.fit([x]), lambda x: indirect.fit([x], solver="svd"), clay.fit])
def test_texts_that_do_not_vary_or_are_broken(fit: Callable[[Array], object]) -> None:
    one = sample(0, 1, 4)
    for texts in (one, np.repeat(one, 3, axis=0), 5 * np.repeat(one, 3, axis=0)):
        with pytest.raises(ConditionError, match="no two differ"):
            fit(texts)
    with pytest.raises(ValueError, match="NaN"):
        fit(np.array([[1.0, math.nan], [0.0, 1.0]]))
    with pytest.raises(ValueError, match="of shape"):
        fit(np.zeros(3))


@pytest.mark.parametrize("mapped", [project, lambda m, x: clay.project(clay.fit(sample(0, 9, 4)), x)])
def test_a_zero_image_stays_zero(mapped: Callable[[Array, Array], NDArray[np.float32]]) -> None:
    assert not mapped(np.eye(4)[:2], np.zeros((1, 4))).any()


# With a real model


@pytest.fixture(scope="module")
def cars() -> Cars:
    """Embedded images, their labels and the conditions' embedded texts."""
    scenes = [sample_scene(np.random.default_rng([7, k])) for k in range(200)]
    embedder = cie.load("builtin-clip", device="cpu")
    labels = {
        "car model": [scene.model for scene in scenes],
        "car color": [colour_name(*scene.color_hsv) for scene in scenes],
        "background color": [colour_name(*scene.background_hsv) for scene in scenes],
        "viewpoint": [scene.viewpoint for scene in scenes],
        "paint pattern": [scene.pattern for scene in scenes],
    }
    images = embedder.encode([Image.fromarray(render(scene)) for scene in scenes])
    return images, labels, {condition: embedder.encode_text(texts_of(condition)) for condition in labels}


def test_adam_and_svd_agree_on_a_models_texts(cars: Cars) -> None:
    images, labels, texts = cars
    fits = {s: indirect.fit(list(texts.values()), components=8, solver=s) for s in indirect.SOLVERS}
    for condition, adam, svd in zip(texts, fits["adam"], fits["svd"], strict=True):
        lost = [indirect.loss(matrix, texts[condition]) for matrix in (adam, svd)]
        assert lost[0] <= lost[1] <= lost[0] + 0.02  # Adam minimises just this; the SVD comes near
        one, other = (scores(project(m, images), labels[condition]).precision_at_1 for m in (adam, svd))
        assert abs(one - other) < 0.15


def test_texts_turn_the_images_towards_the_condition(
    cars: Cars,
) -> None:
    images, labels, texts = cars
    for condition, vectors in texts.items():
        plain, mapped = (
            scores(x, labels[condition]).map_at_r
            for x in (images, clay.project(clay.fit(vectors, mean_direction(images)), images))
        )
        assert mapped > 1.2 * plain, condition
