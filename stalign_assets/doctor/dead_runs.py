"""Runs that are said to be at work, whose process is gone; and what they still hold of pools."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from stalign_assets.doctor.finding import Finding
from stalign_assets.processes import HOST_TAG, PROCESS_TAG, is_gone, names_process, unfinished_runs

if TYPE_CHECKING:
    import dagster as dg


def dead_runs(instance: dg.DagsterInstance) -> Iterator[Finding]:
    """Runs whose process was of this machine and is gone.

    A run that has begun names its process in its tags. One that a server started says it in its events before that, and
    which code server was asked for it. A queued run has no process: the daemon takes it up when it is back.
    """
    for run in unfinished_runs(instance):
        gone = _what_is_gone(instance, run)
        if gone:
            problem = f"is {run.status.value}, but {gone} is gone"
            yield Finding("run", run.run_id, problem, "marked failed", partial(_end, instance, run, gone))


def held_slots(instance: dg.DagsterInstance) -> Iterator[Finding]:
    """Slots of pools that runs hold which are over or unknown."""
    storage = instance.event_log_storage
    for pool in sorted(storage.get_concurrency_keys()):
        info = storage.get_concurrency_info(pool)
        for run_id in sorted(info.active_run_ids | info.pending_run_ids):
            run = instance.get_run_by_id(run_id)
            if run is None or run.is_finished:
                state = "unknown" if run is None else "over"
                yield Finding(
                    "pool",
                    pool,
                    f"is held by run {run_id}, which is {state}",
                    "freed",
                    partial(storage.free_concurrency_slots_for_run, run_id),
                )


def _what_is_gone(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    """The process or server that a run cannot do without and that is gone, or nothing."""
    if names_process(run):
        return f"its process {run.tags[PROCESS_TAG]} on {run.tags[HOST_TAG]}" if is_gone(run) else ""
    process = _process_told(instance, run.run_id)
    if process is not None:
        return "" if _is_python(process) else f"its process {process}"
    return "the code server that was to start it" if _server_is_gone(run.tags) else ""


def _process_told(instance: dg.DagsterInstance, run_id: str) -> int | None:
    """The process that the run's events say carries it out, the last one where it was taken up again."""
    import dagster as dg

    told = None
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
        event = entry.get_dagster_event()
        pid = event.engine_event_data.metadata.get("pid")
        # Steps in processes of their own tell theirs, too; those end before the run does.
        if pid is not None and event.step_key is None and str(pid.value).isdecimal():
            told = int(str(pid.value))
    return told


def _is_python(process: int) -> bool:
    """Whether a process lives that may carry out a run; a number that another program has now is none."""
    import psutil

    try:
        found = psutil.Process(process)
        return found.status() != psutil.STATUS_ZOMBIE and "python" in Path(found.exe()).name
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return True


def _server_is_gone(tags: Mapping[str, str]) -> bool:
    from dagster._core.storage.tags import GRPC_INFO_TAG

    if GRPC_INFO_TAG not in tags:
        return False
    where = json.loads(tags[GRPC_INFO_TAG])
    path = where.get("socket")
    if path is None and where.get("host") not in ("localhost", "127.0.0.1", socket.gethostname()):
        return False
    try:
        with socket.socket(socket.AF_UNIX if path else socket.AF_INET) as probe:
            probe.settimeout(5)
            probe.connect(path or (where["host"], where["port"]))
    except (ConnectionRefusedError, FileNotFoundError):
        return True
    except OSError:
        return False
    return False


def _end(instance: dg.DagsterInstance, run: dg.DagsterRun, gone: str) -> None:
    instance.report_run_failed(run, message=f"{gone} is gone; told by 'stalign doctor'")
    instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
