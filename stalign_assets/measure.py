"""Seconds and peak memory of one computation."""

from __future__ import annotations

import resource
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

_CLEAR_REFS = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")
_SAMPLING_SECONDS = 0.05


class Measure:
    """Context that measures wall seconds and the peak resident memory of this process while it is open.

    On Linux the kernel's own high-water mark is reset and read, which misses nothing; where that is not allowed,
    resident memory is sampled every 50 ms.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self.peak_memory_bytes = 0
        self._stop = threading.Event()
        self._sampler: threading.Thread | None = None

    def __enter__(self) -> Self:
        if not _reset_high_water_mark():
            self._sampler = threading.Thread(target=self._sample, daemon=True)
            self._sampler.start()
        self._start = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.seconds = time.perf_counter() - self._start
        self._stop.set()
        if self._sampler is None:
            self.peak_memory_bytes = _high_water_mark()
        else:
            self._sampler.join()

    def _sample(self) -> None:
        import psutil

        process = psutil.Process()
        while True:
            self.peak_memory_bytes = max(self.peak_memory_bytes, process.memory_info().rss)
            if self._stop.wait(_SAMPLING_SECONDS):
                return


def _reset_high_water_mark() -> bool:
    try:
        _CLEAR_REFS.write_text("5")
    except OSError:
        return False
    return True


def _high_water_mark() -> int:
    for line in _STATUS.read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
