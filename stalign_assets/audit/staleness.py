"""What would be computed anew of an asset and all that it is made from, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING

from stalign_assets.differences import differences
from stalign_assets.planning import PlannedStep, plan_by_keys, with_upstream
from stalign_assets.wanted import partitions_in_force, wanted
from stalign_core.errors import StalignError
from stalign_core.progress import Progress, silent
from stalign_core.store.store import UNPARTITIONED

if TYPE_CHECKING:
    from stalign_assets.recipes.recipe import Recipe
    from stalign_assets.study import Study
    from stalign_core.store import Artifact


def stale_steps(
    study: Study, recipes: Mapping[str, Recipe], asset: str, partition: str, progress: Progress = silent
) -> list[PlannedStep]:
    """Steps with work among `asset` and what it is made from, told by input keys alone, in the order of computation.

    A step of the cohort, or of a fold of the benchmark, waits for what has work of any donor that takes part, and a
    step of the cohort for that of any fold.
    """
    needed = with_upstream(recipes, [asset])
    of_donors = [name for name in recipes if name in needed and recipes[name].partitioning == "donor"]
    joint = [name for name in recipes if name in needed and recipes[name].partitioning != "donor"]
    donors = (partition,) if recipes[asset].partitioning == "donor" else study.cohort.donors
    stale: list[PlannedStep] = []
    for done, donor in enumerate(donors):
        progress(f"looking for what has changed of {donor}", done, len(donors))
        stale += [step for step in plan_by_keys(study, recipes, of_donors, donor) if step.has_work]
    waited_for: dict[str, PlannedStep] = {}
    for step in stale:
        if step.state != "refused":
            waited_for.setdefault(step.asset, step)
    for partitioning, names in groupby(joint, lambda name: recipes[name].partitioning):
        assets = list(names)
        asked_for = (partition,) if partitioning == recipes[asset].partitioning else None
        for each in asked_for or partitions_in_force(study, recipes[assets[0]]):
            for step in _joint_steps(study, recipes, assets, each, waited_for):
                waited_for.setdefault(step.asset, step)
                stale.append(step)
    return stale


def _joint_steps(
    study: Study, recipes: Mapping[str, Recipe], assets: list[str], partition: str, waited_for: dict[str, PlannedStep]
) -> Iterator[PlannedStep]:
    """Steps of the cohort, or of a fold, with work, or that wait for what has."""
    for step in plan_by_keys(study, recipes, assets, partition):
        if step.has_work:
            yield step
            continue
        busy = [waited_for[each.asset] for each in recipes[step.asset].inputs if each.asset in waited_for]
        if busy:
            of = "" if busy[0].partition == UNPARTITIONED else f" of {busy[0].partition}"
            yield replace(step, state="waiting", reason=f"for {busy[0].asset}{of}")


def changes_since(study: Study, recipes: Mapping[str, Recipe], artifact: Artifact) -> list[str]:
    """What has changed since an earlier artifact was made: why a run would not make it now, in words."""
    manifest = artifact.manifest
    recipe = recipes.get(manifest.asset)
    if recipe is None:
        return ["the settings name no such asset any more"]
    try:
        want = wanted(study, recipes, recipe, manifest.partition)
    except StalignError as error:
        return [f"what a run would make now cannot be told ({error.line})"]
    return differences(want, recipe.code_version, manifest)
