from __future__ import annotations

import json

import numpy as np
import pytest

from stalign_core.errors import InputDataError
from stalign_core.expression.dense_basis import DenseBasis, DenseMoments, fit_dense_basis


def features(n: int = 300, n_features: int = 12, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(n, n_features)) @ rng.normal(size=(n_features, n_features))
    return (mixed * rng.lognormal(0, 2, n_features) + rng.normal(0, 50, n_features)).astype(np.float32)


def basis_of(*sections: np.ndarray, n_components: int = 5) -> DenseBasis:
    seen = DenseMoments.empty(sections[0].shape[1])
    for section in sections:
        seen.add_rows(section)
    return fit_dense_basis(seen, n_components)


def test_streamed_components_equal_sklearn_on_standardised_columns() -> None:
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler

    rows = features()
    basis = basis_of(rows[:100], rows[100:110], rows[110:])
    scaled = StandardScaler().fit_transform(rows.astype(np.float64)) * np.sqrt((len(rows) - 1) / len(rows))
    reference = PCA(5, svd_solver="full").fit(scaled)
    theirs = reference.transform(scaled)
    ours = basis.project(rows)
    signs = np.sign((ours * theirs).sum(axis=0))
    np.testing.assert_allclose(ours, theirs * signs, atol=1e-4)
    np.testing.assert_allclose(basis.explained_variance, reference.explained_variance_, rtol=1e-6)


def test_missing_rows_weigh_nothing_and_are_zero_in_the_space() -> None:
    rows = features()
    present = np.arange(300) % 3 > 0
    holed = rows.copy()
    holed[~present] = np.nan
    seen = DenseMoments.empty(12)
    seen.add_rows(holed, present)
    basis = fit_dense_basis(seen, 5)
    np.testing.assert_allclose(basis.components, basis_of(rows[present]).components, atol=1e-10)
    scores = basis.project(holed, present)
    assert (scores[~present] == 0).all()
    np.testing.assert_allclose(scores[present], basis.project(rows[present]), atol=1e-5)
    assert (basis.n_rows, basis.n_missing) == (200, 100)


def test_there_are_no_more_components_than_features_or_rows_less_one() -> None:
    assert basis_of(features(n_features=3), n_components=20).n_components == 3
    assert basis_of(features(n=4), n_components=20).n_components == 3


def test_a_scope_without_any_present_row_gives_zeros_of_the_wanted_length() -> None:
    seen = DenseMoments.empty(12)
    seen.add_rows(np.full((7, 12), np.nan), np.zeros(7, dtype=bool))
    scores = fit_dense_basis(seen, 5).project(np.full((7, 12), np.nan), np.zeros(7, dtype=bool))
    np.testing.assert_array_equal(scores, np.zeros((7, 5), dtype=np.float32))


def test_a_constant_feature_adds_nothing() -> None:
    rows = features()
    constant = np.column_stack([rows, np.full(len(rows), 0.1, dtype=np.float32)])
    np.testing.assert_allclose(basis_of(constant).project(constant), basis_of(rows).project(rows), atol=1e-3)


def test_merging_equals_streaming() -> None:
    rows = features()
    parts = [DenseMoments.empty(12) for _ in range(2)]
    parts[0].add_rows(rows[:70])
    parts[1].add_rows(rows[70:])
    parts[0].merge(parts[1])
    np.testing.assert_allclose(fit_dense_basis(parts[0], 5).components, basis_of(rows).components, atol=1e-10)


def test_a_basis_rebuilt_from_its_arrays_projects_alike() -> None:
    basis = basis_of(features())
    arrays, facts = basis.to_arrays()
    again = DenseBasis.from_arrays(arrays, json.loads(json.dumps(facts)))
    np.testing.assert_array_equal(again.project(features()), basis.project(features()))


def test_values_that_are_not_finite_are_refused_with_their_first_row() -> None:
    rows = features()
    rows[41, 3] = np.inf
    with pytest.raises(InputDataError, match=r"sample s1: .* 1 spots, first row 41"):
        DenseMoments.empty(12).add_rows(rows, where="sample s1")


def test_another_number_of_features_is_refused() -> None:
    with pytest.raises(InputDataError, match="expected 12 features per spot"):
        basis_of(features()).project(features(n_features=9))
