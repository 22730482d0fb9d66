from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.metrics import adjusted_rand_score

import stalign_core as st
from stalign_core.errors import CorrectionError, EncoderError, InputDataError, ModelError
from stalign_core.mapping import map_section

from .conftest import SETTINGS, Fitted, K

if TYPE_CHECKING:
    from anndata import AnnData

MAPPING_METHODS = ["uncorrected", "harmony", "scvi"]
Fit = Callable[[str], Fitted]


def label_agreement(adata: AnnData) -> float:
    scored = adata.obs["label"].notna().to_numpy()
    return float(adjusted_rand_score(adata.obs["label"][scored], adata.obs["domain"][scored]))


def section_of(adata: AnnData, name: str) -> AnnData:
    section = adata[adata.obs["sample"] == name].copy()
    section.uns["stalign"] = dict(adata.uns["stalign"]["samples"][name])
    return section


def names_of(adata: AnnData) -> list[str]:
    return list(dict.fromkeys(adata.obs["sample"]))


# Without correction a section's own stain and efficiency stay in its features, and few sections say little of another.
@pytest.mark.slow
@pytest.mark.parametrize("method", ["harmony", "scvi"])
def test_new_sections_get_about_the_domains_of_a_fit_of_all(
    method: str, fitted: Fit, new: AnnData, sheets: dict[str, Path]
) -> None:
    st.map_samples(new, fitted(method)[1])
    together = st.read_cohort(sheets["all"])
    st.integrate(together, K, method, settings=SETTINGS)  # type: ignore[arg-type]
    together = together[new.obs_names]
    assert label_agreement(together) > 0.3, "the fit of all sections finds the domains"
    assert label_agreement(new) > label_agreement(together) - 0.1
    assert adjusted_rand_score(new.obs["domain"], together.obs["domain"]) > 0.6


@pytest.mark.parametrize("method", MAPPING_METHODS)
def test_fitted_sections_mapped_as_if_new_keep_nearly_all_their_domains(method: str, fitted: Fit) -> None:
    adata, reference = fitted(method)
    again = adata.copy()
    st.map_samples(again, reference)
    np.testing.assert_allclose(again.obsm["X_pca"], adata.obsm["X_pca"], atol=1e-5)
    np.testing.assert_allclose(again.obsm["X_morphology_pca"], adata.obsm["X_morphology_pca"], atol=1e-5)
    assert np.mean(again.obs["domain"].astype(str) == adata.obs["domain"].astype(str)) > 0.9
    if method == "scvi":
        np.testing.assert_allclose(again.obsm["X_scVI"], adata.obsm["X_scVI"], atol=1e-5)
    if method == "uncorrected":
        np.testing.assert_array_equal(again.obs["domain"], adata.obs["domain"])
        np.testing.assert_allclose(again.obsm["X_aestetik"], adata.obsm["X_aestetik"], atol=1e-4)


@pytest.mark.parametrize("method", MAPPING_METHODS)
def test_a_section_does_not_depend_on_the_others_mapped_with_it(method: str, fitted: Fit, new: AnnData) -> None:
    reference = fitted(method)[1]
    st.map_samples(new, reference)
    for name in names_of(new):
        alone = map_section(section_of(new, name), reference)
        inside = (new.obs["sample"] == name).to_numpy()
        np.testing.assert_array_equal(alone.embedding, new.obsm["X_aestetik"][inside])
        np.testing.assert_array_equal(alone.domain, new.obs["domain"][inside].astype(str))
        np.testing.assert_array_equal(alone.confidence, new.obs["domain_confidence"][inside])


