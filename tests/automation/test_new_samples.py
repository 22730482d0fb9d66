"""The sensor over the sample sheet: which donors get runs of their own, when, and what is waited for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from dagster._core.execution.plan.objects import StepFailureData
from dagster_shared.error import SerializableErrorInfo

from stalign_assets.processes import HOST_TAG, PROCESS_TAG, RUN_TAG, START_TAG, own_tags
from stalign_assets.settings_file import set_value
from stalign_assets.unattended.attempts import STATE_TAG, unfinished_runs
from stalign_assets.unattended.new_samples import Look, look_at_donors
from stalign_assets.unattended.watched import watched
from stalign_core.readers import read_sample
from stalign_core.store import Artifact
from stalign_core.store.refusals import refusal_of
from tests.assets import bad_inputs as bad
from tests.automation.conftest import Unattended
from tests.automation.time_limit import watch_after

pytestmark = pytest.mark.slow

OWN = {"raw_samples", "gene_statistics", "spot_grids", "morphology_embeddings/texture"}
STILL = "is new or has changed; its turn comes once it stands still from one look to the next"


def reason(result: dg.SensorResult) -> str:
    assert not result.run_requests
    assert isinstance(result.skip_reason, dg.SkipReason)
    return str(result.skip_reason.skip_message)


def look_later(unattended: Unattended, hours: float) -> Look:
    """A look at the same donors as the last one, some hours from now."""
    study, instance = watched(unattended.study), unattended.instance
    seen = look_at_donors(study, instance, (), {}, datetime.now(UTC)).seen
    return look_at_donors(study, instance, unfinished_runs(instance), seen, datetime.now(UTC) + timedelta(hours=hours))


# Which donors, and when


def test_a_study_that_is_up_to_date_asks_for_nothing_and_is_not_looked_at_again(unattended: Unattended) -> None:
    assert reason(unattended.look()) == "every donor is up to date"
    assert reason(unattended.look()) == "nothing has changed since every donor was found up to date"


def test_a_new_donor_is_registered_at_once_and_its_own_assets_run_once_it_stands_still(unattended: Unattended) -> None:
    donor = unattended.add_third()
    assert donor not in unattended.instance.get_dynamic_partitions("donors")
    assert reason(unattended.look()) == f"{donor}: {STILL}"
    assert donor in unattended.instance.get_dynamic_partitions("donors")
    (request,) = unattended.look().run_requests
    assert request.partition_key == donor
    assert {key.to_user_string() for key in request.asset_selection} == OWN
    assert request.run_key == f"{donor}:{request.tags[STATE_TAG]}:1"
    assert request.tags["dagster/max_runtime"] == str(48 * 3600)
    assert unattended.carry_out(request)
    assert reason(unattended.look()) == "every donor is up to date"
    assert set(unattended.current("raw_samples", donor).manifest.summary["samples"]) == {"P03_S1"}


def test_with_donor_scope_a_new_donor_is_integrated_alone_too(unattended: Unattended) -> None:
    set_value(unattended.folder / "study.toml", "automation", "donor_scope", True)
    unattended.add_third()
    (request,) = unattended.requests()
    asked = {key.to_user_string() for key in request.asset_selection}
    assert OWN | {"donor/uncorrected/domains"} <= asked
    assert not [asset for asset in asked if asset.startswith("cohort")]


def test_files_that_are_still_being_written_are_waited_for(unattended: Unattended) -> None:
    donor = unattended.add_third()
    for seconds in (1, 2, 3):
        os.utime(unattended.data / "images" / "P03_S1.tif", (seconds, seconds))
        assert reason(unattended.look()) == f"{donor}: {STILL}"
    assert [request.partition_key for request in unattended.look().run_requests] == [donor]


def test_a_folder_that_grows_while_it_lacks_a_file_is_waited_for(unattended: Unattended) -> None:
    section = bad.Files(unattended.data, "P03_S1").section
    counts = section / "filtered_feature_bc_matrix" / "matrix.mtx.gz"
    whole, elsewhere = counts.read_bytes(), (section / "spatial").rename(unattended.data / "spatial")
    donor = unattended.add_third(donor="P02")
    for size in (1000, 2000):
        counts.write_bytes(whole[:size])
        assert reason(unattended.look()) == f"{donor}: {STILL}"
    counts.write_bytes(whole)
    elsewhere.rename(section / "spatial")
    assert reason(unattended.look()) == f"{donor}: {STILL}"
    (request,) = unattended.look().run_requests
    assert unattended.carry_out(request)
    assert set(unattended.current("raw_samples", donor).manifest.summary["samples"]) == {"P02_S1", "P03_S1"}


def test_what_no_reader_takes_of_an_incomplete_folder_may_change(unattended: Unattended) -> None:
    section = bad.Files(unattended.data, "P03_S1").section
    (section / "spatial").rename(unattended.data / "spatial")
    unrelated = section / "SPATIAL_RNA_COUNTER_CS" / "_log"
    unrelated.parent.mkdir()
    donor = unattended.add_third(donor="P02")
    states = []
    for line in ("a", "ab"):
        unrelated.write_text(line)
        states.append(look_later(unattended, hours=0).seen[donor])
    assert states[0] == states[1]


def test_a_changed_file_of_a_known_donor_runs_that_donor_alone(unattended: Unattended) -> None:
    labels = unattended.data / "annotations" / "P02_S1.csv"
    lines = labels.read_text().splitlines()
    labels.write_text("\n".join([lines[0], *lines[2:]]) + "\n")
    (request,) = unattended.requests()
    assert request.partition_key == "P02"
    assert unattended.carry_out(request)
    assert reason(unattended.look()) == "every donor is up to date"


def test_a_donor_with_a_run_at_work_is_not_asked_for_again_whoever_started_it(unattended: Unattended) -> None:
    donor = unattended.add_third()
    (request,) = unattended.requests()
    job = unattended.definitions().resolve_implicit_global_asset_job_def()
    run = unattended.instance.create_run_for_job(
        job.get_subset(asset_selection={dg.AssetKey("raw_samples")}),
        status=dg.DagsterRunStatus.STARTED,
        tags={"dagster/partition": donor},
        asset_selection=frozenset({dg.AssetKey("raw_samples")}),
    )
    assert reason(unattended.look()) == f"{donor}: run {run.run_id[:8]} is at work on it"
    unattended.instance.report_run_canceled(run)
    (again,) = unattended.look().run_requests
    assert again.run_key == request.run_key


def test_a_new_section_of_a_known_donor_costs_only_itself(
    unattended: Unattended, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    stored: list[str] = []
    stored_anndata = Artifact.anndata

    def counting(sample, *arguments, **words):
        read.append(sample.sample)
        return read_sample(sample, *arguments, **words)

    def noting(artifact: Artifact, name: str):
        stored.append(name)
        return stored_anndata(artifact, name)

    monkeypatch.setattr("stalign_core.readers.read_sample", counting)
    monkeypatch.setattr(Artifact, "anndata", noting)
    before = {asset: unattended.current(asset, "P02").manifest.files for asset in OWN}
    unattended.add_third(donor="P02")
    assert unattended.settle() == ["P02"]
    assert read == ["P03_S1"]
    # The check of what was stored looks at both sections; genes are counted in the new one alone.
    assert Counter(stored) == {"P02_S1.counts.h5ad": 1, "P03_S1.counts.h5ad": 2}
    for asset in OWN:
        manifest = unattended.current(asset, "P02").manifest
        assert (manifest.summary["parts_reused"], sorted(manifest.parts)) == (1, ["P02_S1", "P03_S1"]), asset
        of_old = manifest.parts["P02_S1"].files
        assert of_old and all(manifest.files[name] == before[asset][name] for name in of_old), asset


# What failed, and what comes back


def test_a_donor_that_cannot_be_read_is_tried_again_when_it_changes_or_after_a_day(unattended: Unattended) -> None:
    donor = unattended.add_third()
    bad.truncate_image(bad.Files(unattended.data, "P03_S1"))
    (request,) = unattended.requests()
    assert not unattended.carry_out(request)
    run_id = unattended.instance.get_runs(limit=1)[0].run_id
    told = reason(unattended.look())
    assert told.startswith(f"{donor}: run {run_id[:8]} for it ended with failure; tried again after ")
    assert told.endswith(" UTC, or when it changes")

    assert look_later(unattended, 19.9).wishes == []
    (wish,) = look_later(unattended, 20.1).wishes
    assert (wish.partition, wish.state, wish.attempt) == (donor, request.tags[STATE_TAG], 2)
    assert wish.run_key != request.run_key
    # A clock that was set back keeps nobody waiting.
    assert [wish.attempt for wish in look_later(unattended, -1).wishes] == [2]

    unattended.mend()
    (again,) = unattended.requests()
    assert again.tags[STATE_TAG] != request.tags[STATE_TAG]
    assert unattended.carry_out(again)
    assert refusal_of(unattended.study.store, "raw_samples", donor) is None
    assert reason(unattended.look()) == "every donor is up to date"


def test_a_donor_whose_file_is_gone_is_tried_once_until_it_is_back_and_holds_up_no_other(
    unattended: Unattended,
) -> None:
    labels = unattended.data / "annotations" / "P02_S1.csv"
    kept = labels.rename(labels.with_suffix(".kept"))
    new = unattended.add_third()
    assert unattended.settle() == ["P02", new]
    refused = refusal_of(unattended.study.store, "raw_samples", "P02")
    assert refused is not None and f"row 3, annotation: {labels} does not exist" in refused.line
    assert refusal_of(unattended.study.store, "raw_samples", new) is None
    assert reason(unattended.look()).startswith("P02: run ")
    assert look_later(unattended, 19.9).wishes == []

    n_computed = len(list(unattended.study.store.artifacts()))
    kept.rename(labels)
    assert unattended.settle() == ["P02"]
    assert refusal_of(unattended.study.store, "raw_samples", "P02") is None
    assert len(list(unattended.study.store.artifacts())) == n_computed
    assert reason(unattended.look()).endswith("every donor was found up to date")


def test_settings_that_are_changed_back_are_recognised_and_cost_no_computation(unattended: Unattended) -> None:
    settings = unattended.folder / "study.toml"
    keys = []
    for patch_diameters in (1.0, 2.0, 1.0, 2.0):
        set_value(settings, "morphology", "patch_diameters", patch_diameters)
        assert unattended.settle() == ([] if not keys else ["P01", "P02"])
        keys.append(unattended.current("morphology_embeddings/texture", "P01").manifest.input_key)
    assert keys[0] == keys[2] != keys[1] == keys[3]
    n_computed = len(list(unattended.study.store.artifacts()))
    set_value(settings, "morphology", "patch_diameters", 1.0)
    assert unattended.settle() == ["P01", "P02"]
    assert len(list(unattended.study.store.artifacts())) == n_computed


def test_a_killed_run_is_tried_again_at_once_and_once_more_killed_leaves_the_donor_out(unattended: Unattended) -> None:
    donor = unattended.add_third()
    for attempt in (1, 2):
        (request,) = unattended.requests()
        assert request.run_key.endswith(f":{attempt}")
        killed(unattended, request)
    told = reason(unattended.look())
    assert "ended with failure; tried again after" in told
    (line,) = (found.line for asset in OWN if (found := refusal_of(unattended.study.store, asset, donor)) is not None)
    assert "was killed while it made raw_samples, perhaps for want of memory" in line
    (wish,) = look_later(unattended, 20.1).wishes
    assert wish.attempt == 3


def test_a_run_that_takes_too_long_twice_leaves_the_donor_out_and_holds_up_nobody(unattended: Unattended) -> None:
    donor = unattended.add_third()
    for attempt in (1, 2):
        (request,) = unattended.requests()
        assert request.run_key.endswith(f":{attempt}")
        assert f"the cohort waits for {donor}" in str(unattended.night().skip_message)
        ended_for_its_time(unattended, request)
    assert "ended with failure; tried again after" in reason(unattended.look())
    refused = refusal_of(unattended.study.store, "raw_samples", donor)
    assert refused is not None
    run_id = unattended.instance.get_runs(limit=1)[0].run_id
    assert refused.line == (
        f"donor {donor}: run {run_id} ran longer than 48 hours (automation.max_run_hours) while it made raw_samples"
    )
    assert isinstance(unattended.night(), dg.RunRequest), "the cohort goes on without the donor"


def ended_for_its_time(unattended: Unattended, request: dg.RunRequest) -> None:
    """What is left of a run in whose step Dagster's own watch saw that its time was over."""
    instance, run = unattended.instance, started(unattended, request)
    interrupted = SerializableErrorInfo("", [], "DagsterExecutionInterruptedError")
    failure = dg.DagsterEvent(
        event_type_value=dg.DagsterEventType.STEP_FAILURE.value,
        job_name=run.job_name,
        step_key="raw_samples",
        event_specific_data=StepFailureData(error=interrupted, user_failure_data=None),
    )
    instance.report_dagster_event(failure, run.run_id)
    watch_after(49, instance, run.run_id, 0.0)


