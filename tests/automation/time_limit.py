"""Dagster's own watch over how long runs last, as if one had begun some hours ago."""

from __future__ import annotations

import logging
import time

import dagster as dg
from dagster._core.storage.dagster_run import RunRecord
from dagster._daemon.monitoring.run_monitoring import check_run_timeout


def watch_after(hours: float, instance: dg.DagsterInstance, run_id: str, limit_of_instance: float) -> None:
    """Let the watch look at a run that began so many hours ago; the limit, in seconds, is for runs that name none."""
    record = instance.get_run_record_by_id(run_id)
    assert record is not None
    began = RunRecord(
        storage_id=record.storage_id,
        dagster_run=record.dagster_run,
        create_timestamp=record.create_timestamp,
        update_timestamp=record.update_timestamp,
        start_time=time.time() - hours * 3600,
    )
    check_run_timeout(instance, began, logging.getLogger(), limit_of_instance)
