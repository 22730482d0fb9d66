"""``stalign map``: samples that a study does not hold get the names of its domains."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import adjusted_rand_score

import stalign_core as st
from stalign_assets.cli.main import main
from stalign_assets.new_study import create_study
from stalign_assets.settings_file import set_value
from stalign_assets.stored_reference import stored_reference
from stalign_assets.study import open_study
from stalign_core.settings import parse_settings
from tests.broken_hdf5 import write_deadly
from tests.studies import TINY_SETTINGS, run, two_donor_sheet


@pytest.fixture(scope="module")
def third_donor(tiny_data: Path) -> Path:
    """Sheet of the donor that the finished study does not hold."""
    header, *rows = (tiny_data / "samples.csv").read_text().splitlines()
    sheet = tiny_data / "one_more_donor.csv"
    sheet.write_text("\n".join([header, rows[2]]) + "\n")
    return sheet


def call(*arguments: object) -> int:
    """Exit code of the command."""
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    return int(end.value.code or 0)


def test_the_table_holds_what_the_reference_says(
    finished_study: Path, third_donor: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("map", finished_study, "--samples", third_donor, "--out", tmp_path, "--json") == 0
    (told,) = json.loads(capsys.readouterr().out)
    table = pd.read_csv(told["table"], dtype={"domain": str})
    adata = st.read_cohort(third_donor)
    st.map_samples(adata, stored_reference(open_study(finished_study), "harmony"))
    assert (adata.obs_names == table["sample"] + "_" + table["barcode"]).all()
    assert (adata.obs["domain"].astype(str).to_numpy() == table["domain"]).all()
    assert (adata.obs["unlike_reference"].to_numpy() == table["unlike_reference"]).all()
    assert told["spots"] == len(table) == adata.n_obs
    assert told["spots_unlike"] == table["unlike_reference"].sum()
    assert told["mean_confidence"] == pytest.approx(table["confidence"].mean(), abs=1e-5)


def test_a_held_out_donor_is_placed_nearly_as_well_as_by_a_full_integration(
    study: Path, third_donor: Path, tmp_path: Path, tiny_data: Path
) -> None:
    assert call("map", study, "--samples", third_donor, "--out", tmp_path) == 0
    (table,) = tmp_path.glob("*.csv")
    mapped = pd.read_csv(table, dtype=str)
    sheet = study / "samples.csv"
    donor = pd.read_csv(third_donor, dtype=str, keep_default_na=False)
    for column in ("path", "image", "annotation"):
        donor[column] = [str(tiny_data / cell) if cell else "" for cell in donor[column]]
    whole = pd.concat([pd.read_csv(sheet, dtype=str, keep_default_na=False), donor])
    whole.fillna("").to_csv(sheet, index=False)
    assert run(study, scopes="cohort", variants="harmony").success
    joint = pd.read_csv(study / "reports" / "domains_cohort_harmony.csv", dtype=str)
    both = mapped.merge(joint, on=["sample", "barcode"], suffixes=("", "_joint"))
    assert len(both) == len(mapped)
    labels = pd.read_csv(donor["annotation"].iloc[0], dtype=str).merge(both, on="barcode")
    placed, integrated = (adjusted_rand_score(labels["label"], labels[name]) for name in ("domain", "domain_joint"))
    # Two donors of 150 spots teach little; with as little, chance reaches about 0.
    assert placed > integrated - 0.2
    assert placed > 0.35


def test_scvi_alone_places_new_samples(
    third_donor: Path, tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = {"correction": {"scvi": {"max_epochs": 1}}, "variants": {"scvi": {"correction": "scvi"}}}
    sheet = two_donor_sheet(tiny_data)
    study = create_study(tmp_path / "study", sheet, parse_settings({**TINY_SETTINGS, **changes}))
    report = run(study.folder, scopes="cohort")
    assert report.success, report.lines()
    capsys.readouterr()
    assert call("map", study.folder, "--samples", third_donor, "--json") == 0
    (told,) = json.loads(capsys.readouterr().out)
    reference = stored_reference(study, "scvi")
    panel = reference.expression_basis.panel
    counts = st.read_cohort(sheet)[:, panel].X.toarray()
    np.testing.assert_allclose(reference.mean_log_counts, np.log1p(counts).mean(axis=0), rtol=1e-6)
    st.save_reference(reference, tmp_path / "reference")
    adata = st.read_cohort(third_donor)
    st.map_samples(adata, st.load_reference(tmp_path / "reference"))
    table = pd.read_csv(told["table"], dtype={"domain": str})
    assert (adata.obs["domain"].astype(str).to_numpy() == table["domain"]).all()
    assert adata.obsm["X_scVI"].shape == (len(table), 8) and "X_pca" not in adata.obsm
    set_value(study.folder / "study.toml", "expression", "n_top_genes", 120)
    capsys.readouterr()
    assert call("map", study.folder, "--samples", third_donor) == 2
    (line,) = [each for each in capsys.readouterr().err.splitlines() if each.startswith("error: ")]
    assert "cohort/gene_panel" in line and "n_top_genes 150 -> 120" in line and "run 'stalign run STUDY' first" in line


def test_a_damaged_file_that_would_end_the_process_is_one_line(
    finished_study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deadly = write_deadly(tmp_path / "S9.h5ad")
    sheet = tmp_path / "samples.csv"
    sheet.write_text("sample,donor,path\nS9,P09,S9.h5ad\n")
    assert call("map", finished_study, "--samples", sheet, "--out", tmp_path / "out") == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith(f"error: {deadly}: ends the process that reads it")


def test_what_cannot_be_mapped_is_one_line(
    finished_study: Path, third_donor: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("map", finished_study, "--samples", third_donor, "--variant", "nothing") == 2
    told = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("  … ")]  # progress
    assert told == ["error: variant 'nothing': is none of the study's; expected one of uncorrected, harmony"]