def killed(unattended: Unattended, request: dg.RunRequest) -> None:
    """What is left of a run whose process was killed, once its code server has seen that."""
    run = started(unattended, request)
    unattended.instance.report_run_failed(run, "Run execution process unexpectedly exited with exit code -9.")


def started(unattended: Unattended, request: dg.RunRequest) -> dg.DagsterRun:
    """A run for a request that has begun."""
    job = unattended.definitions().resolve_implicit_global_asset_job_def()
    return unattended.instance.create_run_for_job(
        job.get_subset(asset_selection=set(request.asset_selection)),
        status=dg.DagsterRunStatus.STARTED,
        tags={**request.tags, "dagster/partition": str(request.partition_key)},
        asset_selection=frozenset(request.asset_selection),
    )


# What cannot stand at a tick


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "samples.csv: is empty; expected a header with the columns sample,donor,path"),
        ("sample,donor,path\nP01_S1,P01,", "samples.csv, row 2, path: is empty"),
        ("sample,donor,path\nP01_S1,P0", "samples.csv, row 2: has 2 cells; expected 3"),
    ],
    ids=["empty", "half a row", "half a cell"],
)
def test_a_sheet_that_cannot_stand_skips_the_tick_with_one_line_and_loses_nothing(
    unattended: Unattended, text: str, line: str
) -> None:
    good = unattended.add_third()
    sheet = (unattended.folder / "samples.csv").read_text()
    unattended.look()
    cursor = unattended.cursor
    (unattended.folder / "samples.csv").write_text(text)
    told = reason(unattended.look())
    assert line in told and "\n" not in told
    assert unattended.cursor == cursor
    assert set(unattended.instance.get_dynamic_partitions("donors")) == {"P01", "P02", good}
    (unattended.folder / "samples.csv").write_text(sheet)
    assert [request.partition_key for request in unattended.look().run_requests] == [good]


