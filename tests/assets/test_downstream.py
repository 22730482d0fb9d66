"""What domains mean, as assets of each variant of the cohort: against the counts and the sheet themselves."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stalign_assets.pages.content import ReportContent
from stalign_assets.pages.sections import programs_of_donor
from stalign_assets.planning import Freshness
from stalign_assets.recipes.downstream import ACTIVITY, MARKERS
from stalign_assets.recipes.graph import recipes_of
from stalign_assets.reporting import Silent
from stalign_assets.results.downstream_tables import write_downstream_tables
from stalign_assets.results.of_domains import made_of_domains
from stalign_assets.results.tables import query
from stalign_assets.runs import RunRequest, open_instance, start_run
from stalign_assets.settings_file import set_value
from stalign_assets.study import open_study
from stalign_core.store import Artifact
from stalign_core.store.store import UNPARTITIONED
from tests.assets.spoiled import Place
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


@pytest.fixture
def with_network(study: Path) -> Path:
    """The study, run with a network whose first pathway has the leading genes of a domain as its targets."""
    markers = in_force(study, "cohort/harmony/domain_markers").table("markers.parquet")
    first = markers["domain"].iloc[0]
    targets = markers.loc[markers["domain"] == first, "gene"].head(12)
    network = pd.DataFrame({"source": "OfTheDomain", "target": targets, "weight": 1.0})
    others = pd.DataFrame({"source": "Others", "target": markers["gene"].sort_values().unique()[:12], "weight": 1.0})
    pd.concat([network, others]).to_csv(study / "network.csv", index=False)
    set_value(study / "study.toml", "downstream", "network", "network.csv")
    report = run(study, variants="harmony", scopes="cohort")
    assert report.success, report.lines()
    return study


@pytest.mark.slow
def test_pathway_activity_is_an_asset_where_a_network_is_named(finished_study: Path, with_network: Path) -> None:
    assert not [asset for asset in recipes_of(open_study(finished_study).settings) if asset.endswith(ACTIVITY)]
    study = with_network
    markers = in_force(study, "cohort/harmony/domain_markers").table("markers.parquet")
    rows = query(study / "metrics.duckdb", "select * from activities where pathway = 'OfTheDomain'")
    assert rows.sort_values("activity")["domain"].iloc[-1] == markers["domain"].iloc[0]
    page = (study / "reports" / "cohort.html").read_text()
    assert "<h2 id" in page and "Pathway activity" in page
    figure = (study / "reports" / "figures" / "pathway_activity.svg").read_text()
    assert "OfTheDomain" in figure and "Others" in figure
    shutil.move(study / "network.csv", study / "elsewhere.csv")
    (line,) = run(study, variants="harmony", scopes="cohort").bad_input
    assert "downstream.network" in line and "expected a CSV" in line


def section(study: Path, title: str, page: str = "cohort") -> str:
    """A section of a page, as HTML."""
    text = (study / "reports" / f"{page}.html").read_text(encoding="utf-8")
    return text.split(f">{title}</h2>")[1].split("</section>")[0]


def n_rows(study: Path, table: str) -> int:
    return int(query(study / "metrics.duckdb", f"select count(*) as n from {table} where variant = 'harmony'")["n"][0])


LISTED = ("abundance", "domains", "markers", "programs")


def csv_files(study: Path) -> list[str]:
    """Tables of the cohort's variant that lie beside the pages."""
    end = "_cohort_harmony.csv"
    return sorted(path.name.removesuffix(end) for path in (study / "reports").glob(f"*{end}"))


def edit_a_label(study: Path) -> None:
    """Change one label of the second donor, so that the cohort's tables are not up to date."""
    opened = open_study(study)
    annotation = opened.cohort.samples[1].annotation
    assert annotation is not None
    header, first, *rest = annotation.read_text().splitlines()
    annotation.write_text("\n".join([header, first.split(",")[0] + ",another", *rest]) + "\n")
    assert not Freshness(opened, recipes_of(opened.settings)).holds("cohort/harmony/domain_markers", UNPARTITIONED)


def renewed_tables(study: Path) -> dict[str, bytes]:
    """Tables of the cohort's variant after they were brought up to date, by name, with their content."""
    opened = open_study(study)
    write_downstream_tables(opened, recipes_of(opened.settings))
    return {name: (study / "reports" / f"{name}_cohort_harmony.csv").read_bytes() for name in csv_files(study)}


