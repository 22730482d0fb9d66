"""A study's store holds all that placing new samples needs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import stalign_core as st
from stalign_assets.stored_reference import stored_reference
from stalign_assets.study import open_study
from stalign_core.errors import ArtifactError

K = 3


@pytest.fixture(scope="module")
def third_donor(tiny_data: Path) -> Path:
    """Sheet of the donor that the finished study does not hold."""
    header, *rows = (tiny_data / "samples.csv").read_text().splitlines()
    sheet = tiny_data / "third_donor.csv"
    sheet.write_text("\n".join([header, rows[2]]) + "\n")
    return sheet


@pytest.mark.parametrize("method", ["uncorrected", "harmony"])
def test_it_maps_as_the_librarys_reference_does(finished_study: Path, third_donor: Path, method: str) -> None:
    study = open_study(finished_study)
    adata = st.read_cohort(finished_study / "samples.csv")
    of_library = st.fit_reference(adata, K, method, seed=study.settings.seed, settings=study.settings)
    of_store = stored_reference(study, method)
    ours, stored = st.read_cohort(third_donor), st.read_cohort(third_donor)
    st.map_samples(ours, of_library)
    st.map_samples(stored, of_store)
    for key in ours.obsm:
        np.testing.assert_allclose(stored.obsm[key], ours.obsm[key], atol=1e-3)
    assert (stored.obs["domain"].astype(str) == ours.obs["domain"].astype(str)).mean() > 0.99
    np.testing.assert_allclose(of_store.familiarity.limit, of_library.familiarity.limit, atol=1e-4)
    assert (stored.obs["unlike_reference"] == ours.obs["unlike_reference"]).mean() > 0.99


def test_donor_scope_names_the_donors_domains(finished_study: Path, third_donor: Path) -> None:
    new = st.read_cohort(third_donor)
    st.map_samples(new, stored_reference(open_study(finished_study), "uncorrected", donor="P01"))
    assert {name.split(":")[0] for name in new.obs["domain"]} == {"P01"}


def test_a_study_that_was_not_run_is_told_to_run(study: Path) -> None:
    opened = open_study(study)
    (study / "store" / "cohort" / "harmony" / "domains" / "_all" / "current.json").unlink()
    with pytest.raises(ArtifactError, match=r"cohort/harmony/domains: was not made; .*stalign run"):
        stored_reference(opened, "harmony")
