"""Starting Dagster runs from a terminal, and cleaning up after runs whose process is gone."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from stalign_assets.platform.partitions import register_donors
from stalign_assets.study import STUDY_VARIABLE, Study

if TYPE_CHECKING:
    import dagster as dg

HOST_TAG: Final = "stalign/host"
PROCESS_TAG: Final = "stalign/process"
GPU_POOL: Final = "gpu"

_QUIET: Final = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True)
class RunFault:
    """Why a step failed, in one line; `by_user` if its cause is an input or a setting."""

    line: str
    by_user: bool


@dataclass(frozen=True)
class RunOutcome:
    """How a run ended."""

    run_id: str
    success: bool
    faults: tuple[RunFault, ...]


def open_instance(study: Study) -> dg.DagsterInstance:
    """The Dagster instance of a study, which its UI and daemon use too."""
    import dagster as dg

    return dg.DagsterInstance.from_config(str(study.dagster_home))


def prepare_instance(instance: dg.DagsterInstance, study: Study) -> None:
    """Register donors, set the pool's limit, and free what runs of dead processes still hold."""
    register_donors(instance, study.cohort.donors)
    instance.event_log_storage.set_concurrency_slots(GPU_POOL, study.settings.execution.gpu_limit)
    _end_dead_runs(instance)


def run_in_process(
    study: Study, instance: dg.DagsterInstance, assets: Sequence[str], partition: str | None
) -> RunOutcome:
    """Run assets, with their checks, as one Dagster run in this process."""
    import dagster as dg

    from stalign_assets.platform.build import build_definitions
    from stalign_assets.platform.resources import StudyResource

    definitions = build_definitions(
        settings=study.settings, resources={"study": StudyResource(folder=str(study.folder))}
    )
    result = definitions.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=instance,
        asset_selection=[dg.AssetKey(asset.split("/")) for asset in assets],
        partition_key=partition,
        raise_on_error=False,
        run_config=_QUIET,
        tags={HOST_TAG: socket.gethostname(), PROCESS_TAG: str(os.getpid())},
    )
    if _was_interrupted(instance, result.run_id):
        # Dagster ends the run in order and returns; whoever sent the signal wants the whole command to stop.
        raise KeyboardInterrupt
    return RunOutcome(result.run_id, result.success, faults_of_run(instance, result.run_id))


def run_in_processes(
    study: Study, instance: dg.DagsterInstance, assets: Sequence[str], partition: str | None
) -> RunOutcome:
    """Run assets as one Dagster run whose steps each have a process of their own."""
    command = [sys.executable, "-m", "dagster", "asset", "materialize", "-m", "stalign_assets.definitions"]
    command += ["--select", ",".join(assets)]
    if partition is not None:
        command += ["--partition", partition]
    environment = {**os.environ, "DAGSTER_HOME": str(study.dagster_home), STUDY_VARIABLE: str(study.folder)}
    log = study.dagster_home / "last_run.log"
    before = {record.dagster_run.run_id for record in instance.get_run_records(limit=50)}
    with log.open("wb") as stream:
        code = subprocess.run(
            command, env=environment, stdout=stream, stderr=subprocess.STDOUT, check=False, cwd=study.dagster_home
        ).returncode
    for record in instance.get_run_records(limit=50):
        run = record.dagster_run
        if run.run_id not in before:
            return RunOutcome(run.run_id, run.is_success and code == 0, faults_of_run(instance, run.run_id))
    line = f"dagster ended with code {code} before a run began; see {_last_line(log)}"
    return RunOutcome("", False, (RunFault(line, by_user=False),))


def faults_of_run(instance: dg.DagsterInstance, run_id: str) -> tuple[RunFault, ...]:
    """Why steps of a run failed: the step's own line, or the error that ended it."""
    import dagster as dg

    faults = []
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
        event = entry.get_dagster_event()
        data = event.step_failure_data
        if data.user_failure_data is not None and data.user_failure_data.description:
            faults.append(RunFault(data.user_failure_data.description, by_user=True))
        elif data.error is not None:
            cause = data.error.cause or data.error
            faults.append(RunFault(f"{event.step_key}: {' '.join(cause.message.split())}", by_user=False))
    return tuple(dict.fromkeys(faults))


def _was_interrupted(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Whether SIGINT or SIGTERM ended a step of the run."""
    import dagster as dg

    failures = instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    errors = [entry.get_dagster_event().step_failure_data.error for entry in failures]
    return any(error is not None and error.cls_name == "DagsterExecutionInterruptedError" for error in errors)


def _end_dead_runs(instance: dg.DagsterInstance) -> None:
    """Mark runs of this machine failed whose process is gone, so that they hold no pool and block no schedule."""
    import dagster as dg
    import psutil

    unfinished = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING])
    for run in instance.get_runs(filters=unfinished):
        process = run.tags.get(PROCESS_TAG)
        if run.tags.get(HOST_TAG) != socket.gethostname() or process is None or psutil.pid_exists(int(process)):
            continue
        instance.report_run_failed(run, message="its process is gone")
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return f"{log} ({lines[-1] if lines else 'empty'})"
