"""What a study's Dagster instance is told: one unattended run at a time, no run for ever."""

from __future__ import annotations

import dagster as dg
import pytest

from stalign_assets.platform.automation.ticks import request_of
from stalign_assets.settings_file import set_value
from stalign_assets.unattended.attempts import UNATTENDED_TAG, Wish
from stalign_assets.unattended.watched import watched
from tests.automation.conftest import Unattended
from tests.automation.time_limit import watch_after

pytestmark = pytest.mark.slow


def test_one_unattended_run_is_at_work_at_a_time(unattended: Unattended) -> None:
    limits = unattended.instance.get_concurrency_config().run_queue_config
    assert limits is not None
    assert list(limits.tag_concurrency_limits) == [{"key": UNATTENDED_TAG, "limit": 1}]


def test_runs_are_watched_over_and_slots_of_killed_ones_freed(unattended: Unattended) -> None:
    settings = unattended.instance.run_monitoring_settings
    assert unattended.instance.run_monitoring_enabled
    assert (settings["free_slots_after_run_end_seconds"], settings["poll_interval_seconds"]) == (60, 60)
    assert unattended.instance.run_monitoring_max_runtime_seconds == 7 * 24 * 3600


@pytest.mark.parametrize(("hours", "status"), [(1.9, "FAILURE"), (2.1, "STARTED")])
def test_an_unattended_run_is_ended_once_it_lasts_longer_than_the_settings_allow(
    unattended: Unattended, hours: float, status: str
) -> None:
    """By Dagster's own watch over a run that began two hours ago."""
    set_value(unattended.folder / "study.toml", "automation", "max_run_hours", hours)
    request = request_of(Wish("donor", ("raw_samples",), "P01", "state", 1), watched(unattended.study))

    @dg.job
    def something() -> None: ...

    instance = unattended.instance
    run = instance.create_run_for_job(something, status=dg.DagsterRunStatus.STARTED, tags=dict(request.tags))
    watch_after(2, instance, run.run_id, float(instance.run_monitoring_max_runtime_seconds))
    found = instance.get_run_by_id(run.run_id)
    assert found is not None and found.status.value == status
