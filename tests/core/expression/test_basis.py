from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stalign_core.errors import InputDataError
from stalign_core.expression import normalisation
from stalign_core.expression.basis import (
    ExpressionBasis,
    ExpressionMoments,
    Scaling,
    fit_expression_basis,
)
from stalign_core.expression.gene_statistics import gene_histogram
from stalign_core.expression.panel import select_panel

from .sections import Sections, concatenated, dlpfc_sections, her2st_sections, simulated_sections

N_COMPONENTS = 8


def shared_panel(sections: Sections, n_genes: int = 150) -> list[str]:
    shared = set.intersection(*(set(genes) for _, genes in sections.values()))
    return sorted(shared)[:n_genes]


def basis_of(sections: Sections, panel: list[str], scaling: Scaling, n_components: int) -> ExpressionBasis:
    seen = ExpressionMoments.empty(panel, 1e4, scaling)
    for sample, (counts, genes) in sections.items():
        seen.add_sample(sample, counts, genes)
    return fit_expression_basis(seen, n_components)


def scores_of(basis: ExpressionBasis, sections: Sections) -> np.ndarray:
    return np.concatenate([basis.project(*section, sample) for sample, section in sections.items()])


def scanpy_pca(sections: Sections, panel: list[str], scaling: Scaling, n_components: int) -> Any:
    import anndata
    import scanpy

    joined = concatenated(sections)[:, panel].copy()
    scanpy.pp.normalize_total(joined, target_sum=1e4)
    scanpy.pp.log1p(joined)
    joined.X = joined.X.toarray()
    if scaling == "cohort":
        scanpy.pp.scale(joined)
    else:
        parts = [joined[joined.obs["sample"] == sample].copy() for sample in sections]
        for part in parts:
            scanpy.pp.scale(part, max_value=10)
        joined = anndata.concat(parts)
    scanpy.pp.pca(joined, n_comps=n_components, svd_solver="arpack")
    return joined


def assert_equals_scanpy(basis: ExpressionBasis, sections: Sections, panel: list[str], scaling: Scaling) -> None:
    reference = scanpy_pca(sections, panel, scaling, basis.n_components)
    ours, theirs = scores_of(basis, sections), reference.obsm["X_pca"]
    signs = np.sign((ours * theirs).sum(axis=0))
    np.testing.assert_allclose(ours, theirs * signs, atol=1e-4)
    np.testing.assert_allclose(basis.components.T, reference.varm["PCs"] * signs, atol=1e-6)
    np.testing.assert_allclose(basis.explained_variance, reference.uns["pca"]["variance"], rtol=1e-6)
    ratio = basis.explained_variance / basis.total_variance
    np.testing.assert_allclose(ratio, reference.uns["pca"]["variance_ratio"], rtol=1e-6)


