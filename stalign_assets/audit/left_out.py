"""Donors that an artifact would leave out if it were made now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stalign_assets.wanted import reason_left_out
from stalign_core.errors import ArtifactError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stalign_assets.audit.ancestry import Ancestry
    from stalign_assets.recipes.recipe import Recipe
    from stalign_assets.study import Study


def left_out_now(study: Study, recipes: Mapping[str, Recipe], ancestry: Ancestry) -> dict[str, str] | None:
    """Which donors take no part in an artifact in force as the study is now, and why.

    A manifest holds those of when it was made: one that came later and fails its checks leaves the artifact as it is.

    Returns
    -------
    None where the question has no answer: the artifact is of one donor, not in force, or no asset of the settings.
    """
    manifest = ancestry.root.manifest
    recipe = recipes.get(manifest.asset)
    if not ancestry.in_force or recipe is None or recipe.partitioning == "donor":
        return None
    sheet = study.cohort.sheet.name
    left_out = {donor: f"is no longer in {sheet}" for donor in manifest.donors if donor not in study.cohort.donors}
    for donor in study.cohort.donors:
        try:
            reason = reason_left_out(study, recipes, donor)
        except ArtifactError:
            continue  # What was read of it is damaged: a run reads it anew.
        if reason is not None:
            left_out[donor] = reason
    return left_out | dict.fromkeys(study.cohort.retired_donors, f"is retired in {sheet}")
