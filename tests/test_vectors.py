"""Cosine similarity: its laws."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import conditional_image_embeddings as cie

vectors = arrays(np.float32, (4, 6), elements=st.floats(-8, 8, width=32))


@given(vectors, vectors, st.floats(0.5, 4))
def test_symmetric_bounded_and_blind_to_length(a: np.ndarray, b: np.ndarray, factor: float) -> None:
    found = cie.similarity(a, b)
    assert found.shape == (4, 4)
    assert found.dtype == np.float32
    assert np.allclose(found, cie.similarity(b, a).T, atol=1e-5)
    assert np.abs(found).max() <= 1 + 1e-5
    long_enough = np.linalg.norm(a, axis=1) > 1e-3
    assert np.allclose(found[long_enough], cie.similarity(a * factor, b)[long_enough], atol=1e-4)


def test_shapes() -> None:
    one, many = np.ones(3), np.eye(3)
    assert cie.similarity(one, one).shape == ()
    assert cie.similarity(one, many).shape == (3,)
    assert cie.similarity(np.zeros(3), many).tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match="3 and of 4"):
        cie.similarity(np.ones(3), np.ones(4))


@given(arrays(np.float32, (3, 2, 5), elements=st.floats(-8, 8, width=32)))
def test_under_several_conditions_each_is_compared_with_itself(a: np.ndarray) -> None:
    """(n, K, d) as `encode` returns it."""
    b = a[:2, :, ::-1]
    found = cie.similarity(a, b)
    assert found.shape == (2, 3, 2)
    for condition in range(2):
        np.testing.assert_allclose(found[condition], cie.similarity(a[:, condition], b[:, condition]), atol=1e-6)
    rows = cie.pairwise_similarity(a[:2], b)
    assert rows.shape == (2, 2)
    np.testing.assert_allclose(rows, found[:, :2].diagonal(axis1=1, axis2=2).T, atol=1e-6)


def test_row_by_row() -> None:
    many = np.eye(3)
    assert cie.pairwise_similarity(many, -many).tolist() == [-1, -1, -1]
    assert cie.pairwise_similarity(many, many[0]).tolist() == [1, 0, 0]
    assert cie.pairwise_similarity(many[0], many[0]).shape == ()
    with pytest.raises(cie.CieError, match="as many"):
        cie.pairwise_similarity(many, many[:2])


@pytest.mark.parametrize("other", [np.ones((4, 3)), np.ones(3), np.ones((4, 3, 3))])
def test_vectors_under_other_conditions_are_refused(other: np.ndarray) -> None:
    with pytest.raises(cie.CieError, match="same conditions"):
        cie.similarity(np.ones((4, 2, 3)), other)


def test_whatever_vectors_come_as() -> None:
    many = np.arange(12, dtype=np.float32).reshape(3, 4)
    expected = cie.similarity(many, many)
    tensor = torch.from_numpy(many).requires_grad_()
    for given_ in (tensor, tensor.bfloat16(), tensor.half(), list(tensor.bfloat16()), many.tolist(), list(many)):
        np.testing.assert_array_equal(cie.similarity(given_, many), expected)  # small integers are exact in any type
        assert cie.pairwise_similarity(given_, many).tolist() == pytest.approx([1, 1, 1])


def test_lengths_beyond_the_range_of_their_square() -> None:
    many = np.array([[1, 2], [2, -1]], np.float32)
    for scale in (1e-38, 1e-25, 1e25, 1e38):
        np.testing.assert_allclose(cie.similarity(many * np.float32(scale), many), np.eye(2), atol=1e-3)
