"""A study's store holds all that placing new samples needs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import stalign_core as st
from stalign_assets.recipes import samples, variants
from stalign_assets.settings_file import set_value
from stalign_assets.stored_reference import stored_reference
from stalign_assets.study import open_study
from stalign_core.errors import ArtifactError, StudyError
from stalign_core.mapping import Reference
from tests.studies import run

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


def assert_equal(found: Reference, expected: Reference) -> None:
    """Both say the same of what is fitted to counts, of how patches are cut, and of the correction."""
    np.testing.assert_array_equal(found.familiarity.profiles, expected.familiarity.profiles)
    assert found.familiarity.limit == expected.familiarity.limit
    assert found.morphology == expected.morphology
    assert found.morphology_basis.n_missing == expected.morphology_basis.n_missing
    for name, array in expected.expression_terms.arrays.items():
        np.testing.assert_array_equal(found.expression_terms.arrays[name], array)


def add_donor(study: Path, donor: str, path: Path) -> None:
    """One more row of the sheet, with its path alone."""
    sheet = study / "samples.csv"
    cells = {"sample": f"{donor}_S1", "donor": donor, "path": str(path)}
    header = sheet.read_text().splitlines()[0].split(",")
    with sheet.open("a") as stream:
        stream.write(",".join(cells.get(column, "") for column in header) + "\n")


def test_donors_that_the_domains_are_not_of_have_no_part(study: Path, third_donor: Path, tmp_path: Path) -> None:
    before = stored_reference(open_study(study), "harmony")
    section = st.read_cohort(third_donor)
    for donor, n_spots in (("P08", 12), ("P09", section.n_obs)):
        section[:n_spots].copy().write_h5ad(tmp_path / f"{donor}.h5ad")
        add_donor(study, donor, tmp_path / f"{donor}.h5ad")
    assert_equal(stored_reference(open_study(study), "harmony"), before)
    # One donor fails its checks, and the other comes into what another variant is made from.
    assert set(run(study, scopes="cohort", variants="uncorrected").donors_left_out) == {"P08"}
    assert_equal(stored_reference(open_study(study), "harmony"), before)


def test_settings_that_were_not_run_are_refused_and_those_of_the_run_come_back(study: Path) -> None:
    before = stored_reference(open_study(study), "harmony")
    set_value(study / "study.toml", "morphology", "patch_diameters", 2.0)
    told = (
        r"morphology_embeddings/texture of P01: is not what a run would make now \(patch_diameters 1.0 -> 2.0\); "
        "run 'stalign run STUDY' first"
    )
    with pytest.raises(StudyError, match=told):
        stored_reference(open_study(study), "harmony")
    set_value(study / "study.toml", "morphology", "patch_diameters", 1.0)
    assert_equal(stored_reference(open_study(study), "harmony"), before)


def test_a_gene_panel_of_settings_that_were_not_run_is_refused(study: Path) -> None:
    set_value(study / "study.toml", "expression", "n_top_genes", 120)
    for variant, donor in (("harmony", ""), ("uncorrected", "P01")):
        with pytest.raises(StudyError, match=r"gene_panel.*: is not what .* \(n_top_genes 150 -> 120\); run 'stalign"):
            stored_reference(open_study(study), variant, donor)


@pytest.mark.parametrize(
    ("asset", "version"), [("spot_grids", "_GRIDS_VERSION"), ("gene_statistics", "_STATISTICS_VERSION")]
)
def test_what_other_code_made_of_the_samples_is_refused(
    finished_study: Path, monkeypatch: pytest.MonkeyPatch, asset: str, version: str
) -> None:
    now = getattr(samples, version)
    monkeypatch.setattr(samples, version, now + 1)
    told = rf"{asset} of P01: is not what .* \(code version {now} -> {now + 1}\); run 'stalign run STUDY' first"
    with pytest.raises(StudyError, match=told):
        stored_reference(open_study(finished_study), "harmony")


def test_a_correction_that_other_code_made_is_refused_until_it_is_made_anew(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = stored_reference(open_study(study), "harmony")
    version = variants._CORRECTION_VERSION
    monkeypatch.setattr(variants, "_CORRECTION_VERSION", version + 1)
    told = rf"cohort/harmony/corrected_features: is not what .* \(code version {version} -> {version + 1}\); run"
    with pytest.raises(StudyError, match=told):
        stored_reference(open_study(study), "harmony")
    # What the model and the domains read of it comes out the same, so that they stay as they are.
    report = run(study, scopes="cohort", variants="harmony")
    assert report.success and report.n_computed == 1
    assert_equal(stored_reference(open_study(study), "harmony"), before)
