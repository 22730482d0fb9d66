"""A study that nobody looks after, with `dagster-daemon` running for real: files are dropped, and what follows is seen.

One test, because each start of the daemon, and each run, costs ten seconds or more of imports.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.scheduler.instigation import TickStatus

from stalign_assets.results.tables import query
from stalign_assets.settings_file import set_value
from stalign_assets.unattended.attempts import PARTITION_TAG, STATE_TAG, UNATTENDED_TAG
from stalign_core.store import Manifest
from tests.assets import bad_inputs as bad
from tests.automation.conftest import Unattended
from tests.automation.daemon import Daemon, daemon_at_work

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]

PATIENCE = 600.0
OWN = {"raw_samples", "gene_statistics", "spot_grids", "morphology_embeddings/texture"}
DOMAINS = "cohort/uncorrected/domains"


def runs_for(daemon: Daemon, purpose: str) -> list[dg.DagsterRun]:
    """Unattended runs for a purpose, the oldest first."""
    found = daemon.instance.get_run_records(filters=dg.RunsFilter(tags={UNATTENDED_TAG: purpose}), ascending=True)
    return [record.dagster_run for record in found]


def ended(daemon: Daemon, purpose: str, number: int) -> dg.DagsterRun:
    """The run for a purpose with this number, once it is over."""

    def look() -> dg.DagsterRun | None:
        runs = runs_for(daemon, purpose)
        return runs[number] if len(runs) > number and runs[number].is_finished else None

    return daemon.wait_for(f"the end of run {number} for {purpose}", look, PATIENCE)


def test_samples_are_dropped_and_the_study_follows(unattended: Unattended) -> None:
    settings = unattended.folder / "study.toml"
    set_value(settings, "automation", "watch_seconds", 1)
    set_value(settings, "automation", "integrate_at", "* * * * *")
    sheet = unattended.folder / "samples.csv"
    good = sheet.read_text()
    with daemon_at_work(unattended.folder, unattended.instance) as daemon:
        daemon.wait_for("a look", lambda: "every donor is up to date" in daemon.skips("new_samples"), PATIENCE)

        sheet.write_text(good[: good.index("P02_S1") + 9])
        daemon.wait_for("a line on the sheet", lambda: [s for s in daemon.skips("new_samples") if "row 3" in s], 60)
        sheet.write_text(good)
        donor = unattended.add_third()

        # The first run for the donor is killed; the next look asks once more.
        first = daemon.wait_for("a run", lambda: runs_for(daemon, "donor"), PATIENCE)[0]
        assert donor in unattended.instance.get_dynamic_partitions("donors")
        daemon.wait_for("its process", lambda: killed(daemon, first), 60)
        assert ended(daemon, "donor", 0).status is dg.DagsterRunStatus.FAILURE
        second = ended(daemon, "donor", 1)
        assert second.status is dg.DagsterRunStatus.SUCCESS
        assert first.tags[STATE_TAG] == second.tags[STATE_TAG]
        assert {key.to_user_string() for key in second.asset_selection or ()} == OWN
        assert second.tags[PARTITION_TAG] == donor
        assert daemon.instance.event_log_storage.get_concurrency_info("gpu").active_run_ids == set()

        integrated = ended(daemon, "cohort", 0)
        assert integrated.status is dg.DagsterRunStatus.SUCCESS
        manifest = unattended.current(DOMAINS).manifest
        assert (manifest.donors, manifest.run_id) == (("P01", "P02", donor), integrated.run_id)

        assert ended(daemon, "tables", 0).status is dg.DagsterRunStatus.SUCCESS
        told = query(unattended.study.metrics_path, "select distinct donor from domains where scope = 'cohort'")
        assert set(told["donor"]) == {"P01", "P02", donor}
        daemon.wait_for(
            "a night that skips",
            lambda: "the cohort of 3 donors is up to date" in daemon.skips("nightly_integration"),
            PATIENCE,
        )
        assert [len(runs_for(daemon, purpose)) for purpose in ("donor", "cohort", "tables")] == [2, 1, 1]

        one_is_spoiled_and_one_retires(daemon, unattended, donor)
        they_come_back(daemon, unattended, manifest)
        assert [len(runs_for(daemon, purpose)) for purpose in ("donor", "cohort")] == [4, 4]
        a_known_donor_has_a_new_section(daemon, unattended)
        for name in ("new_samples", "tables", "nightly_integration"):
            assert not [tick.error for tick in daemon.ticks(name) if tick.status is TickStatus.FAILURE]


def one_is_spoiled_and_one_retires(daemon: Daemon, unattended: Unattended, retiring: str) -> None:
    """One donor retires, and the second fails a blocking check; the first night fails, the next not."""
    bad.take_off_tissue(30)(bad.Files(unattended.data, "P02_S1"))
    unattended.write_rows([{**row, "retired": "yes" * (row["donor"] == retiring)} for row in unattended.rows()])
    refused = ended(daemon, "donor", 2)
    assert refused.tags[PARTITION_TAG] == "P02"
    assert "enough_spots_and_genes" in failed_checks(daemon, refused)

    staging = unattended.folder / "store" / ".staging"
    with nothing_can_be_kept(staging):
        failed = ended(daemon, "cohort", 1)
    assert failed.status is dg.DagsterRunStatus.FAILURE
    again = ended(daemon, "cohort", 2)
    assert again.status is dg.DagsterRunStatus.SUCCESS
    assert again.tags[STATE_TAG] == failed.tags[STATE_TAG]
    assert [str(run.tags["dagster/run_key"])[-2:] for run in (failed, again)] == [":1", ":2"]
    manifest = unattended.current(DOMAINS).manifest
    assert (manifest.donors, manifest.run_id) == (("P01",), again.run_id)
    assert unattended.metadata(DOMAINS)["donors_left_out"] == {
        "P02": "sample P02_S1 has 30 spots, fewer than the 50 of input.min_spots",
        retiring: "is retired in samples.csv",
    }


def they_come_back(daemon: Daemon, unattended: Unattended, before: Manifest) -> None:
    """The cohort of before is recognised: its donors take part again, and nothing of it is computed anew."""
    n_artifacts = len(list(unattended.study.store.artifacts()))
    unattended.mend()
    unattended.write_rows([{**row, "retired": ""} for row in unattended.rows()])
    let_in = ended(daemon, "donor", 3)
    assert (let_in.status, let_in.tags[PARTITION_TAG]) == (dg.DagsterRunStatus.SUCCESS, "P02")
    returned = ended(daemon, "cohort", 3)
    assert returned.status is dg.DagsterRunStatus.SUCCESS
    assert unattended.current(DOMAINS).manifest == before
    made = daemon.instance.all_logs(returned.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
    reused = [entry.asset_materialization.metadata["reused"].value for entry in made if entry.asset_materialization]
    assert len(reused) > 5 and all(reused)
    assert "donors_left_out" not in unattended.metadata(DOMAINS)
    assert len(list(unattended.study.store.artifacts())) == n_artifacts


def a_known_donor_has_a_new_section(daemon: Daemon, unattended: Unattended) -> None:
    """It costs only itself: what is there of the other section is taken over."""
    before = {asset: unattended.current(asset, "P02").manifest.files for asset in OWN}
    unattended.write_rows([*unattended.rows(), unattended.row_of(2, sample="P02_S2", donor="P02")])
    run = ended(daemon, "donor", 4)
    assert (run.status, run.tags[PARTITION_TAG]) == (dg.DagsterRunStatus.SUCCESS, "P02")
    for asset in OWN:
        manifest = unattended.current(asset, "P02").manifest
        assert (manifest.summary["parts_reused"], sorted(manifest.parts)) == (1, ["P02_S1", "P02_S2"]), asset
        of_old = manifest.parts["P02_S1"].files
        assert of_old and all(manifest.files[name] == before[asset][name] for name in of_old), asset


def failed_checks(daemon: Daemon, run: dg.DagsterRun) -> set[str]:
    """Blocking checks that failed in a run."""
    found = daemon.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    verdicts = [entry.get_dagster_event().asset_check_evaluation_data for entry in found]
    return {each.check_name for each in verdicts if not each.passed and each.blocking}


@contextmanager
def nothing_can_be_kept(staging: Path) -> Iterator[None]:
    """The store cannot take up anything."""
    staging.rename(staging.with_name(".elsewhere"))
    staging.touch()
    try:
        yield
    finally:
        staging.unlink()
        staging.with_name(".elsewhere").rename(staging)


def killed(daemon: Daemon, run: dg.DagsterRun) -> bool:
    """Kill the process that carries out a run, if it has one by now, while the run holds the GPU."""
    process = daemon.process_of(run.run_id)
    started = daemon.instance.get_run_by_id(run.run_id)
    if process is None or started is None or started.status is not dg.DagsterRunStatus.STARTED:
        return False
    # The only slot of the pool: whoever comes next has to wait until it is freed.
    assert daemon.instance.event_log_storage.claim_concurrency_slot("gpu", run.run_id, "step").is_claimed
    process.kill()
    return True