def test_an_embedding_follows_from_the_spots_window_alone(fitted: Fit, new: AnnData) -> None:
    reference = fitted("uncorrected")[1]
    section = section_of(new, names_of(new)[0])
    whole = map_section(section, reference)
    middle = int(np.argmin(np.abs(section.obs[["array_row", "array_col"]] - [9, 18]).sum(axis=1)))
    # Array columns of a hexagonal lattice are two apart: a window of five reaches two rows and five columns.
    reach = np.abs(section.obs[["array_row", "array_col"]] - section.obs[["array_row", "array_col"]].iloc[middle])
    near = (reach["array_row"] <= 2).to_numpy() & (reach["array_col"] <= 5).to_numpy()
    assert 12 < near.sum() < section.n_obs / 4
    alone = map_section(section[near].copy(), reference)
    place = int(np.flatnonzero(np.flatnonzero(near) == middle)[0])
    np.testing.assert_allclose(alone.embedding[place], whole.embedding[middle], atol=1e-5)
    assert not np.allclose(alone.embedding, whole.embedding[near], atol=1e-2), "spots that lost neighbours moved"


def test_missing_genes_sit_at_their_fitted_mean(fitted: Fit, new: AnnData) -> None:
    reference = fitted("uncorrected")[1]
    basis = reference.expression_basis
    section = section_of(new, names_of(new)[0])
    lost = set(basis.panel[::7]) | set(basis.missing_genes(section.var_names.to_numpy(object)))
    kept = np.array([gene not in lost for gene in section.var_names])
    mapped = map_section(section[:, kept].copy(), reference)
    assert set(mapped.missing_genes) == lost
    present = np.array([gene not in lost for gene in basis.panel])
    counts = section[:, basis.panel[present]].X.toarray().astype(float)
    library = counts.sum(axis=1, keepdims=True)
    values = np.full((section.n_obs, len(basis.panel)), basis.means)
    values[:, present] = np.log1p(counts / np.where(library > 0, library, 1) * basis.target_sum)
    expected = (values - basis.means) / basis.deviations @ basis.components.T
    np.testing.assert_allclose(mapped.expression, expected, atol=1e-4)


def test_what_is_written_and_counted(fitted: Fit, new: AnnData) -> None:
    adata, reference = fitted("harmony")
    lost = reference.expression_basis.panel[:5]
    new = new[:, ~new.var_names.isin(lost)].copy()
    found = st.map_samples(new, reference)
    assert set(new.obsm) == set(adata.obsm)
    assert {key: new.obsm[key].shape[1] for key in new.obsm} == {key: adata.obsm[key].shape[1] for key in adata.obsm}
    assert set(new.obs["domain"]) <= set(adata.obs["domain"])
    confidence = new.obs["domain_confidence"]
    assert ((confidence >= 0) & (confidence <= 1)).all()
    assert new.obs["has_morphology"].dtype == bool
    missing = {name: len(section.missing_genes) for name, section in found.items()}
    assert min(missing.values()) >= 5
    assert new.uns["stalign"]["mapping"] == {
        name: {"n_genes_missing": missing[name], "n_unlike": int(section.unlike.sum())}
        for name, section in found.items()
    }


def test_refined_domains_carry_the_confidence_of_what_was_delivered(fitted: Fit, new: AnnData) -> None:
    st.map_samples(new, fitted("harmony")[1])
    changed = (new.obs["domain"].astype(str) != new.obs["domain_unrefined"].astype(str)).to_numpy()
    assert changed.any()
    # A posterior above one half is that of the likeliest domain, which these spots were not given.
    assert (new.obs["domain_confidence"][changed] <= 0.5).all()


@pytest.mark.parametrize("method", MAPPING_METHODS)
def test_noise_is_unlike_the_reference_and_tissue_is_not(method: str, fitted: Fit, new: AnnData) -> None:
    reference = fitted(method)[1]
    for section in st.map_samples(new, reference).values():
        assert section.unlike.mean() < 0.05
    rng = np.random.default_rng(0)
    noise = section_of(new, names_of(new)[0])
    shuffled = rng.permuted(np.tile(np.arange(noise.n_vars), (noise.n_obs, 1)), axis=1)
    noise.X = csr_matrix(np.take_along_axis(noise.X.toarray(), shuffled, axis=1))
    assert map_section(noise, reference).unlike.mean() > 0.95
    few = section_of(new, names_of(new)[0])
    broken = np.arange(0, few.n_obs, 10)
    counts = few.X.toarray()
    counts[broken] = noise.X.toarray()[broken]
    few.X = csr_matrix(counts)
    assert map_section(few, reference).unlike[broken].mean() > 0.95


