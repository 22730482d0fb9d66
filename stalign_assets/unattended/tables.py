"""Whether the tables or reports are behind what was measured, and why they are not made anew now if they are."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Final

from stalign_assets.recipes.graph import recipes_of
from stalign_assets.unattended.attempts import STATE_TAG, UNATTENDED_TAG, Wish, attempts_at, run_at_work

if TYPE_CHECKING:
    import dagster as dg

    from stalign_assets.study import Study

TABLES_RUN: Final = "tables"
_MOST_ATTEMPTS: Final = 3


def decide_tables(
    study: Study, instance: dg.DagsterInstance, unfinished: Collection[dg.DagsterRun], assets: tuple[str, ...]
) -> Wish | str:
    """The run that rebuilds the tables and what follows them, or one line that says why there is none.

    What follows them may rightly make nothing, as the reports do where the cohort is not up to date: once a run that
    was asked for has succeeded, there is no other until something new is measured.

    Parameters
    ----------
    unfinished
        Runs at work.
    assets
        The asset of the tables, and what follows it.
    """
    measured = [
        asset
        for asset, recipe in recipes_of(study.settings).items()
        if recipe.variant is not None and recipe.path[-1] == "metrics"
    ]
    latest = _latest_materialisation(instance, measured)
    if latest == 0:
        return "nothing was measured yet"
    behind = [asset for asset in assets if _latest_materialisation(instance, [asset]) < latest]
    state = f"{TABLES_RUN} {latest}"
    if not behind:
        return "the tables hold what was measured last"
    if assets[0] not in behind and _has_succeeded(instance, state):
        return f"the tables hold what was measured last; {', '.join(behind)} had nothing to be made from"
    if run_at_work(unfinished, assets, None) is not None or any(UNATTENDED_TAG in run.tags for run in unfinished):
        return "the tables wait for the runs at work"
    n_attempts = attempts_at(instance, state)
    if n_attempts >= _MOST_ATTEMPTS:
        return f"{' and '.join(behind)} failed {n_attempts} times; tried again when something new is measured"
    return Wish(TABLES_RUN, assets, None, state, n_attempts + 1)


def _has_succeeded(instance: dg.DagsterInstance, state: str) -> bool:
    """Whether a run that was asked for at a state did all that there was to do."""
    import dagster as dg

    succeeded = dg.RunsFilter(tags={STATE_TAG: state}, statuses=[dg.DagsterRunStatus.SUCCESS])
    return instance.get_runs_count(filters=succeeded) > 0


def _latest_materialisation(instance: dg.DagsterInstance, assets: Collection[str]) -> int:
    """Place in the event log of the last materialisation of any of these assets; 0 if there was none."""
    import dagster as dg

    records = instance.get_asset_records([dg.AssetKey(asset.split("/")) for asset in assets])
    return max((record.asset_entry.last_materialization_storage_id or 0 for record in records), default=0)
