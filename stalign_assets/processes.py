"""The process that a run lives and dies with: how a run names it, and whether it is gone."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import dagster as dg

HOST_TAG: Final = "stalign/host"
PROCESS_TAG: Final = "stalign/process"
START_TAG: Final = "stalign/process_start"
RUN_TAG: Final = "stalign/process_of_run"
"""The run that the process carries out: a run that is carried out once more begins with the tags of the earlier one."""

_PROC: Final = Path("/proc")
_STATE_FIELD, _START_FIELD = 3, 22
"""Fields of ``/proc/<pid>/stat``, counted from 1 as proc(5) does; the name before the state may hold blanks."""


def own_tags(run_id: str) -> dict[str, str]:
    """Tags of a run that this process carries out."""
    process = os.getpid()
    start = process_start(process)
    tags = {HOST_TAG: socket.gethostname(), PROCESS_TAG: str(process), RUN_TAG: run_id}
    return tags if start is None else {**tags, START_TAG: start}


def unfinished_runs(instance: dg.DagsterInstance) -> Sequence[dg.DagsterRun]:
    """Runs that have begun, or are about to, and have not ended as far as is known; queued ones are the daemon's."""
    import dagster as dg

    statuses = dg.DagsterRunStatus
    unfinished = [statuses.NOT_STARTED, statuses.STARTING, statuses.STARTED, statuses.CANCELING]
    return instance.get_runs(filters=dg.RunsFilter(statuses=unfinished))


def names_process(run: dg.DagsterRun) -> bool:
    """Whether a run's tags name the process that carries it out, and not that of a run before it."""
    return PROCESS_TAG in run.tags and run.tags.get(RUN_TAG, run.run_id) == run.run_id


def is_gone(run: dg.DagsterRun) -> bool:
    """Whether a run's process ran on this machine and lives no longer, though another may have its number now.

    Of a run that names no process, or one of another machine, it cannot be told: it is taken to live.
    """
    import psutil

    if run.tags.get(HOST_TAG) != socket.gethostname() or not names_process(run):
        return False
    process = int(run.tags[PROCESS_TAG])
    if not psutil.pid_exists(process) or _is_zombie(process):
        return True
    start = process_start(process)
    return start is not None and start != run.tags.get(START_TAG, start)


def _is_zombie(process: int) -> bool:
    """Whether a process has ended, though what started it has not taken note."""
    import psutil

    try:
        return bool(psutil.Process(process).status() == psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def process_start(process: int) -> str | None:
    """A text that no other process of this machine with this number has, ever; None where it cannot be told.

    On Linux it is told in ticks since a named boot, which setting the clock does not change. Some machines hide
    other users' processes.
    """
    import psutil

    try:
        boot = (_PROC / "sys" / "kernel" / "random" / "boot_id").read_text().strip()
        stat = (_PROC / str(process) / "stat").read_text()
        return f"{boot} {stat.rpartition(')')[2].split()[_START_FIELD - _STATE_FIELD]}"
    except OSError:
        pass
    try:
        return f"{psutil.Process(process).create_time():.2f}"
    except psutil.Error:
        return None
