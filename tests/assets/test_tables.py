"""The DuckDB file: what it holds, who may touch it, and that it is only a cache."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest

from stalign_assets.platform.checks import every_step_is_measured
from stalign_assets.platform.tables_asset import missing_metrics
from stalign_assets.recipes.graph import recipes_of
from stalign_assets.results.headline import headline
from stalign_assets.results.tables import METRIC_COLUMNS, connect, query, rebuild_tables
from stalign_assets.study import open_study
from stalign_core.cohort import Cohort
from stalign_core.errors import ArtifactError, StudyError
from stalign_core.settings import parse_settings
from stalign_core.store import Artifact, Store
from stalign_core.store.refusals import Refusal, lift_refusal, refuse
from stalign_core.store.store import UNPARTITIONED
from tests.core.store.test_store import manifest_of
from tests.studies import TINY_SETTINGS, run


def test_domains_hold_one_row_per_spot_scope_and_variant(finished_study: Path) -> None:
    counts = query(
        finished_study / "metrics.duckdb",
        "select scope, variant, count(*) as n, count(distinct sample || barcode) as spots from domains group by all",
    )
    n_spots = query(finished_study / "metrics.duckdb", "select sum(spots) as n from samples")["n"].iloc[0]
    assert len(counts) == 4
    assert (counts["n"] == n_spots).all() and (counts["spots"] == n_spots).all()


def test_metrics_have_the_documented_columns_and_both_steps(finished_study: Path) -> None:
    rows = query(finished_study / "metrics.duckdb", "select * from metrics")
    assert tuple(rows.columns) == METRIC_COLUMNS
    steps = rows.groupby(["scope", "variant"])["step"].agg(set)
    assert all(found == {"correction", "aestetik"} for found in steps)
    assert {"ari", "nmi", "silhouette", "ilisi", "kbet", "ari_donor", "chaos", "pas"} <= set(rows["metric"])


def test_metrics_in_the_table_equal_those_computed_from_the_domains_file(finished_study: Path) -> None:
    from sklearn.metrics import adjusted_rand_score

    with (finished_study / "reports" / "domains_cohort_harmony.csv").open() as stream:
        domain = {(row["sample"], row["barcode"]): row["domain"] for row in csv.DictReader(stream)}
    pairs = []
    for sample in open_study(finished_study).cohort.samples:
        assert sample.annotation is not None
        with sample.annotation.open() as stream:
            pairs += [(row["label"], domain[sample.sample, row["barcode"]]) for row in csv.DictReader(stream)]
    stored = query(
        finished_study / "metrics.duckdb",
        "select value from metrics where scope = 'cohort' and variant = 'harmony' and step = 'aestetik' "
        "and clusterer = 'tied+refined' and metric = 'ari' and sample = ''",
    )["value"]
    truth, found = zip(*pairs, strict=True)
    assert stored.tolist() == pytest.approx([adjusted_rand_score(truth, found)], abs=1e-12)


def test_lineage_leads_from_domains_to_raw_files(finished_study: Path) -> None:
    found = query(
        finished_study / "metrics.duckdb",
        """
        with recursive ancestors as (
            select asset, partition, input_key from lineage where asset = 'cohort/harmony/domains' and is_current
            union
            select l.input_asset, l.input_partition, l.input_input_key
            from ancestors a join lineage l using (asset, partition, input_key)
            where l.input_asset is not null)
        select distinct source_path, source_sha256
        from ancestors join lineage using (asset, partition, input_key) where source_path is not null
        """,
    )
    names = {Path(path).name for path in found["source_path"]}
    assert {"P01_S1.csv", "P01_S1.tif"} & names or any(name.endswith(".tif") for name in names)
    assert found["source_sha256"].str.fullmatch("[0-9a-f]{64}").all()


@pytest.mark.parametrize(
    "sql",
    [
        "create table x (a integer)",
        "delete from metrics",
        "select * from read_csv('/etc/hostname')",
        "copy metrics to '/tmp/stolen.csv'",
        "attach '/tmp/other.duckdb'",
        "install httpfs",
        "set enable_external_access = true",
        "select nonsense from metrics",
    ],
)
def test_sql_that_writes_or_reaches_outside_is_refused_in_one_line(finished_study: Path, sql: str) -> None:
    with pytest.raises(StudyError) as error:
        query(finished_study / "metrics.duckdb", sql)
    assert "\n" not in error.value.line


def test_the_file_is_rebuilt_from_the_store_alone(study: Path) -> None:
    opened = open_study(study)
    before = query(opened.metrics_path, "select * from metrics order by all")
    opened.metrics_path.unlink()
    assert not rebuild_tables(opened, recipes_of(opened.settings)).reused
    assert query(opened.metrics_path, "select * from metrics order by all").equals(before)
    assert rebuild_tables(opened, recipes_of(opened.settings)).reused


def test_a_damaged_file_is_refused_and_rebuilt(study: Path) -> None:
    opened = open_study(study)
    opened.metrics_path.write_bytes(opened.metrics_path.read_bytes()[:1000])
    with pytest.raises(StudyError, match="rebuilt from the store"):
        connect(opened.metrics_path)
    assert not rebuild_tables(opened, recipes_of(opened.settings)).reused
    connect(opened.metrics_path).close()


def test_a_reader_that_holds_the_file_open_does_not_stop_the_writer(study: Path) -> None:
    opened = open_study(study)
    with connect(opened.metrics_path) as reader:
        artifact = opened.store.current("cohort/harmony/metrics", UNPARTITIONED)
        assert artifact is not None
        opened.store.discard(artifact.folder)
        left_out = rebuild_tables(opened, recipes_of(opened.settings)).left_out
        assert len(left_out) == 1 and "cohort/harmony/metrics" in left_out[0] and "not there" in left_out[0]
        assert reader.execute("select count(*) from metrics").fetchone() is not None
    rows = query(opened.metrics_path, "select distinct scope, variant from metrics")
    assert ("cohort", "harmony") not in set(rows.itertuples(index=False, name=None))


def test_the_headline_compares_correction_alone_with_aestetik(finished_study: Path) -> None:
    table = headline(finished_study / "metrics.duckdb", open_study(finished_study).settings)
    assert list(zip(table["scope"], table["variant"], table["step"], strict=True)) == [
        (scope, variant, step)
        for scope in ("cohort", "donor")
        for variant in ("uncorrected", "harmony")
        for step in ("correction", "aestetik")
    ]


def test_the_headline_says_the_k_of_each_row(study: Path) -> None:
    for asset, partition, k in (("cohort/harmony", UNPARTITIONED, 7), ("donor/uncorrected", "P01", 2)):
        metrics = in_force(study, f"{asset}/metrics", partition)
        change_summary(metrics, lambda summary, k=k: {**summary, "n_domains_requested": k})  # type: ignore[misc]
    opened = open_study(study)
    opened.metrics_path.unlink()
    rebuild_tables(opened, recipes_of(opened.settings))
    table = headline(opened.metrics_path, opened.settings)
    assert list(zip(table["scope"], table["variant"], table["k"], strict=True))[::2] == [
        ("cohort", "uncorrected", "3"),
        ("cohort", "harmony", "7"),
        ("donor", "uncorrected", "2-3"),
        ("donor", "harmony", "3"),
    ]
    assert list(table["k"][::2]) == list(table["k"][1::2])


def test_metrics_tell_what_they_were_measured_on(finished_study: Path) -> None:
    summary = in_force(finished_study, "cohort/harmony/metrics").manifest.summary
    n_spots = query(finished_study / "metrics.duckdb", "select sum(spots) as n from samples")["n"].iloc[0]
    assert summary["n_spots"] == summary["n_spots_in_embedding_metrics"] == n_spots
    assert (summary["n_neighbors"], summary["batch"]) == (15, "sample")


def test_no_writer_leaves_a_temporary_file(finished_study: Path) -> None:
    assert [path.name for path in finished_study.iterdir() if path.name.startswith(".metrics")] == []


@pytest.mark.slow
def test_a_run_of_the_donor_scope_alone_gives_tables(study: Path) -> None:
    (study / "metrics.duckdb").unlink()
    assert run(study, scopes="donor").success
    with duckdb.connect(str(study / "metrics.duckdb"), read_only=True) as connection:
        assert connection.execute("select count(*) from metrics where scope = 'donor'").fetchone() != (0,)


def in_force(study: Path, asset: str, partition: str = UNPARTITIONED) -> Artifact:
    artifact = open_study(study).store.current(asset, partition)
    assert artifact is not None
    return artifact


def change_summary(artifact: Artifact, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Seal the manifest of an artifact anew with another summary."""
    manifest = replace(artifact.manifest, summary=change(artifact.manifest.summary))
    (artifact.folder / "manifest.json").write_text(manifest.to_json(), encoding="utf-8")


