"""Starting Dagster runs from a terminal and following them."""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from stalign_assets.following import Follower
from stalign_assets.locking import opening_history
from stalign_assets.platform.executors.assembly import instance_overrides
from stalign_assets.platform.partitions import register_donors
from stalign_assets.pools import free_dead_slots, set_gpu_limit, telling_of_waits
from stalign_assets.processes import own_tags
from stalign_assets.reporting import Console
from stalign_assets.signals import keeping_sigterm, noticing_stop
from stalign_core.settings import parse_settings

if TYPE_CHECKING:
    import dagster as dg
    from dagster._core.definitions.reconstruct import ReconstructableJob

    from stalign_assets.study import Study
    from stalign_core.settings import Settings

_QUIET: Final = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True)
class RunFault:
    """Why a step failed, in one line; `by_user` if its cause is an input or a setting."""

    step: str
    line: str
    by_user: bool


@dataclass(frozen=True)
class RunOutcome:
    """How a run ended."""

    run_id: str
    success: bool
    faults: tuple[RunFault, ...]


@dataclass(frozen=True)
class RunRequest:
    """Assets, with their checks, to run as one Dagster run; `partition` is a donor, or None for the cohort."""

    assets: Sequence[str]
    partition: str | None


def open_instance(study: Study) -> dg.DagsterInstance:
    """The Dagster instance of a study, which its UI and daemon use too."""
    import dagster as dg
    from dagster._core.instance.ref import InstanceRef

    home = str(study.dagster_home)
    overrides = {**instance_overrides(study.settings.execution), **_logs_of_terminal()}
    with opening_history(study):
        return dg.DagsterInstance.from_ref(InstanceRef.from_dir(home, overrides=overrides))


def _logs_of_terminal() -> dict[str, Any]:
    """What steps print is kept for the UI, but not where a terminal shows it.

    Dagster keeps it by way of processes that Ctrl-C reaches too, each of which then prints a traceback.
    """
    if sys.stderr is None or not sys.stderr.isatty():
        return {}
    module, name = "dagster._core.storage.noop_compute_log_manager", "NoOpComputeLogManager"
    return {"compute_logs": {"module": module, "class": name, "config": {}}}


def prepare_instance(instance: dg.DagsterInstance, study: Study) -> None:
    """Register donors, set the pool's limit, and free what dead processes still hold: pools and staging folders."""
    register_donors(instance, study.cohort.donors)
    set_gpu_limit(instance, study.settings.execution)
    free_dead_slots(instance)
    study.store.sweep_staging()


def start_run(study: Study, instance: dg.DagsterInstance, request: RunRequest, console: Console) -> RunOutcome:
    """Run assets, all steps in this process, each in one of its own or on a cluster, as the study's settings say.

    Raises
    ------
    KeyboardInterrupt
        If a signal ended the run: Dagster ends it in order, and whoever sent the signal wants the command to stop.
    """
    run_id = str(uuid.uuid4())
    execution = study.settings.execution
    run_in = _run_in_process if (execution.engine, execution.processes) == ("local", 1) else _run_in_processes
    with keeping_sigterm(), noticing_stop() as stop_came, telling_of_waits(instance, run_id, console.step_said):
        try:
            run_in(study, instance, request, run_id, console)
        except Exception:
            if stop_came():
                raise KeyboardInterrupt from None
            raise
        stopped = stop_came()
    run = instance.get_run_by_id(run_id)
    if run is None:
        raise RuntimeError(f"run {run_id} is not in {study.dagster_home}")
    if stopped or _was_interrupted(instance, run):
        raise KeyboardInterrupt
    return RunOutcome(run_id, run.is_success, faults_of_run(instance, run_id))


def definitions_of_study(folder: str, settings: str) -> dg.Definitions:
    """The definitions that every process of a run makes for itself; `settings` is JSON."""
    return _definitions(folder, parse_settings(json.loads(settings)))


def faults_of_run(instance: dg.DagsterInstance, run_id: str) -> tuple[RunFault, ...]:
    """Why steps of a run failed: the step's own line, or the error that ended it."""
    import dagster as dg

    faults = []
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
        event = entry.get_dagster_event()
        data = event.step_failure_data
        step = event.step_key or ""
        if data.user_failure_data is not None and data.user_failure_data.description:
            faults.append(RunFault(step, data.user_failure_data.description, by_user=True))
        elif data.error is not None:
            cause = data.error.cause or data.error
            faults.append(RunFault(step, f"{step}: {' '.join(cause.message.split())}", by_user=False))
    return tuple(dict.fromkeys(faults))