@pytest.mark.parametrize("scaling", ["cohort", "sample"])
@pytest.mark.parametrize("rows_per_block", [37, 4096])
def test_streamed_components_equal_scanpy_on_the_concatenation(
    scaling: Scaling, rows_per_block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(normalisation, "ROWS_PER_BLOCK", rows_per_block)
    sections = simulated_sections()
    panel = shared_panel(sections)
    assert_equals_scanpy(basis_of(sections, panel, scaling, N_COMPONENTS), sections, panel, scaling)


@pytest.mark.real_data
@pytest.mark.slow
@pytest.mark.parametrize("scaling", ["cohort", "sample"])
def test_streamed_components_equal_scanpy_on_dlpfc(scaling: Scaling, real_data: Callable[[str], Path]) -> None:
    sections = dlpfc_sections(real_data("dlpfc_br8100"))
    histograms = {sample: gene_histogram(*section) for sample, section in sections.items()}
    panel = select_panel(histograms, 500, 10).genes.tolist()
    assert_equals_scanpy(basis_of(sections, panel, scaling, 20), sections, panel, scaling)


@pytest.mark.real_data
@pytest.mark.slow
@pytest.mark.parametrize("scaling", ["cohort", "sample"])
def test_components_merged_from_four_real_donors_equal_scanpy(
    scaling: Scaling, real_data: Callable[[str], Path]
) -> None:
    sections = her2st_sections(real_data("her2st_abcd"))
    panel = select_panel({sample: gene_histogram(*section) for sample, section in sections.items()}, 500, 10)
    merged = ExpressionMoments.empty(panel.genes.tolist(), 1e4, scaling)
    for donor in ("A", "B", "C", "D"):
        own = ExpressionMoments.empty(panel.genes.tolist(), 1e4, scaling)
        for sample, section in sections.items():
            if sample.startswith(donor):
                own.add_sample(sample, *section)
        merged.merge(own)
    assert_equals_scanpy(fit_expression_basis(merged, 20), sections, panel.genes.tolist(), scaling)


def test_clipping_at_ten_deviations_is_exercised() -> None:
    sections = simulated_sections(sizes=(400, 300))
    panel = shared_panel(sections)
    counts, genes = sections["s0"]
    rare = counts.toarray()
    rare[:, genes.index(panel[0])] = 0
    rare[0, genes.index(panel[0])] = 50
    sections["s0"] = (type(counts)(rare), genes)
    assert_equals_scanpy(basis_of(sections, panel, "sample", N_COMPONENTS), sections, panel, "sample")


@pytest.mark.parametrize("scaling", ["cohort", "sample"])
def test_merging_donors_equals_streaming_all_sections(scaling: Scaling) -> None:
    sections = simulated_sections()
    panel = shared_panel(sections)
    donors = [ExpressionMoments.empty(panel, 1e4, scaling) for _ in range(2)]
    for donor, (sample, section) in zip([0, 1, 1], sections.items(), strict=True):
        donors[donor].add_sample(sample, *section)
    merged = ExpressionMoments.empty(panel, 1e4, scaling)
    for donor_moments in donors:
        merged.merge(donor_moments)
    together = basis_of(sections, panel, scaling, N_COMPONENTS)
    apart = fit_expression_basis(merged, N_COMPONENTS)
    np.testing.assert_allclose(apart.components, together.components, atol=1e-9)
    np.testing.assert_allclose(scores_of(apart, sections), scores_of(together, sections), atol=1e-4)


def test_largest_loading_of_every_component_is_positive() -> None:
    sections = simulated_sections()
    components = basis_of(sections, shared_panel(sections), "cohort", N_COMPONENTS).components
    largest = np.abs(components).argmax(axis=1)
    assert (components[np.arange(N_COMPONENTS), largest] > 0).all()


@pytest.mark.parametrize("scaling", ["cohort", "sample"])
def test_a_missing_panel_gene_sits_at_its_fitted_mean_and_is_counted(scaling: Scaling) -> None:
    sections = simulated_sections()
    panel = shared_panel(sections)
    basis = basis_of(sections, panel, scaling, N_COMPONENTS)
    counts, genes = sections["s1"]
    kept = [column for column, gene in enumerate(genes) if gene not in panel[:5]]
    lacking = (counts[:, kept], [genes[column] for column in kept])
    assert basis.missing_genes(lacking[1]).tolist() == panel[:5]

    dense = counts[:, [genes.index(gene) for gene in panel[5:]]].toarray()
    expression = np.log1p(1e4 * dense / dense.sum(axis=1, keepdims=True))
    if scaling == "cohort":
        centred = (expression - basis.means[5:]) / basis.deviations[5:]
    else:
        scale = basis.sample_scales["s1"]
        standardised = np.clip((expression - scale.means[5:]) / scale.deviations[5:], -10, 10)
        centred = standardised - basis.means[5:]
    expected = centred @ basis.components[:, 5:].T
    np.testing.assert_allclose(basis.project(*lacking, "s1"), expected, atol=1e-4)


def test_a_section_not_fitted_is_standardised_by_its_own_statistics() -> None:
    sections = simulated_sections()
    panel = shared_panel(sections)
    basis = basis_of(sections, panel, "sample", N_COMPONENTS)
    known = basis.project(*sections["s2"], "s2")
    np.testing.assert_allclose(basis.project(*sections["s2"], "renamed"), known, atol=1e-5)


def test_a_spot_without_counts_is_finite() -> None:
    sections = simulated_sections()
    panel = shared_panel(sections)
    basis = basis_of(sections, panel, "cohort", N_COMPONENTS)
    counts, genes = sections["s0"]
    empty = type(counts)(counts.shape, dtype=counts.dtype)
    expected = -(basis.means / basis.deviations) @ basis.components.T
    projected = basis.project(empty[:2], genes, "s0")
    np.testing.assert_allclose(projected, np.stack([expected, expected]), atol=1e-4)


def test_a_basis_rebuilt_from_its_arrays_projects_alike() -> None:
    sections = simulated_sections()
    basis = basis_of(sections, shared_panel(sections), "sample", N_COMPONENTS)
    arrays, facts = basis.to_arrays()
    again = ExpressionBasis.from_arrays(arrays, json.loads(json.dumps(facts)))
    np.testing.assert_array_equal(scores_of(again, sections), scores_of(basis, sections))


def test_fewer_spots_than_components_are_refused() -> None:
    sections = simulated_sections(sizes=(8,))
    with pytest.raises(InputDataError, match="has 8 spots and 150 genes for 8 components"):
        basis_of(sections, shared_panel(sections), "cohort", 8)


def test_fitting_on_a_section_that_lacks_a_panel_gene_is_refused() -> None:
    sections = simulated_sections()
    seen = ExpressionMoments.empty(["g1", "absent"], 1e4, "cohort")
    with pytest.raises(InputDataError, match="sample s0: lacks 1 genes of the panel, first absent"):
        seen.add_sample("s0", *sections["s0"])


def test_projecting_a_section_with_other_keys_is_refused() -> None:
    sections = simulated_sections()
    basis = basis_of(sections, shared_panel(sections), "cohort", N_COMPONENTS)
    counts, genes = sections["s0"]
    with pytest.raises(InputDataError, match="none of the genes"):
        basis.project(counts, [f"other_{gene}" for gene in genes], "s0")


@pytest.mark.parametrize("scaling", ["cohort", "sample"])
def test_captured_share_is_the_fitted_share_where_fitted_and_less_in_other_directions(scaling: Scaling) -> None:
    sections = simulated_sections(sizes=(200,))
    ((sample, (counts, genes)),) = sections.items()
    basis = basis_of(sections, shared_panel(sections), scaling, N_COMPONENTS)
    own = basis.captured_share_of(counts, genes, sample)
    assert own == pytest.approx(basis.captured_share, rel=1e-6)
    shuffled = np.random.default_rng(0).permutation(genes).tolist()
    assert basis.captured_share_of(counts, shuffled, "another") < 0.7 * own