def test_a_damaged_earlier_artifact_is_left_out_and_named(study: Path) -> None:
    opened = open_study(study)
    before = query(opened.metrics_path, "select * from metrics order by all")
    folder = in_force(study, "cohort/harmony/metrics").folder.parent / "earlier"
    folder.mkdir()
    (folder / "manifest.json").write_text("{")
    opened.metrics_path.unlink()
    built = rebuild_tables(opened, recipes_of(opened.settings))
    assert [str(folder) in line for line in built.left_out] == [True]
    assert query(opened.metrics_path, "select * from metrics order by all").equals(before)
    again = rebuild_tables(opened, recipes_of(opened.settings))
    assert again.reused and again.left_out == built.left_out


def test_a_damaged_artifact_in_force_stops_the_tables_and_the_old_file_stays(study: Path) -> None:
    opened = open_study(study)
    before = opened.metrics_path.read_bytes()
    (in_force(study, "cohort/harmony/metrics").folder / "manifest.json").write_text("{")
    with pytest.raises(ArtifactError, match="not a whole manifest"):
        rebuild_tables(opened, recipes_of(opened.settings))
    assert opened.metrics_path.read_bytes() == before


@pytest.mark.parametrize(("kept", "method"), [(True, "harmony"), (False, "scanorama")])
def test_method_is_what_the_artifact_was_made_with_else_what_the_settings_say(
    study: Path, kept: bool, method: str
) -> None:
    metrics = in_force(study, "cohort/harmony/metrics")
    ingredients = {"variant": {"representation": "pca", "encoder": "texture", "method": "harmony"}} if kept else {}
    rest = {name: value for name, value in metrics.manifest.summary.items() if name != "variant"}
    change_summary(metrics, lambda _: {**rest, **ingredients})
    variants = {"uncorrected": {"correction": "uncorrected"}, "harmony": {"correction": "scanorama"}}
    opened = replace(open_study(study), settings=parse_settings({**TINY_SETTINGS, "variants": variants}))
    opened.metrics_path.unlink()
    rebuild_tables(opened, recipes_of(opened.settings))
    rows = query(
        opened.metrics_path,
        "select distinct representation, encoder, method from metrics where scope = 'cohort' and variant = 'harmony'",
    )
    assert rows.to_numpy().tolist() == [["pca", "texture", method]]


