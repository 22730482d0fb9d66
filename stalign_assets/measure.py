"""What one computation costs: wall and CPU seconds, and memory.

A process that has computed other assets before holds their libraries, and its allocator may hold their freed arrays.
The latter are given back before measuring; the former are told apart by the memory at the start.
"""

from __future__ import annotations

import ctypes
import gc
import resource
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

_CLEAR_REFS = Path("/proc/self/clear_refs")
_SAMPLING_SECONDS = 0.05
_UNNOTICED_BYTES: Final = 32 * 1024**2
_resident_when_collected = 0


class Measure:
    """Context that measures a computation while it is open.

    On Linux the kernel's own high-water mark is reset and read, which misses nothing; where that is not allowed,
    resident memory is sampled every 50 ms.

    Attributes
    ----------
    seconds
        Wall time.
    cpu_seconds
        Processor time of all threads of this process, and of child processes that have ended.
    peak_memory_bytes
        Largest resident memory of this process, with all that it held before.
    memory_at_start_bytes
        What it held before.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self.cpu_seconds = 0.0
        self.peak_memory_bytes = 0
        self.memory_at_start_bytes = 0
        self._stop = threading.Event()
        self._sampler: threading.Thread | None = None

    def __enter__(self) -> Self:
        _give_back_freed_memory()
        self.memory_at_start_bytes = _resident_memory()
        if not _reset_high_water_mark():
            self._sampler = threading.Thread(target=self._sample, daemon=True)
            self._sampler.start()
        self._cpu_start = _cpu_seconds()
        self._start = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.seconds = time.perf_counter() - self._start
        self.cpu_seconds = _cpu_seconds() - self._cpu_start
        self._stop.set()
        if self._sampler is None:
            self.peak_memory_bytes = high_water_mark()
        else:
            self._sampler.join()

    def _sample(self) -> None:
        while True:
            self.peak_memory_bytes = max(self.peak_memory_bytes, _resident_memory())
            if self._stop.wait(_SAMPLING_SECONDS):
                return


def _give_back_freed_memory() -> None:
    """Return freed memory to the system, so that it does not count for the next computation.

    Looking for cycles takes half a second once all libraries are loaded, so growth below `_UNNOTICED_BYTES` is let be.
    """
    global _resident_when_collected  # noqa: PLW0603
    grown = _resident_memory() - _resident_when_collected >= _UNNOTICED_BYTES
    if grown:
        gc.collect()
    # Only glibc has it.
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    if grown:
        _resident_when_collected = _resident_memory()


def _cpu_seconds() -> float:
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in spent)


def _resident_memory() -> int:
    import psutil

    return int(psutil.Process().memory_info().rss)


def _reset_high_water_mark() -> bool:
    try:
        _CLEAR_REFS.write_text("5")
    except OSError:
        return False
    return True


def high_water_mark(pid: int | None = None) -> int:
    """Largest resident memory, in bytes, of a process since it began or its mark was reset.

    What the kernel counts for `getrusage` is only the substitute: it starts at the memory of the process that started
    this one.

    Parameters
    ----------
    pid
        Another process than this; zero is given for one that has ended.
    """
    with suppress(OSError):
        for line in Path(f"/proc/{pid or 'self'}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0 if pid else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
