"""The largest resident memory of a process, without that of the process which started it.

What `wait4` and `getrusage` tell begins at the memory of the parent at the time of the start, so a small child of a
large process looks large.
"""

from __future__ import annotations

import os
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path

KILOBYTES_PER_MEGABYTE = 1024
_SECONDS_BETWEEN_LOOKS = 0.02


@dataclass(frozen=True)
class Usage:
    """What a child took.

    Attributes
    ----------
    cpu_seconds
        Processor time of all its threads and of the children that it waited for.
    peak_mb
        Largest resident memory of the child itself, in megabytes, looked at fifty times a second.
    """

    cpu_seconds: float
    peak_mb: float


def own_peak_mb() -> float:
    """Largest resident memory of this process so far, in megabytes."""
    return _peak_mb(os.getpid())


def wait_measured(child: subprocess.Popen[bytes] | subprocess.Popen[str]) -> Usage:
    """Wait for the end of a child; its return code is then set."""
    peaks, ended = [0.0], threading.Event()

    def look() -> None:
        while True:
            peaks.append(max(peaks.pop(), _peak_mb(child.pid)))
            if ended.wait(_SECONDS_BETWEEN_LOOKS):
                return

    looker = threading.Thread(target=look, daemon=True)
    looker.start()
    _, status, usage = os.wait4(child.pid, 0)
    ended.set()
    looker.join()
    child.returncode = os.waitstatus_to_exitcode(status)
    return Usage(usage.ru_utime + usage.ru_stime, peaks[0])


def _peak_mb(pid: int) -> float:
    """Zero for a process that has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / KILOBYTES_PER_MEGABYTE for line in lines if line.startswith("VmHWM:")), 0.0)
