"""How many CPU threads the libraries of a step use."""

from __future__ import annotations

import os
import sys
from typing import Any, Final

_VARIABLES: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_NUMBA_VARIABLE: Final = "NUMBA_NUM_THREADS"


def available_cores() -> int:
    """Cores that this process may use, which in a container are fewer than the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def limit_threads(threads: int) -> int:
    """Let BLAS, OpenMP and torch use this many threads in this process; 0 means all available cores.

    Variables serve libraries that are loaded later, the calls those that are loaded already. Returns the number.
    """
    from threadpoolctl import threadpool_limits

    number = threads or available_cores()
    for variable in _VARIABLES:
        os.environ[variable] = str(number)
    let_threads_sleep()
    threadpool_limits(limits=number)
    _limit_numba(number)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(number)
    return number


def let_threads_sleep() -> None:
    """Threads that spin while they wait starve each other where other programs want the same cores.

    Serves libraries that are loaded later.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _limit_numba(number: int) -> None:
    """Loaded, it takes no more threads than its variable allowed then, and compiles only while that stays as it was."""
    numba: Any = sys.modules.get("numba")
    if numba is None:
        os.environ[_NUMBA_VARIABLE] = str(number)
    else:
        numba.set_num_threads(min(number, numba.config.NUMBA_NUM_THREADS))