def _run_in_process(study: Study, instance: dg.DagsterInstance, request: RunRequest, run_id: str, _: Console) -> None:
    """Steps of this process tell the console themselves."""
    import dagster as dg

    definitions = _definitions(str(study.folder), study.settings)
    definitions.resolve_implicit_global_asset_job_def().execute_in_process(
        run_id=run_id,
        instance=instance,
        asset_selection=[dg.AssetKey(asset.split("/")) for asset in request.assets],
        partition_key=request.partition,
        raise_on_error=False,
        run_config=_QUIET,
        tags=own_tags(run_id),
    )


def _run_in_processes(
    study: Study, instance: dg.DagsterInstance, request: RunRequest, run_id: str, console: Console
) -> None:
    """Steps of other processes are told from the run's events and log, as they come.

    Events are taken to the last also where they cannot be shown: steps whose events nobody takes never end.
    """
    import dagster as dg
    from dagster._core.execution.api import execute_run_iterator

    job = reconstructable_job(study)
    selection = frozenset(dg.AssetKey(asset.split("/")) for asset in request.assets)
    subset = job.get_definition().get_subset(asset_selection=selection)
    tags = {}
    if request.partition is not None:
        tags = dict(subset.get_tags_for_partition_key(request.partition, selected_asset_keys=selection))
    run = instance.create_run_for_job(
        subset, run_id=run_id, run_config=_QUIET, tags={**tags, **own_tags(run_id)}, asset_selection=selection
    )
    follower = Follower(instance, run_id, request.assets, console)
    fault: Exception | None = None
    with follower.telling_progress():
        for event in execute_run_iterator(job, run, instance):
            if fault is None:
                fault = _fault_in(follower.tell, event)
    if fault is not None:
        raise fault


def _fault_in(tell: Callable[[dg.DagsterEvent], None], event: dg.DagsterEvent) -> Exception | None:
    try:
        tell(event)
    except Exception as error:
        return error
    return None


def reconstructable_job(study: Study) -> ReconstructableJob:
    """The job over all assets, which a step's process can make anew from the study's folder and settings."""
    from dagster._core.code_pointer import CustomPointer, ModuleCodePointer
    from dagster._core.definitions.reconstruct import ReconstructableJob, ReconstructableRepository

    maker = ModuleCodePointer(__name__, definitions_of_study.__name__, working_directory=None)
    pointer = CustomPointer(maker, [str(study.folder), study.settings.model_dump_json()], [])
    name = _definitions(str(study.folder), study.settings).resolve_implicit_global_asset_job_def().name
    return ReconstructableJob(ReconstructableRepository(pointer), name)


def _definitions(folder: str, settings: Settings) -> dg.Definitions:
    from stalign_assets.platform.build import build_definitions
    from stalign_assets.platform.resources import StudyResource

    return build_definitions(settings=settings, resources={"study": StudyResource(folder=folder)})


def _was_interrupted(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether SIGINT or SIGTERM ended the run or a step of it."""
    import dagster as dg

    if run.status in (dg.DagsterRunStatus.CANCELED, dg.DagsterRunStatus.CANCELING):
        return True
    told = {
        dg.DagsterEventType.STEP_FAILURE,
        dg.DagsterEventType.RUN_FAILURE,
        dg.DagsterEventType.ENGINE_EVENT,
    }
    events = [entry.get_dagster_event() for entry in instance.all_logs(run.run_id, of_type=told)]
    return any(_tells_of_interruption(event) for event in events)


def _tells_of_interruption(event: dg.DagsterEvent) -> bool:
    """Which event tells of a signal depends on whether it came in a step, between steps or in another process."""
    if event.is_engine_event:
        told = event.engine_event_data
        return "steps_interrupted" in told.metadata and told.error is None
    failure = event.step_failure_data if event.is_step_failure else event.job_failure_data
    error = None if failure is None else failure.error
    return error is not None and error.cls_name in ("DagsterExecutionInterruptedError", "KeyboardInterrupt")