def donors_in(path: Path, table: str) -> set[str]:
    return set(query(path, f"select distinct donor from {table} where scope = 'donor'")["donor"])


def test_a_donor_whose_samples_fail_their_checks_has_no_metrics_and_no_domains(study: Path) -> None:
    opened = open_study(study)
    failing, *others = opened.cohort.donors
    assert donors_in(opened.metrics_path, "metrics") == {failing, *others}
    raw = in_force(study, "raw_samples", failing)
    change_summary(raw, lambda summary: {**summary, "problems": ["too few spots"]})
    opened.metrics_path.unlink()
    rebuild_tables(opened, recipes_of(opened.settings))
    assert donors_in(opened.metrics_path, "metrics") == donors_in(opened.metrics_path, "domains") == set(others)
    problems = query(opened.metrics_path, "select distinct donor, problems from samples where problems != ''")
    assert problems.to_numpy().tolist() == [[failing, "too few spots"]]


def test_a_donor_whose_files_were_refused_has_no_rows_until_they_can_be_read(study: Path) -> None:
    opened = open_study(study)
    recipes = recipes_of(opened.settings)
    refused, *others = opened.cohort.donors
    donor_scope = "scope = 'donor' and variant = 'harmony' and step = 'aestetik' and metric = 'nmi' and sample = ''"
    own = query(
        opened.metrics_path,
        f"select donor, value from metrics where {donor_scope} and clusterer = 'tied+refined' order by donor",
    )
    assert own["donor"].tolist() == [refused, *others]
    refuse(opened.store, "raw_samples", refused, Refusal("", f"donor {refused}: its counts cannot be read"))
    assert not rebuild_tables(opened, recipes).reused
    for table in ("metrics", "domains"):
        assert donors_in(opened.metrics_path, table) == set(others)
    problems = query(opened.metrics_path, "select donor, problems from samples where problems != ''")
    assert problems.to_numpy().tolist() == [[refused, f"donor {refused}: its counts cannot be read"]]
    table = headline(opened.metrics_path, opened.settings)
    shown = table[(table["scope"] == "donor") & (table["variant"] == "harmony") & (table["step"] == "aestetik")]
    assert shown["nmi"].tolist() == own["value"].tolist()[1:]
    lift_refusal(opened.store, "raw_samples", refused)
    assert not rebuild_tables(opened, recipes).reused
    assert donors_in(opened.metrics_path, "metrics") == {refused, *others}


