"""What domains mean, as assets of each variant of the cohort: against the counts and the sheet themselves."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stalign_assets.recipes.graph import recipes_of
from stalign_assets.results.tables import query
from stalign_assets.settings_file import set_value
from stalign_assets.study import open_study
from stalign_core.store import Artifact
from stalign_core.store.store import UNPARTITIONED
from tests.studies import run


def in_force(study: Path, asset: str, partition: str = UNPARTITIONED) -> Artifact:
    artifact = open_study(study).store.current(asset, partition)
    assert artifact is not None
    return artifact


def test_profiles_are_the_sums_of_the_counts_over_each_domain(finished_study: Path) -> None:
    domains = in_force(finished_study, "cohort/harmony/domains").table("domains.parquet")
    profiles = in_force(finished_study, "cohort/harmony/domain_profiles")
    donor = open_study(finished_study).cohort.donors[0]
    raw = in_force(finished_study, "raw_samples", donor)
    (name,) = raw.names("*.counts.h5ad")
    counts = raw.anndata(name)
    of_spot = domains[domains["donor"] == donor].set_index("barcode")["domain"].loc[counts.obs_names]
    names = profiles.json(f"{donor}.domains.json")
    expected = np.stack([np.asarray(counts.X[(of_spot == name).to_numpy()].sum(axis=0)).ravel() for name in names])
    arrays = profiles.arrays(f"{donor}.safetensors")
    assert arrays["counts"].tolist() == expected.tolist()
    assert arrays["n_spots"].tolist() == [int((of_spot == name).sum()) for name in names]


def test_markers_of_two_donors_are_told_without_a_test_and_listed_in_the_tables(finished_study: Path) -> None:
    stored = in_force(finished_study, "cohort/harmony/domain_markers")
    markers = stored.table("markers.parquet")
    assert markers["q"].isna().all() and not markers["is_marker"].any()
    assert any("fewer than 3 donors" in line for line in stored.manifest.summary["warnings"])
    listed = query(finished_study / "metrics.duckdb", "select * from markers where variant = 'harmony'")
    assert (listed["log2_fold_change"] > 0).all()
    more = markers[markers["log2_fold_change"] > 0]
    best = (
        more.assign(gap=more["mean_expression"] - more["mean_elsewhere"]).sort_values("gap").groupby("domain")["gene"]
    )
    assert listed.groupby("domain", sort=False)["gene"].first().to_dict() == best.last().to_dict()
    written = pd.read_csv(finished_study / "reports" / "markers_cohort_harmony.csv", dtype={"domain": str})
    assert written["gene"].tolist() == listed["gene"].tolist()


def test_abundance_adds_up_and_conditions_of_too_few_donors_are_a_warning(finished_study: Path) -> None:
    stored = in_force(finished_study, "cohort/harmony/domain_abundance")
    abundance = stored.table("abundance.parquet")
    assert np.allclose(abundance.groupby("sample")["share"].sum(), 1.0)
    conditions = {sample.sample: sample.condition for sample in open_study(finished_study).cohort.samples}
    assert set(conditions.values()) == {"control", "treated"}
    assert (abundance["condition"] == abundance["sample"].map(conditions)).all()
    assert stored.names("differences.parquet") == []
    assert ["a donor is one observation" in line for line in stored.manifest.summary["warnings"]] == [True]


def test_a_condition_of_the_sheet_changes_abundance_and_nothing_else(study: Path) -> None:
    sheet = study / "samples.csv"
    sheet.write_text(sheet.read_text().replace("treated", "recovered"))
    report = run(study)
    assert report.success, report.lines()
    assert report.n_computed == 2
    assert set(in_force(study, "cohort/harmony/domain_abundance").table("abundance.parquet")["condition"]) == {
        "control",
        "recovered",
    }


@pytest.mark.slow
def test_pathway_activity_is_an_asset_where_a_network_is_named(study: Path) -> None:
    markers = in_force(study, "cohort/harmony/domain_markers").table("markers.parquet")
    first = markers["domain"].iloc[0]
    targets = markers.loc[markers["domain"] == first, "gene"].head(12)
    network = pd.DataFrame({"source": "OfTheDomain", "target": targets, "weight": 1.0})
    others = pd.DataFrame({"source": "Others", "target": markers["gene"].sort_values().unique()[:12], "weight": 1.0})
    pd.concat([network, others]).to_csv(study / "network.csv", index=False)
    assert not [asset for asset in recipes_of(open_study(study).settings) if asset.endswith("pathway_activity")]
    set_value(study / "study.toml", "downstream", "network", "network.csv")
    report = run(study, variants="harmony", scopes="cohort")
    assert report.success, report.lines()
    rows = query(study / "metrics.duckdb", "select * from activities where pathway = 'OfTheDomain'")
    assert rows.sort_values("activity")["domain"].iloc[-1] == first
    page = (study / "reports" / "cohort.html").read_text()
    assert "<h2 id" in page and "Pathway activity" in page
    figure = (study / "reports" / "figures" / "pathway_activity.svg").read_text()
    assert "OfTheDomain" in figure and "Others" in figure
    shutil.move(study / "network.csv", study / "elsewhere.csv")
    (line,) = run(study, variants="harmony", scopes="cohort").bad_input
    assert "downstream.network" in line and "expected a CSV" in line
