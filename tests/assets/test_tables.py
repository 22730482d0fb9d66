"""The DuckDB file: what it holds, who may touch it, and that it is only a cache."""

from __future__ import annotations

import csv
from pathlib import Path

import duckdb
import pytest

from stalign_assets.recipes.graph import recipes_of
from stalign_assets.results.headline import headline
from stalign_assets.results.tables import METRIC_COLUMNS, connect, query, rebuild_tables
from stalign_assets.study import open_study
from stalign_core.errors import StudyError
from stalign_core.store.store import UNPARTITIONED
from tests.assets.conftest import run


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
        rebuild_tables(opened, recipes_of(opened.settings))
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


def test_no_writer_leaves_a_temporary_file(finished_study: Path) -> None:
    assert [path.name for path in finished_study.iterdir() if path.name.startswith(".metrics")] == []


@pytest.mark.slow
def test_a_run_of_the_donor_scope_alone_gives_tables(study: Path) -> None:
    (study / "metrics.duckdb").unlink()
    assert run(study, scopes="donor").success
    with duckdb.connect(str(study / "metrics.duckdb"), read_only=True) as connection:
        assert connection.execute("select count(*) from metrics where scope = 'donor'").fetchone() != (0,)
