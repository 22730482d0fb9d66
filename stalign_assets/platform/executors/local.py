"""The engine ``local``: steps on this machine."""

from __future__ import annotations

import dagster as dg


def local_executor(processes: int) -> dg.ExecutorDefinition:
    """One process for all steps of a run, or one per step.

    Every step process imports torch, scanpy and jax anew, 5 to 25 s each: one process serves small studies.
    """
    if processes == 1:
        return dg.in_process_executor
    return dg.multiprocess_executor.configured({"max_concurrent": processes})
