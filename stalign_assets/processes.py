"""The process that a run lives and dies with: how a run names it, and whether it is gone."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import dagster as dg

HOST_TAG: Final = "stalign/host"
PROCESS_TAG: Final = "stalign/process"
START_TAG: Final = "stalign/process_start"

_PROC: Final = Path("/proc")
_STATE_FIELD, _START_FIELD = 3, 22
"""Fields of ``/proc/<pid>/stat``, counted from 1 as proc(5) does; the name before the state may hold blanks."""


def own_tags() -> dict[str, str]:
    """Tags of a run that this process carries out."""
    process = os.getpid()
    start = process_start(process)
    tags = {HOST_TAG: socket.gethostname(), PROCESS_TAG: str(process)}
    return tags if start is None else {**tags, START_TAG: start}


def unfinished_runs(instance: dg.DagsterInstance) -> Sequence[dg.DagsterRun]:
    """Runs that have begun, or are about to, and have not ended as far as is known; queued ones are the daemon's."""
    import dagster as dg

    statuses = dg.DagsterRunStatus
    unfinished = [statuses.NOT_STARTED, statuses.STARTING, statuses.STARTED, statuses.CANCELING]
    return instance.get_runs(filters=dg.RunsFilter(statuses=unfinished))


def is_gone(tags: Mapping[str, str]) -> bool:
    """Whether a run's process ran on this machine and lives no longer, though another may have its number now.

    Of a run that names no process, or one of another machine, it cannot be told: it is taken to live.
    """
    import psutil

    if tags.get(HOST_TAG) != socket.gethostname() or PROCESS_TAG not in tags:
        return False
    process = int(tags[PROCESS_TAG])
    if not psutil.pid_exists(process):
        return True
    start = process_start(process)
    return start is not None and start != tags.get(START_TAG, start)


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