def test_a_donor_that_left_the_sheet_has_no_rows(study: Path) -> None:
    opened = open_study(study)
    gone, *others = opened.cohort.donors
    samples = tuple(sample for sample in opened.cohort.samples if sample.donor != gone)
    rebuild_tables(replace(opened, cohort=Cohort(opened.cohort.sheet, samples)), recipes_of(opened.settings))
    for table in ("metrics", "domains"):
        assert donors_in(opened.metrics_path, table) == set(others)


def test_a_variant_without_any_metrics_is_missed_in_each_scope_that_was_run() -> None:
    recipes = recipes_of(parse_settings(TINY_SETTINGS))
    found = [("cohort", "harmony", "correction"), ("cohort", "harmony", "aestetik")]
    assert missing_metrics(recipes, found) == ["cohort/uncorrected/aestetik", "cohort/uncorrected/correction"]
    found += [("cohort", "uncorrected", "correction"), ("cohort", "uncorrected", "aestetik")]
    assert missing_metrics(recipes, found) == []


def test_every_metrics_artifact_of_a_finished_study_passes_its_check(finished_study: Path) -> None:
    opened = open_study(finished_study)
    checked = [artifact for artifact in opened.store.artifacts() if artifact.manifest.asset.endswith("/metrics")]
    assert {artifact.manifest.asset.split("/")[0] for artifact in checked} == {"cohort", "donor"}
    assert [list(every_step_is_measured(artifact)) for artifact in checked] == [[]] * len(checked)


POOLED = [("", metric) for metric in ("silhouette", "ilisi", "kbet")]
POOLED += [("tied", metric) for metric in ("ari", "nmi", "chaos", "pas", "n_domains")]


def faults_of(
    folder: Path, without: str, skipped: Mapping[str, str] | None = None, sample_value: float | None = None
) -> list[str]:
    """What the check finds in metrics of both steps, of which that of AESTETIK lacks the pooled metric `without`."""
    rows = [
        {"step": step, "clusterer": clusterer, "donor": "", "sample": "", "metric": metric, "value": 0.5}
        for step in ("correction", "aestetik")
        for clusterer, metric in POOLED
        if (step, metric) != ("aestetik", without)
    ]
    if sample_value is not None:
        rows.append({**rows[-1], "sample": "s1", "metric": without, "clusterer": "tied", "value": sample_value})
    store = Store(folder / "store")
    with store.staging(None) as builder:
        builder.write_table("metrics.parquet", pd.DataFrame(rows))
        builder.write_json("skipped.json", [skipped] if skipped else [])
        return list(every_step_is_measured(store.commit(builder, manifest_of(builder))))


def skip(metric: str, **words: str) -> dict[str, str]:
    return {"step": "aestetik", "metric": metric, "clusterer": "", "sample": "", "reason": "why", **words}


@pytest.mark.parametrize("metric", ["ari", "nmi", "silhouette", "ilisi", "kbet", "chaos", "pas"])
def test_a_metric_that_is_missing_without_a_reason_is_a_fault(tmp_path: Path, metric: str) -> None:
    (fault,) = faults_of(tmp_path, metric)
    assert fault.startswith(f"step 'aestetik' has no {metric}")


@pytest.mark.parametrize(
    ("metric", "skipped", "n_faults"),
    [
        ("kbet", skip("kbet"), 0),
        ("kbet", skip("kbet", reason=""), 1),
        ("kbet", skip("ilisi"), 1),
        ("kbet", skip("kbet", step="correction"), 1),
        ("ari", skip("ari", clusterer="tied"), 0),
        ("ari", skip("ari", clusterer="kmeans"), 1),
        ("pas", skip("pas", clusterer="tied", sample="s1"), 0),
    ],
)
def test_only_a_reason_for_this_metric_of_this_step_excuses_it(
    tmp_path: Path, metric: str, skipped: dict[str, str], n_faults: int
) -> None:
    assert len(faults_of(tmp_path, metric, skipped)) == n_faults


def test_a_reason_for_one_sample_does_not_excuse_the_pooled_value(tmp_path: Path) -> None:
    assert len(faults_of(tmp_path, "ari", skip("ari", clusterer="tied", sample="s2"), sample_value=0.5)) == 1


def test_a_step_with_nothing_but_the_number_of_domains_is_a_fault(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    row = {"clusterer": "tied", "donor": "", "sample": "", "metric": "n_domains", "value": 3.0}
    with store.staging(None) as builder:
        builder.write_table("metrics.parquet", pd.DataFrame([{**row, "step": "aestetik"}]))
        builder.write_json("skipped.json", [])
        faults = list(every_step_is_measured(store.commit(builder, manifest_of(builder))))
    assert faults[0] == "step 'correction' has no metrics" and len(faults) == 1 + 7
