from __future__ import annotations

import json

import numpy as np
from scipy.sparse import csr_matrix

from stalign_core.mapping.familiarity import Familiarity, fit_familiarity

PANEL = np.array(["a", "b", "c", "d"], dtype=object)
ALL = np.arange(4)


def test_resemblance_is_the_largest_correlation_with_a_domain() -> None:
    rng = np.random.default_rng(0)
    profiles, counts = rng.normal(size=(3, 4)), rng.integers(1, 30, (6, 4))
    values = np.log1p(counts / counts.sum(axis=1, keepdims=True) * 100)
    expected = np.corrcoef(values, profiles)[:6, 6:].max(axis=1)
    found = Familiarity(profiles, 0.0).resemblance(csr_matrix(counts), ALL, 100)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_genes_that_a_section_lacks_are_left_out() -> None:
    profiles = np.array([[1.0, 2.0, 9.0, 4.0]])
    counts = np.array([[3, 1, 7], [2, 5, 4]])
    values = np.log1p(counts / counts.sum(axis=1, keepdims=True) * 100)
    # The section's columns are d, b and a.
    expected = np.corrcoef(values[:, [2, 1, 0]], [[1.0, 2.0, 4.0]])[:2, 2]
    columns = np.array([2, 1, -1, 0])
    found = Familiarity(profiles, 0.0).resemblance(csr_matrix(counts), columns, 100)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_a_spot_without_counts_resembles_nothing() -> None:
    found = Familiarity(np.array([[1.0, 2.0, 9.0, 4.0]]), 0.0).resemblance(csr_matrix((1, 4)), ALL, 100)
    assert found.tolist() == [0.0]


def test_profiles_are_means_over_all_sections_of_a_domain_in_the_panels_order() -> None:
    first, second = np.array([[8, 1, 1, 0], [1, 1, 1, 7]]), np.array([[0, 3, 1, 6]])
    genes, turned = PANEL, PANEL[::-1]
    sections = [
        (csr_matrix(first), genes, np.array(["2", "1"], dtype=object)),
        (csr_matrix(second), turned, np.array(["2"], dtype=object)),
    ]
    fitted = fit_familiarity(lambda: sections, PANEL, 10)
    expected = [np.log1p([1, 1, 1, 7]), (np.log1p([8, 1, 1, 0]) + np.log1p([6, 1, 3, 0])) / 2]
    np.testing.assert_allclose(fitted.profiles, expected, atol=1e-12)


def test_one_fitted_spot_in_a_thousand_is_below_the_limit() -> None:
    rng = np.random.default_rng(0)
    counts = csr_matrix(rng.poisson(rng.lognormal(2, 1, 4), (4000, 4)))
    domain = rng.choice(np.array(["1", "2"], dtype=object), 4000)
    fitted = fit_familiarity(lambda: [(counts, PANEL, domain)], PANEL, 1e4)
    assert (fitted.resemblance(counts, ALL, 1e4) < fitted.limit).sum() == 4


def test_arrays_and_facts_rebuild_it() -> None:
    arrays, facts = Familiarity(np.arange(8.0).reshape(2, 4), 0.25).to_arrays()
    again = Familiarity.from_arrays(arrays, json.loads(json.dumps(facts)))
    np.testing.assert_array_equal(again.profiles, np.arange(8.0).reshape(2, 4))
    assert again.limit == 0.25
