"""Slots of pools that no living run holds, and telling who waits for which pool."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from stalign_assets.processes import HOST_TAG, PROCESS_TAG, is_gone, unfinished_runs

if TYPE_CHECKING:
    import dagster as dg

    from stalign_core.settings import ExecutionSettings

GPU_POOL: Final = "gpu"
DUCKDB_POOL: Final = "duckdb"

_LOOK_EVERY_SECONDS: Final = 10.0


def set_gpu_limit(instance: dg.DagsterInstance, execution: ExecutionSettings) -> None:
    """Let as many steps of the pool `gpu` in as the settings say; what holds a slot already keeps it."""
    limits = {pool.name: pool.limit for pool in instance.event_log_storage.get_pool_limits()}
    if limits.get(GPU_POOL) != execution.gpu_limit:
        instance.event_log_storage.set_concurrency_slots(GPU_POOL, execution.gpu_limit)


@contextmanager
def gpu_slots(instance: dg.DagsterInstance, execution: ExecutionSettings, number: int) -> Iterator[None]:
    """Meanwhile, let `number` steps of the pool `gpu` in where that is more than the settings say.

    For steps that do not hold a GPU, because the machine has none. Another command may set the limit of the settings
    again before the end: what runs then goes on, and what has not begun waits for it.
    """
    if number <= execution.gpu_limit:
        yield
        return
    instance.event_log_storage.set_concurrency_slots(GPU_POOL, number)
    try:
        yield
    finally:
        instance.event_log_storage.set_concurrency_slots(GPU_POOL, execution.gpu_limit)


def free_dead_slots(instance: dg.DagsterInstance) -> None:
    """Free the slots of runs that are over, and end runs of this machine whose process is gone.

    Of a run that has not begun no process is known: the daemon takes it up, or ends it where it does not come to begin.
    """
    _end_dead_runs(instance)
    storage = instance.event_log_storage
    for pool in storage.get_concurrency_keys():
        for run_id in storage.get_concurrency_info(pool).active_run_ids:
            run = instance.get_run_by_id(run_id)
            if run is not None and run.is_finished:
                storage.free_concurrency_slots_for_run(run_id)


@contextmanager
def telling_of_waits(
    instance: dg.DagsterInstance, run_id: str, say: Callable[[str], None], every_seconds: float = _LOOK_EVERY_SECONDS
) -> Iterator[None]:
    """While a run is at work: say which pool it waits for, and free slots whose holder has died meanwhile."""
    over = threading.Event()
    thread = threading.Thread(target=_watch, args=(instance, run_id, say, every_seconds, over), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _watch(
    instance: dg.DagsterInstance, run_id: str, say: Callable[[str], None], every_seconds: float, over: threading.Event
) -> None:
    told: set[str] = set()
    while not over.wait(every_seconds):
        for line in _waits(instance, run_id):
            if line not in told:
                told.add(line)
                say(line)
            free_dead_slots(instance)


def _waits(instance: dg.DagsterInstance, run_id: str) -> Iterator[str]:
    """Pools that steps of the run wait for while other runs hold them; its own steps may wait for each other."""
    storage = instance.event_log_storage
    for pool in storage.get_concurrency_keys():
        info = storage.get_concurrency_info(pool)
        holders = sorted(info.active_run_ids - {run_id})
        if run_id in info.pending_run_ids and holders:
            yield f"waiting for pool '{pool}', held by {', '.join(_described(instance, each) for each in holders)}"


def _described(instance: dg.DagsterInstance, run_id: str) -> str:
    run = instance.get_run_by_id(run_id)
    tags = {} if run is None else run.tags
    process = f" (process {tags[PROCESS_TAG]} on {tags[HOST_TAG]})" if tags.keys() >= {PROCESS_TAG, HOST_TAG} else ""
    return f"run {run_id[:8]}{process}"


def _end_dead_runs(instance: dg.DagsterInstance) -> None:
    """Mark runs of this machine failed whose process is gone, so that they hold no pool and block no schedule."""
    for run in unfinished_runs(instance):
        # Its last word may have come after the list of runs was read, but not after its process was gone.
        if is_gone(run) and _is_unfinished(instance, run.run_id):
            instance.report_run_failed(run, message="its process is gone")
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)


def _is_unfinished(instance: dg.DagsterInstance, run_id: str) -> bool:
    run = instance.get_run_by_id(run_id)
    return run is not None and not run.is_finished