def test_assets_that_are_not_loaded_skip_the_tick_and_say_how_they_are(unattended: Unattended) -> None:
    loaded = unattended.definitions()
    unattended.definitions = lambda: loaded  # type: ignore[method-assign]
    unattended.add_third()
    set_value(unattended.folder / "study.toml", "variants", "second", {"correction": "harmony"})
    told = reason(unattended.look())
    assert "asks for assets that are not loaded, such as " in told
    assert told.endswith("reload the code location in the UI, or start 'stalign ui' again")


def test_a_tick_lets_a_changed_limit_of_the_gpu_hold_and_frees_what_dead_runs_hold(unattended: Unattended) -> None:
    storage = unattended.instance.event_log_storage

    @dg.job
    def holding() -> None: ...

    held = unattended.instance.create_run_for_job(holding, status=dg.DagsterRunStatus.STARTED)
    assert storage.claim_concurrency_slot("gpu", held.run_id, "step").is_claimed
    set_value(unattended.folder / "study.toml", "execution", "gpu_limit", 3)
    unattended.look()
    assert {pool.name: pool.limit for pool in storage.get_pool_limits()}["gpu"] == 3
    assert storage.get_concurrency_info("gpu").active_run_ids == {held.run_id}
    unattended.instance.report_run_failed(held, "Run execution process unexpectedly exited with exit code -9.")
    unattended.look()
    assert storage.get_concurrency_info("gpu").active_run_ids == set()