def test_tables_of_the_domains_in_force_stay_while_a_donor_waits_for_a_run(place: Place) -> None:
    before = {name: (place.study / "reports" / f"{name}_cohort_harmony.csv").read_bytes() for name in LISTED}
    edit_a_label(place.study)
    assert renewed_tables(place.study) == before


def test_tables_that_are_not_of_what_is_in_force_are_removed_while_a_donor_waits_for_a_run(place: Place) -> None:
    edit_a_label(place.study)
    markers = place.study / "reports" / "markers_cohort_harmony.csv"
    markers.write_text("domain,gene\n1,OfEarlierDomains\n")
    assert list(renewed_tables(place.study)) == ["abundance", "domains", "programs"]
    (place.study / "store" / "cohort" / "harmony" / "domains" / "_all" / "current.json").unlink()
    assert list(renewed_tables(place.study)) == ["domains"]


def test_what_is_lost_from_the_store_leads_to_no_domains_and_ends_no_writing_of_tables(place: Place) -> None:
    opened = open_study(place.study)
    recipes = recipes_of(opened.settings)
    profiles, domains = (in_force(place.study, f"cohort/harmony/{step}") for step in ("domain_profiles", "domains"))
    assert made_of_domains(opened, recipes, "cohort/harmony/domain_markers", domains) is not None
    shutil.rmtree(opened.store.base / "cohort/harmony/domain_profiles" / UNPARTITIONED / profiles.manifest.input_key)
    assert made_of_domains(opened, recipes, "cohort/harmony/domain_markers", domains) is None
    assert "markers" not in renewed_tables(place.study)


def test_tables_stay_while_a_donor_waits_for_a_run_and_their_artifact_is_damaged(place: Place) -> None:
    before = renewed_tables(place.study)
    edit_a_label(place.study)
    stored = in_force(place.study, "cohort/harmony/domain_markers").folder / "markers.parquet"
    stored.chmod(0o644)
    os.truncate(stored, 10)
    assert renewed_tables(place.study) == before
    assert list(before) == list(LISTED)


def test_all_pages_of_one_writing_tell_of_the_same_artifact(place: Place) -> None:
    content = ReportContent(open_study(place.study), "harmony")
    found = content.told_of_domains(MARKERS)
    assert found is not None
    (place.study / "store" / "cohort" / "harmony" / "domain_markers" / "_all" / "current.json").unlink()
    assert content.told_of_domains(MARKERS) == found
    own = programs_of_donor(content, content.donors[0])
    assert [each.title for each in own] == ["Marker genes"] and "Not up to date" not in own[0].body


NOT_UP_TO_DATE = "Not up to date: nothing of it was made from these domains. &#x27;stalign run STUDY&#x27; makes it"


@pytest.mark.slow
def test_what_was_made_from_earlier_domains_is_told_neither_on_the_pages_nor_in_the_tables(with_network: Path) -> None:
    study = with_network
    set_value(study / "study.toml", "domains", "refine_neighbors", 3)
    (study / "network.csv").write_text("a,b\n1,2\n")
    before = in_force(study, "cohort/harmony/domains").manifest.input_key
    opened = open_study(study)
    with open_instance(opened) as instance:
        domains, tables = ["cohort/harmony/domains"], ["metrics_tables", "cohort_report"]
        assert all(start_run(opened, instance, RunRequest(each, None), Silent()).success for each in (domains, tables))
    assert in_force(study, "cohort/harmony/domains").manifest.input_key != before
    for title in ("Marker genes", "Abundance between conditions", "Pathway activity"):
        assert NOT_UP_TO_DATE in section(study, title) and "<img" not in section(study, title)
    assert NOT_UP_TO_DATE in section(study, "Marker genes", "donor_P01")
    assert [n_rows(study, table) for table in ("markers", "programs", "abundance", "activities")] == [0] * 4
    assert csv_files(study) == ["domains"]

    report = run(study, variants="harmony", scopes="cohort")
    assert ["network.csv" in line for line in (*report.bad_input, *report.failures)] == [True]
    assert "markers_cohort_harmony.csv" in section(study, "Marker genes")
    assert NOT_UP_TO_DATE in section(study, "Pathway activity")
    assert n_rows(study, "markers") > 0 and n_rows(study, "activities") == 0
    assert csv_files(study) == ["abundance", "domains", "markers", "programs"]
    assert not (study / "reports" / "figures" / "pathway_activity.svg").exists()
