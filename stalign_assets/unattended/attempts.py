"""Runs that were asked for unattended: what they were for, how often that was tried, and when to try again."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import dagster as dg

UNATTENDED_TAG: Final = "stalign/unattended"
"""Says what an unattended run is for. The study's dagster.yaml lets one run with this tag be at work at a time."""
STATE_TAG: Final = "stalign/state"
"""The state that a run was asked for: an input key, or the hash that stands for one."""
PARTITION_TAG: Final = "dagster/partition"
MAX_RUNTIME_TAG: Final = "dagster/max_runtime"
"""After how many seconds Dagster ends a run."""

_ATTEMPTS_IF_ENDED: Final = 2
_SECONDS_OF_AN_HOUR: Final = 3600
_TOO_LONG: Final = "Canceling due to exceeding maximum runtime"
"""How Dagster tells that it ends a run for that."""


@dataclass(frozen=True)
class Wish:
    """A run to ask for.

    Attributes
    ----------
    purpose
        ``donor``, ``cohort`` or ``tables``.
    assets
        What it is to materialise.
    partition
        A donor, or None.
    state
        What it is asked for; equal states are attempts at the same thing.
    attempt
        From 1.
    """

    purpose: str
    assets: tuple[str, ...]
    partition: str | None
    state: str
    attempt: int

    @property
    def run_key(self) -> str:
        """Keeps a look that is repeated after a crash from asking twice; it remembers nothing beyond that."""
        return f"{self.partition or self.purpose}:{self.state}:{self.attempt}"

    @property
    def tags(self) -> dict[str, str]:
        """Tags of the run, by which later looks find it."""
        return {UNATTENDED_TAG: self.purpose, STATE_TAG: self.state}


def unfinished_runs(instance: dg.DagsterInstance) -> list[dg.DagsterRun]:
    """Runs that are at work or will be."""
    import dagster as dg

    over = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
    at_work = [status for status in dg.DagsterRunStatus if status not in over]
    return list(instance.get_runs(filters=dg.RunsFilter(statuses=at_work)))


def run_at_work(
    runs: Collection[dg.DagsterRun], assets: Collection[str], partition: str | None
) -> dg.DagsterRun | None:
    """One of `runs` that makes any of these assets for this partition, whoever started it."""
    for run in runs:
        selected = run.asset_selection
        of_assets = selected is None or any("/".join(key.path) in assets for key in selected)
        if of_assets and run.tags.get(PARTITION_TAG) == partition:
            return run
    return None


def attempts_at(instance: dg.DagsterInstance, state: str) -> int:
    """How many runs were asked for to reach a state, however they ended."""
    import dagster as dg

    return instance.get_runs_count(filters=dg.RunsFilter(tags={STATE_TAG: state}))


def reason_to_wait(
    instance: dg.DagsterInstance,
    state: str,
    donor: str,
    retry_after: timedelta,
    now: datetime,
    *,
    is_lost: bool = False,
) -> str | None:
    """Why a donor's state is not tried once more right now, or None if it may be.

    What was tried is tried again once the time is over; at once if something else was run for the donor since, for
    then the state has come back; at once if the run succeeded and what it made was lost since; and once at once if it
    was killed or took too long, for that tells little of the donor.

    Parameters
    ----------
    is_lost
        Whether an artifact of the donor is missing or damaged.
    """
    latest = _latest_run(instance, donor)
    if latest is None or latest.dagster_run.tags.get(STATE_TAG) != state:
        return None
    if is_lost and latest.dagster_run.is_success:
        return None
    if _how_ended(instance, latest.dagster_run) and attempts_at(instance, state) < _ATTEMPTS_IF_ENDED:
        return None
    ended = _time(latest.end_time or latest.create_timestamp.timestamp())
    # A clock that was set back must not keep anybody waiting.
    if not timedelta(0) <= now - ended < retry_after:
        return None
    again = (ended + retry_after).strftime("%Y-%m-%d %H:%M UTC")
    return (
        f"run {latest.dagster_run.run_id[:8]} for it ended with {latest.dagster_run.status.value.lower()}; "
        f"tried again after {again}, or when it changes"
    )


def ended_again(instance: dg.DagsterInstance, state: str, donor: str) -> str | None:
    """That the last run at a donor's state was killed or took too long though it was not the first, if that is so.

    In words such as ``run 1234 was killed``: no step of such a run could say what is wrong.
    """
    latest = _latest_run(instance, donor)
    if latest is None or latest.dagster_run.tags.get(STATE_TAG) != state:
        return None
    how = _how_ended(instance, latest.dagster_run)
    if not how or attempts_at(instance, state) < _ATTEMPTS_IF_ENDED:
        return None
    return f"run {latest.dagster_run.run_id} {how}"


def _how_ended(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    """How a run was ended from outside, if it was."""
    if took_too_long(instance, run):
        hours = float(run.tags.get(MAX_RUNTIME_TAG, 0)) / _SECONDS_OF_AN_HOUR
        return f"ran longer than {hours:g} hours (automation.max_run_hours)" if hours else "ran too long"
    return "was killed" if was_killed(instance, run) else ""


def took_too_long(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether Dagster ended a run because it lasted longer than it may; a step that it interrupted says no more."""
    import dagster as dg

    if run.status not in (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED):
        return False
    ends = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.RUN_CANCELING)
    return any((entry.get_dagster_event().message or "").startswith(_TOO_LONG) for entry in ends)


def was_killed(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether a run failed with no step of it saying why: its process, or that of a step, is gone."""
    import dagster as dg

    if run.status != dg.DagsterRunStatus.FAILURE:
        return False
    failures = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    errors = [entry.get_dagster_event().step_failure_data.error for entry in failures]
    return all(error is not None and error.cls_name == "ChildProcessCrashException" for error in errors)


def _latest_run(instance: dg.DagsterInstance, donor: str) -> dg.RunRecord | None:
    """The last run for a donor, whoever started it."""
    import dagster as dg

    of_donor = dg.RunsFilter(tags={PARTITION_TAG: donor})
    return next(iter(instance.get_run_records(filters=of_donor, limit=1)), None)


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
