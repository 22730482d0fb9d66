"""What a machine is called in records of time: its processor and its cores, and nothing that tells whose it is."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path
from typing import Final

from stalign_assets.threads import available_cores

_CPUINFO: Final = Path("/proc/cpuinfo")


@cache
def machine_name() -> str:
    """Such as ``Intel(R) Xeon(R) Gold 6136 CPU @ 3.00GHz, 2 cores``."""
    return f"{_model()}, {available_cores()} cores"


def _model() -> str:
    try:
        lines = _CPUINFO.read_text().splitlines()
    except OSError:
        lines = []
    found = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(found, "") or platform.processor() or platform.machine()
