"""The engine ``local``: steps on this machine."""

from __future__ import annotations

from typing import Final

import dagster as dg

_PRELOADED: Final = "stalign_assets.platform.executors.preloaded"


def local_executor(processes: int) -> dg.ExecutorDefinition:
    """One process for all steps of a run, or one per step.

    Processes of steps are forked from one that has imported everything, once per command: 7 s of processor time, which
    is what each step would take that starts from nothing.
    """
    if processes == 1:
        return dg.in_process_executor
    start = {"forkserver": {"preload_modules": [_PRELOADED]}}
    return dg.multiprocess_executor.configured({"max_concurrent": processes, "start_method": start})
