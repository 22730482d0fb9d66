"""What a child process and all that it starts take."""

from __future__ import annotations

import os
import subprocess
import threading
from contextlib import suppress
from dataclasses import dataclass

import psutil

from stalign_assets.measure import high_water_mark

MEBIBYTE = 2**20
_SECONDS_BETWEEN_LOOKS = 0.1


@dataclass(frozen=True)
class Usage:
    """What a child took.

    Attributes
    ----------
    cpu_seconds
        Processor time of all its threads and of the children that it waited for.
    peak_mb
        Largest resident memory of any one process among the child and its descendants, in MiB. The kernel's marks are
        read ten times a second, so growth in the last tenth before a process ends is missed. Its sum for `wait4` is no
        help: that begins at the memory of the process which started the child.
    """

    cpu_seconds: float
    peak_mb: float


def wait_measured(child: subprocess.Popen[bytes] | subprocess.Popen[str]) -> Usage:
    """Wait for the end of a child; its return code is then set."""
    peak, ended = 0, threading.Event()

    def look() -> None:
        nonlocal peak
        while True:
            peak = max(peak, _largest_mark(child.pid))
            if ended.wait(_SECONDS_BETWEEN_LOOKS):
                return

    looker = threading.Thread(target=look, daemon=True)
    looker.start()
    _, status, usage = os.wait4(child.pid, 0)
    ended.set()
    looker.join()
    child.returncode = os.waitstatus_to_exitcode(status)
    return Usage(usage.ru_utime + usage.ru_stime, peak / MEBIBYTE)


def _largest_mark(pid: int) -> int:
    family = [pid]
    with suppress(psutil.Error):
        family += [process.pid for process in psutil.Process(pid).children(recursive=True)]
    return max(map(high_water_mark, family))
