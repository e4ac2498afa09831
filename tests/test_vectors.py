"""Cosine similarity: its laws."""

import numpy as np
import pytest
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
