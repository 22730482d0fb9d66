"""Whether what tells of a cohort's domains was made from those that are told: each integration numbers them anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stalign_core.errors import ArtifactError
from stalign_core.store.store import UNPARTITIONED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stalign_assets.recipes.recipe import Recipe
    from stalign_assets.study import Study
    from stalign_core.store import Artifact


def made_of_domains(study: Study, recipes: Mapping[str, Recipe], asset: str, domains: Artifact) -> Artifact | None:
    """The artifact in force of an asset of a variant, if its inputs lead to `domains`; else None.

    Inputs are compared by the content that was used, as in input keys: a profile of the same domains is not made again
    where their artifact was. What was read of the donors' own files is not looked at. What is not whole leads nowhere.
    """
    try:
        found = study.store.current(asset, UNPARTITIONED)
    except ArtifactError:
        return None
    if found is None or asset not in recipes:
        return None
    used = {(record.asset, record.used) for record in found.manifest.inputs}
    for declared in recipes[asset].inputs:
        if declared.asset == domains.manifest.asset:
            upstream: Artifact | None = domains
        elif recipes[declared.asset].variant is None:
            continue
        else:
            upstream = made_of_domains(study, recipes, declared.asset, domains)
        if upstream is None or (declared.asset, upstream.used_hash(declared.files)) not in used:
            return None
    return found
