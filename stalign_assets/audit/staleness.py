"""What would be computed anew of an asset and all that it is made from, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from stalign_assets.planning import PlannedStep, plan_by_keys, with_upstream
from stalign_core.store.store import UNPARTITIONED

if TYPE_CHECKING:
    from stalign_assets.recipes.recipe import Recipe
    from stalign_assets.study import Study


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
