from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from stalign_core.errors import SettingsError
from stalign_core.simulate import CohortDesign, ExpressionDesign, TissueDesign, simulate_section
from stalign_core.simulate.counts import draw_negative_binomial, smooth_field


def test_negative_binomial_has_the_mean_and_variance_it_was_asked_for() -> None:
    means = np.tile(np.array([0.2, 2.0, 20.0], dtype=np.float32), (200_000, 1))
    dispersion = np.array([1.0, 0.5, 0.1])
    counts = draw_negative_binomial(means, dispersion, np.random.default_rng(0))
    expected_variance = means[0] + dispersion * means[0] ** 2  # .24, 4, 60
    np.testing.assert_allclose(counts.mean(axis=0), means[0], rtol=0.02)
    np.testing.assert_allclose(counts.var(axis=0), expected_variance, rtol=0.03)
    zeros = (1 + dispersion * means[0]) ** (-1 / dispersion)
    np.testing.assert_allclose((counts == 0).mean(axis=0), zeros, atol=0.005)


def test_smooth_field_has_unit_variance_and_changes_slowly() -> None:
    positions = np.column_stack([part.ravel() for part in np.mgrid[0:40, 0:40]]).astype(float)
    fields = np.stack([smooth_field(positions, np.random.default_rng(seed)) for seed in range(200)])
    assert fields.var() == pytest.approx(1, abs=0.1)
    steps = np.diff(fields.reshape(200, 40, 40), axis=2)
    assert steps.std() < 0.4


def test_counts_are_sparse_integers_of_real_visiums_order() -> None:
    section = simulate_section(CohortDesign(), 0, 0)
    counts = section.counts
    assert sparse.issparse(counts) and counts.dtype == np.int32 and counts.has_sorted_indices
    assert counts.data.min() >= 1
    assert 0.1 < counts.nnz / np.prod(counts.shape) < 0.3
    library = np.asarray(counts.sum(axis=1)).ravel()
    assert 400 < np.median(library) < 2500
    assert 0.35 < np.log(library + 1).std() < 0.75


def test_a_programme_without_donor_effects_leaves_donors_alike() -> None:
    plain = ExpressionDesign(
        donor_effect_sd=0, donor_domain_effect_sd=0, donor_composition_sd=0, section_effect_sd=0, domain_effect_sd=0
    )
    batch = replace(plain, donor_effect_sd=0.3)

    def log_ratio_spread(expression: ExpressionDesign, other: tuple[int, int]) -> float:
        design = CohortDesign(n_genes=200, expression=expression)
        shares = []
        for place in [(0, 0), other]:
            totals = np.asarray(simulate_section(design, *place).counts.sum(axis=0)).ravel()
            shares.append(totals / totals.sum())
        seen = np.minimum(*shares) > 2e-3
        return float(np.log(shares[0][seen] / shares[1][seen]).std())

    assert log_ratio_spread(plain, (1, 0)) < 0.2
    # Two donors' independent factors of spread .3 differ by .3 * sqrt(2).
    assert log_ratio_spread(batch, (1, 0)) == pytest.approx(0.3 * np.sqrt(2), abs=0.12)
    assert log_ratio_spread(batch, (0, 1)) < 0.2


def test_sections_do_not_depend_on_how_many_donors_the_cohort_has() -> None:
    small, large = CohortDesign(n_donors=2, n_genes=60), CohortDesign(n_donors=9, n_genes=60)
    first, second = simulate_section(small, 1, 1, seed=4), simulate_section(large, 1, 1, seed=4)
    assert (first.counts != second.counts).nnz == 0
    np.testing.assert_array_equal(first.domain, second.domain)


def test_another_seed_gives_another_cohort() -> None:
    design = CohortDesign(n_genes=60)
    first, second = simulate_section(design, 0, 0, seed=1), simulate_section(design, 0, 0, seed=2)
    assert (first.counts != second.counts).nnz > 0
    assert (first.in_tissue != second.in_tissue).any()


def test_dropping_genes_keeps_the_others_counts() -> None:
    section = simulate_section(CohortDesign(n_genes=60), 0, 0)
    kept = np.arange(60) % 3 != 0
    shorter = section.with_genes(kept)
    assert list(shorter.genes["gene_id"]) == list(section.genes["gene_id"][kept])
    np.testing.assert_array_equal(shorter.counts.toarray(), section.counts.toarray()[:, kept])


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: CohortDesign(n_donors=0), "n_donors"),
        (lambda: CohortDesign(n_domains=2), "n_domains"),
        (lambda: CohortDesign(n_domains=40), "n_domains"),
        (lambda: CohortDesign(unannotated_fraction=1.0), "unannotated_fraction"),
        (lambda: CohortDesign(tissue=TissueDesign(tissue_fraction=1.2)), "tissue_fraction"),
        (lambda: CohortDesign(expression=ExpressionDesign(donor_effect_sd=-1)), "donor_effect_sd"),
        (lambda: CohortDesign(expression=ExpressionDesign(layer_correlation=1.1)), "layer_correlation"),
        (lambda: CohortDesign(expression=ExpressionDesign(cells_per_spot=0)), "cells_per_spot"),
    ],
)
def test_an_impossible_design_names_its_field(make: object, name: str) -> None:
    assert callable(make)
    with pytest.raises(SettingsError, match=name):
        make()