def test_a_section_without_an_image_is_mapped_by_expression(fitted: Fit, new: AnnData) -> None:
    reference = fitted("harmony")[1]
    section = section_of(new, names_of(new)[0])
    section.uns["stalign"] = {**section.uns["stalign"], "image": "", "image_kind": "none"}
    mapped = map_section(section, reference)
    assert not mapped.has_morphology.any()
    assert not mapped.morphology_corrected.any()
    assert np.isfinite(mapped.embedding).all()
    assert set(mapped.domain) <= set(reference.assigner.names)


def test_under_scaling_by_sample_a_new_sample_is_standardised_by_itself(sheets: dict[str, Path]) -> None:
    adata = st.read_cohort(sheets["fitted"])
    settings = SETTINGS.model_copy(update={"expression": SETTINGS.expression.model_copy(update={"scaling": "sample"})})
    reference = st.fit_reference(adata, K, settings=settings)
    new = st.read_cohort(sheets["new"])
    section = section_of(new, names_of(new)[0])
    basis = reference.expression_basis
    section = section[:, section.var_names.isin(basis.panel)].copy()
    present = np.isin(basis.panel, section.var_names.to_numpy(object))
    counts = section[:, basis.panel[present]].X.toarray().astype(float)
    library = counts.sum(axis=1, keepdims=True)
    values = np.log1p(counts / np.where(library > 0, library, 1) * basis.target_sum)
    deviations = values.std(axis=0, ddof=1)
    standardised = np.clip((values - values.mean(axis=0)) / np.where(deviations > 0, deviations, 1), -10, 10)
    expected = (standardised - basis.means[present]) @ basis.components[:, present].T
    np.testing.assert_allclose(map_section(section, reference).expression, expected, atol=1e-4)


def test_scanorama_is_refused_before_anything_is_computed(sheets: dict[str, Path], fitted: Fit) -> None:
    adata = st.read_cohort(sheets["fitted"])
    keys = set(adata.obsm)
    with pytest.raises(CorrectionError, match=r"scanorama: cannot place new samples: .*; expected uncorrected or"):
        st.fit_reference(adata, K, "scanorama", settings=SETTINGS)
    assert set(adata.obsm) == keys
    with pytest.raises(CorrectionError, match="scanorama: cannot place new samples"):
        replace(fitted("harmony")[1], method="scanorama")


def test_samples_of_other_gene_keys_or_without_facts_are_refused(fitted: Fit, new: AnnData) -> None:
    reference = fitted("harmony")[1]
    foreign = new.copy()
    foreign.var_names = [f"other{number}" for number in range(new.n_vars)]
    with pytest.raises(InputDataError, match="none of the genes of the expression basis"):
        st.map_samples(foreign, reference)
    assert "domain" not in foreign.obs
    del new.uns["stalign"]
    with pytest.raises(InputDataError, match="read_cohort"):
        st.map_samples(new, reference)


def test_an_encoder_with_other_weights_is_refused(fitted: Fit) -> None:
    reference = replace(fitted("harmony")[1], encoder_sha256="abc")
    with pytest.raises(EncoderError, match=r"encoders\.texture: its weights are not those .* SHA-256 abc"):
        reference.load_encoder()


def test_a_reference_of_scvi_without_mean_counts_is_refused(fitted: Fit) -> None:
    with pytest.raises(ModelError, match="lacks the mean counts that 'scvi' needs"):
        replace(fitted("scvi")[1], mean_log_counts=None)
