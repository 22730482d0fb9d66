"""Starting Dagster runs from a terminal: one per donor partition, then one for the cohort."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stalign_assets.study import STUDY_VARIABLE, Study

if TYPE_CHECKING:
    import dagster as dg

_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True)
class RunOutcome:
    """How a run ended; `faults` has a line for each step that failed."""

    run_id: str
    success: bool
    faults: tuple[str, ...]


def open_instance(study: Study) -> dg.DagsterInstance:
    """The Dagster instance of a study, which its UI and daemon use too."""
    import dagster as dg

    return dg.DagsterInstance.from_config(str(study.dagster_home))


def run_in_process(
    definitions: dg.Definitions, instance: dg.DagsterInstance, assets: Sequence[str], partition: str | None
) -> RunOutcome:
    """Run assets, with their checks, as one Dagster run in this process."""
    import dagster as dg

    job = definitions.resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(
        instance=instance,
        asset_selection=[dg.AssetKey(asset.split("/")) for asset in assets],
        partition_key=partition,
        raise_on_error=False,
        run_config=_QUIET,
        tags={"stalign/started_by": "stalign run"},
    )
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
    log.parent.mkdir(parents=True, exist_ok=True)
    before = {record.dagster_run.run_id for record in instance.get_run_records(limit=50)}
    with log.open("wb") as stream:
        code = subprocess.run(
            command, env=environment, stdout=stream, stderr=subprocess.STDOUT, check=False, cwd=study.folder
        ).returncode
    for record in instance.get_run_records(limit=50):
        run = record.dagster_run
        if run.run_id not in before:
            return RunOutcome(run.run_id, run.is_success and code == 0, faults_of_run(instance, run.run_id))
    return RunOutcome("", False, (f"dagster ended with code {code} before a run began; see {_tail(log)}",))


def faults_of_run(instance: dg.DagsterInstance, run_id: str) -> tuple[str, ...]:
    """One line per failed step of a run: the step's own error, or the check that did not hold."""
    import dagster as dg

    lines = []
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
        event = entry.get_dagster_event()
        data = event.step_failure_data
        if data.user_failure_data is not None and data.user_failure_data.description:
            lines.append(data.user_failure_data.description)
        elif data.error is not None:
            cause = data.error.cause or data.error
            lines.append(f"{event.step_key}: {' '.join(cause.message.split())}")
    return tuple(dict.fromkeys(lines))


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return f"{log} ({lines[-1] if lines else 'empty'})"
