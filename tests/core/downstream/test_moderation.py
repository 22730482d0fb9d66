"""The moderated t against its published formulas, its limits and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from stalign_core.downstream.moderation import fit_prior, moderated_t


def test_the_prior_that_variances_were_drawn_from_is_found() -> None:
    generator = np.random.default_rng(0)
    degrees, prior_degrees, prior_variance = 3, 5.0, 0.04
    true = prior_degrees * prior_variance / generator.chisquare(prior_degrees, 40_000)
    sample = true * generator.chisquare(degrees, len(true)) / degrees
    found = fit_prior(sample, degrees)
    assert found.degrees == pytest.approx(prior_degrees, rel=0.05)
    assert found.variance == pytest.approx(prior_variance, rel=0.03)


def test_variances_that_spread_less_than_chance_count_as_one() -> None:
    differences = np.array([[1.0, 2.0, -1.0], [1.5, 2.5, -0.5], [2.0, 3.0, 0.0]])
    # Each gene has the variance .25, so nothing but the common variance is left, with the degrees of all three genes.
    found = moderated_t(differences)
    scale = fit_prior(np.full(3, 0.25), 2).variance
    expected = differences.mean(axis=0) / np.sqrt(scale / 3)
    np.testing.assert_allclose(found.t, expected, rtol=1e-6)
    np.testing.assert_allclose(found.p, 2 * stats.t.sf(np.abs(expected), 6), rtol=1e-6)


def test_without_a_true_difference_p_is_uniform_where_the_plain_t_test_has_less_power() -> None:
    generator = np.random.default_rng(1)
    n_genes, n_donors = 20_000, 3
    deviation = np.sqrt(4 * 0.1 / generator.chisquare(4, n_genes))
    null = generator.normal(size=(n_donors, n_genes)) * deviation
    assert stats.kstest(moderated_t(null).p, "uniform").statistic < 0.015
    shifted = null + 0.8
    plain = stats.ttest_1samp(shifted, 0.0).pvalue
    assert (moderated_t(shifted).p < 0.001).mean() > 3 * (plain < 0.001).mean()


def test_a_gene_that_one_donor_alone_shows_is_tested_by_its_own_variance() -> None:
    differences = np.random.default_rng(3).normal(0, 0.1, (4, 500))
    differences[0, 0] = 8.0
    found = moderated_t(differences)
    assert found.p[0] == pytest.approx(stats.ttest_1samp(differences[:, 0], 0.0).pvalue)


def test_a_gene_that_never_differs_is_told_so() -> None:
    generator = np.random.default_rng(2)
    differences = np.column_stack([np.zeros(4), generator.normal(size=(4, 50))])
    found = moderated_t(differences)
    assert found.t[0] == 0 and found.p[0] == 1
    assert moderated_t(np.zeros((3, 5))).p.tolist() == [1.0] * 5


def test_one_donor_has_no_variance() -> None:
    with pytest.raises(ValueError, match="1 donors"):
        moderated_t(np.ones((1, 3)))
