"""Whether the cohort is to be integrated again now, and why not if it is not."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Final

from stalign_assets.planning import assets_of_scope, is_stale, plan_by_keys
from stalign_assets.recipes.graph import recipes_of
from stalign_assets.unattended.attempts import Wish, attempts_at, run_at_work
from stalign_assets.wanted import LEFT_OUT, accepted_donors, joint_key, reason_left_out
from stalign_core.errors import StalignError
from stalign_core.store.store import UNPARTITIONED

if TYPE_CHECKING:
    import dagster as dg

    from stalign_assets.recipes.recipe import Recipe
    from stalign_assets.study import Study

COHORT_RUN: Final = "cohort"


def decide_integration(study: Study, instance: dg.DagsterInstance, unfinished: Collection[dg.DagsterRun]) -> Wish | str:
    """The run that integrates the cohort again, or one line that says why there is none.

    There is one if the input keys that the cohort's assets should have now are not those of the manifests in force, no
    run for it is at work, and the donors' own assets, which it is made from, are what they should be: those of donors
    that fail their checks or cannot be read do not count, since such donors are left out. One that never took part
    changes no key; if the history does not name it with its reason yet, there is a run as well, which computes nothing.

    Parameters
    ----------
    study
        As `watched` gives it.
    unfinished
        Runs at work.
    """
    recipes = recipes_of(study.settings)
    assets = assets_of_scope(recipes, COHORT_RUN, study.settings.variants)
    at_work = run_at_work(unfinished, assets, None)
    if at_work is not None:
        return f"run {at_work.run_id[:8]} is integrating the cohort"
    try:
        stale = _stale_donors(study, recipes, unfinished)
        if stale:
            return "the cohort waits for " + "; ".join(f"{donor}, {why}" for donor, why in stale.items())
        donors, left_out = accepted_donors(study, recipes)
        state = joint_key(study, recipes, assets, UNPARTITIONED)
    except StalignError as error:
        return error.line
    has_work = any(step.has_work for step in plan_by_keys(study, recipes, assets, UNPARTITIONED))
    if not has_work and _are_named(instance, assets, left_out):
        named = "".join(f"; {donor} is left out: {reason}" for donor, reason in left_out.items())
        return f"the cohort of {len(donors)} donors is up to date{named}"
    return Wish(COHORT_RUN, tuple(assets), None, state, attempts_at(instance, state) + 1)


def _are_named(instance: dg.DagsterInstance, assets: Collection[str], left_out: Mapping[str, str]) -> bool:
    """Whether the last event of all domains names the donors that are left out, each with its reason."""
    import dagster as dg

    if not left_out:
        return True
    for asset in assets:
        if not asset.endswith("/domains"):
            continue
        event = instance.get_latest_materialization_event(dg.AssetKey(asset.split("/")))
        told = None if event is None else event.asset_materialization
        entry = None if told is None else told.metadata.get(LEFT_OUT)
        named = entry.value if isinstance(entry, dg.JsonMetadataValue) else None
        if not isinstance(named, dict) or not left_out.items() <= named.items():
            return False
    return True


def _stale_donors(study: Study, recipes: Mapping[str, Recipe], unfinished: Collection[dg.DagsterRun]) -> dict[str, str]:
    """Donors whose own assets are not what they should be, though a run could make them so, and what is known of it."""
    samples = assets_of_scope(recipes, "samples", study.settings.variants)
    stale = {}
    for donor in study.cohort.donors:
        steps = plan_by_keys(study, recipes, samples, donor)
        if is_stale(steps, fails_checks=reason_left_out(study, recipes, donor) is not None):
            at_work = run_at_work(unfinished, samples, donor)
            first = next(step for step in steps if step.has_work)
            why = f"whose {first.asset} is {first.state}" + (f" ({first.reason})" if first.reason else "")
            stale[donor] = why if at_work is None else f"which run {at_work.run_id[:8]} is at work on"
    return stale
