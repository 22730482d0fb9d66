"""The library and the platform are one method: the same samples, settings and seed give the same domains."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

import stalign_core as st
from stalign_assets.study import open_study
from stalign_core.errors import InputDataError, SettingsError
from stalign_core.store.store import UNPARTITIONED

K = 3


@pytest.mark.parametrize("method", ["uncorrected", "harmony"])
def test_integrate_gives_the_domains_of_the_cohort_scope(finished_study: Path, method: str) -> None:
    study = open_study(finished_study)
    adata = st.read_cohort(finished_study / "samples.csv")
    # The order in which the samples stand must change nothing.
    adata = adata[np.argsort(-adata.obs["sample"].cat.codes.to_numpy(), kind="stable")].copy()
    st.integrate(adata, n_domains=K, method=method, seed=study.settings.seed, settings=study.settings)
    with (finished_study / "reports" / f"domains_cohort_{method}.csv").open() as stream:
        expected = {(row["sample"], row["barcode"]): row["domain"] for row in csv.DictReader(stream)}
    found = dict(zip(zip(adata.obs["sample"], adata.obs["barcode"], strict=True), adata.obs["domain"], strict=True))
    assert found.keys() == expected.keys()
    agreeing = np.mean([found[spot] == expected[spot] for spot in expected])
    assert agreeing > 0.99


def test_integrate_fills_the_documented_keys(finished_study: Path) -> None:
    study = open_study(finished_study)
    adata = st.read_cohort(finished_study / "samples.csv")
    st.integrate(adata, n_domains=K, settings=study.settings)
    widths = {name: adata.obsm[name].shape[1] for name in adata.obsm}
    n_components, n_morphology = study.settings.expression.n_components, study.settings.morphology.n_components
    assert widths["X_pca"] == widths["X_pca_harmony"] == n_components
    assert widths["X_morphology_pca"] == widths["X_morphology_pca_harmony"] == n_morphology
    assert widths["X_aestetik"] == study.settings.aestetik.n_latent
    assert set(adata.obs["domain"].cat.categories) == {"1", "2", "3"}
    assert adata.obs["has_morphology"].all()


def test_principal_components_of_the_library_equal_the_stored_ones(finished_study: Path) -> None:
    study = open_study(finished_study)
    adata = st.read_cohort(finished_study / "samples.csv")
    st.integrate(adata, n_domains=K, method="uncorrected", settings=study.settings)
    stored = study.store.current("cohort/expression_pca", UNPARTITIONED)
    assert stored is not None
    for donor in study.cohort.donors:
        for sample, scores in stored.arrays(f"{donor}.safetensors").items():
            mine = adata.obsm["X_pca"][(adata.obs["sample"] == sample).to_numpy()]
            np.testing.assert_allclose(mine, scores, atol=1e-4)


def test_integrate_names_an_unknown_method_and_a_cohort_without_facts(finished_study: Path) -> None:
    adata = st.read_cohort(finished_study / "samples.csv")
    with pytest.raises(SettingsError, match="one of uncorrected, harmony"):
        st.integrate(adata, n_domains=K, method="magic")  # type: ignore[arg-type]
    del adata.uns["stalign"]
    with pytest.raises(InputDataError, match="read_cohort"):
        st.integrate(adata, n_domains=K, settings=open_study(finished_study).settings)
