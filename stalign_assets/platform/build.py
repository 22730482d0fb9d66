"""Assembly of the Dagster definitions: tests, command and server share this one function."""

from __future__ import annotations

from collections.abc import Mapping

import dagster as dg

from stalign_assets.platform.assets import asset_of
from stalign_assets.platform.checks import check_of, rules_of
from stalign_assets.platform.resources import StudyResource
from stalign_assets.platform.tables_asset import tables_asset, tables_check
from stalign_assets.recipes.graph import recipes_of
from stalign_core.settings import Settings


def build_definitions(
    *, settings: Settings | None = None, resources: Mapping[str, object] | None = None
) -> dg.Definitions:
    """Definitions for a study with these settings; the graph follows its encoders, representations and variants."""
    settings = settings or Settings()
    recipes = recipes_of(settings)
    return dg.Definitions(
        assets=[*(asset_of(recipe, recipes) for recipe in recipes.values()), tables_asset(recipes)],
        asset_checks=[
            *(check_of(recipe, rule) for recipe in recipes.values() for rule in rules_of(recipe)),
            tables_check(recipes),
        ],
        resources={"study": StudyResource(), **(resources or {})},
        executor=_executor(settings),
    )


def _executor(settings: Settings) -> dg.ExecutorDefinition:
    """One process for all steps of a run, or one per step.

    Every step process imports torch, scanpy and jax anew, 5 to 25 s each: one process serves small studies.
    """
    processes = settings.execution.processes
    if processes == 1:
        return dg.in_process_executor
    return dg.multiprocess_executor.configured({"max_concurrent": processes})