def test_a_run_that_died_with_its_processes_is_ended_at_the_next_tick_and_its_work_asked_for_again(
    unattended: Unattended,
) -> None:
    set_value(unattended.folder / "study.toml", "execution", "processes", 1)
    donor = unattended.add_third()
    (request,) = unattended.requests()
    tags = json.dumps({**request.tags, "dagster/partition": donor})
    command = [sys.executable, "-m", "tests.automation.killed_run", unattended.folder, ",".join(sorted(OWN)), tags]
    died = subprocess.run([*command, "morphology_embeddings__texture"], check=False)
    assert died.returncode == -signal.SIGKILL
    instance = unattended.instance
    (dead,) = instance.get_runs(limit=1)
    assert dead.status is dg.DagsterRunStatus.STARTED
    assert instance.event_log_storage.get_concurrency_info("gpu").active_run_ids == {dead.run_id}

    @dg.job
    def something() -> None: ...

    def left(status: dg.DagsterRunStatus, run_id: str, **tags: str) -> dg.DagsterRun:
        return instance.create_run_for_job(something, run_id=run_id, status=status, tags=tags)

    started = dg.DagsterRunStatus.STARTED
    process = {name: dead.tags[name] for name in (HOST_TAG, PROCESS_TAG, START_TAG, RUN_TAG)}
    of_this_process = left(started, "1" * 32, **own_tags("1" * 32))
    elsewhere = left(started, "2" * 32, **{**process, RUN_TAG: "2" * 32, HOST_TAG: "elsewhere"})
    # A run that is carried out once more begins with the tags of the earlier one.
    once_more = left(dg.DagsterRunStatus.STARTING, "3" * 32, **process)
    lives = {run.run_id: run.status for run in (of_this_process, elsewhere, once_more)}

    (again,) = unattended.look().run_requests
    ended = instance.get_run_by_id(dead.run_id)
    assert ended is not None and ended.status is dg.DagsterRunStatus.FAILURE
    assert not instance.event_log_storage.get_concurrency_info("gpu").active_run_ids
    assert (again.partition_key, again.tags[STATE_TAG]) == (donor, request.tags[STATE_TAG])
    found = {run_id: instance.get_run_by_id(run_id) for run_id in lives}
    assert {run_id: run and run.status for run_id, run in found.items()} == lives


def test_the_sensors_run_without_being_switched_on_unless_the_settings_say_no(unattended: Unattended) -> None:
    def statuses() -> set[dg.DefaultSensorStatus]:
        return {sensor.default_status for sensor in unattended.definitions().sensors or ()}

    assert statuses() == {dg.DefaultSensorStatus.RUNNING}
    set_value(unattended.folder / "study.toml", "automation", "watch", False)
    assert statuses() == {dg.DefaultSensorStatus.STOPPED}


def test_what_takes_long_is_not_done_at_a_tick(unattended: Unattended, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tick is cut off after a minute: no raw file is hashed, and no artifact verified, however many have come."""
    unattended.add_third()

    def refuse(*_: object) -> str:
        raise AssertionError("a file was hashed")

    monkeypatch.setattr("stalign_core.store.fingerprints.file_sha256", refuse)
    monkeypatch.setattr("stalign_core.store.hashing.file_sha256", refuse)
    assert len(unattended.requests()) == 1
