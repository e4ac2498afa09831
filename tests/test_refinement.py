"""Post-processing of stored vectors: the invariants of centring and whitening; settings follow their collection."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conditional_image_embeddings.collection.refinement import Refinement, fit, refine
from conditional_image_embeddings.collection.storage.store import Store
from conditional_image_embeddings.errors import OptionError, StoreError
from conditional_image_embeddings.methods.settings import Setting

ORIGINAL = Setting(dataset="birds", source="/birds", method="dior", model="m", condition="species")


def vectors(seed: int, count: int = 200, dimensions: int = 6) -> np.ndarray:
    generator = np.random.default_rng(seed)
    mixing = generator.normal(size=(dimensions, dimensions))
    return (generator.normal(size=(count, dimensions)) @ mixing + generator.normal(size=dimensions)).astype(np.float32)


@given(seed=st.integers(0, 2**31), cut=st.integers(1, 199))
@settings(max_examples=25)
def test_whitened_vectors_are_uncorrelated_however_they_come_in_parts(seed: int, cut: int) -> None:
    values = vectors(seed)
    refinement = fit([values[:cut], values[cut:]], whiten=True)
    white = refinement.apply(values)
    np.testing.assert_allclose(white.mean(0), 0, atol=1e-2)
    covariance = np.cov(white.T, bias=True)
    np.testing.assert_allclose(covariance - np.diag(np.diag(covariance)), 0, atol=2e-2)
    assert (np.diag(covariance) <= 1.001).all()
    np.testing.assert_allclose(fit([values], whiten=True, dimensions=2).apply(values), white[:, :2], atol=1e-2)


def test_centring_and_shortening() -> None:
    values = vectors(0)
    np.testing.assert_allclose(fit([values]).apply(values), values - values.mean(0), atol=1e-5)
    np.testing.assert_array_equal(fit([values], center=False, dimensions=3).apply(values), values[:, :3])
    with pytest.raises(ValueError, match="dimensions is 7; these vectors have 6"):
        fit([values], dimensions=7)
    with pytest.raises(ValueError, match="no vectors"):
        fit([])


def test_refined_settings_stand_beside_and_follow_the_collection(tmp_path: Path) -> None:
    store, values = Store(tmp_path), vectors(1, 20)
    store.add_vectors(ORIGINAL, [f"{n:02}" for n in range(10)], values[:10])
    [(refined, made)] = refine(store, [ORIGINAL], whiten=True, dimensions=3)
    assert made
    assert "refined_center_whiten_3" in refined.name
    ids, stored = store.read(refined)
    np.testing.assert_allclose(stored, fit([values[:10]], whiten=True, dimensions=3).apply(values[:10]), atol=1e-5)
    again = Refinement.from_arrays(store.fitted(refined))
    np.testing.assert_array_equal(again.apply(values[:10]), stored)
    assert [made for _, made in refine(store, [ORIGINAL], whiten=True, dimensions=3)] == [False]
    store.add_vectors(ORIGINAL, [f"{n:02}" for n in range(10, 20)], values[10:])
    assert [made for _, made in refine(store, store.settings(), whiten=True, dimensions=3)] == [True]
    ids, stored = store.read(refined)
    assert len(ids) == 20
    np.testing.assert_allclose(stored, fit([values], whiten=True, dimensions=3).apply(values), atol=1e-5)
    with pytest.raises(ValueError, match="nothing to do"):
        refine(store, [ORIGINAL], center=False)
    with pytest.raises(StoreError, match="no setting"):
        refine(store, [refined])


@pytest.mark.parametrize("options", [{}, {"whiten": True}, {"whiten": True, "dimensions": 2}, {"dimensions": 3}])
def test_a_refinement_is_made_again_from_what_is_stored(options: dict, tmp_path: Path) -> None:
    store, values = Store(tmp_path), vectors(2, 30)
    store.add_vectors(ORIGINAL, [f"{n:02}" for n in range(30)], values)
    [(refined, _)] = refine(store, [ORIGINAL], **options)
    again = Refinement.from_arrays(Store(tmp_path, create=False).fitted(refined))
    np.testing.assert_array_equal(again.apply(values), store.read(refined)[1])


def test_a_setting_that_cannot_be_refined_is_named_and_the_others_are_refined(tmp_path: Path) -> None:
    store, values = Store(tmp_path), vectors(3, 20)
    names = [f"{n:02}" for n in range(20)]
    empty, broken, good = (replace(ORIGINAL, condition=condition) for condition in ("a", "b", "c"))
    for each, rows in ((empty, values[:0]), (broken, values * np.float32(np.inf)), (good, values)):
        store.add_vectors(each, names[: len(rows)], rows)
    with pytest.raises(StoreError, match=f"{empty.name} has no vectors: run the `cie embed`"):
        refine(store, store.settings())
    assert [each.condition for each in store.settings() if "refined" in each.extra] == ["c"]
    with pytest.raises(OptionError, match="NaN or infinity"):
        refine(store, [broken])
