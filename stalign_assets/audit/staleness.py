"""What would be computed anew of an asset and all that it is made from, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from stalign_assets.differences import differences
from stalign_assets.planning import PlannedStep, plan_by_keys, with_upstream
from stalign_assets.wanted import wanted
from stalign_core.errors import StalignError
from stalign_core.store.store import UNPARTITIONED

if TYPE_CHECKING:
    from stalign_assets.recipes.recipe import Recipe
    from stalign_assets.study import Study
    from stalign_core.store import Artifact


def stale_steps(study: Study, recipes: Mapping[str, Recipe], asset: str, partition: str) -> list[PlannedStep]:
    """Steps with work among `asset` and what it is made from, told by input keys alone, in the order of computation.

    A step of the cohort waits for what has work of any donor that takes part.
    """
    needed = with_upstream(recipes, [asset])
    of_donors = [name for name in recipes if name in needed and recipes[name].partitioning == "donor"]
    of_cohort = [name for name in recipes if name in needed and recipes[name].partitioning == "none"]
    donors = study.cohort.donors if partition == UNPARTITIONED else (partition,)
    stale = [step for donor in donors for step in plan_by_keys(study, recipes, of_donors, donor) if step.has_work]
    waited_for = {step.asset: step for step in stale if step.state != "refused"}
    for step in plan_by_keys(study, recipes, of_cohort, UNPARTITIONED) if of_cohort else ():
        if not step.has_work:
            busy = [waited_for[each.asset] for each in recipes[step.asset].inputs if each.asset in waited_for]
            if not busy:
                continue
            of = "" if busy[0].partition == UNPARTITIONED else f" of {busy[0].partition}"
            step = replace(step, state="waiting", reason=f"for {busy[0].asset}{of}")  # noqa: PLW2901
        waited_for[step.asset] = step
        stale.append(step)
    return stale


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
