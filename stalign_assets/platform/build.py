"""Assembly of the Dagster definitions: tests, command and server share this one function."""

from __future__ import annotations

from collections.abc import Mapping

import dagster as dg

from stalign_assets.platform.assets import asset_of
from stalign_assets.platform.atlas_asset import atlas_asset
from stalign_assets.platform.automation.new_samples import new_samples_sensor
from stalign_assets.platform.automation.nightly import nightly_schedule
from stalign_assets.platform.automation.tables import tables_sensor
from stalign_assets.platform.checks import check_of, rules_of
from stalign_assets.platform.executors.assembly import executor_of
from stalign_assets.platform.report_assets import report_assets
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
    execution, automation = settings.execution, settings.automation
    return dg.Definitions(
        assets=[
            *(asset_of(recipe, recipes, execution) for recipe in recipes.values()),
            tables_asset(recipes, execution),
            *report_assets(settings, recipes),
            atlas_asset(settings),
        ],
        asset_checks=[
            *(check_of(recipe, rule) for recipe in recipes.values() for rule in rules_of(recipe)),
            tables_check(recipes),
        ],
        sensors=[new_samples_sensor(automation, recipes), tables_sensor(automation, recipes)],
        schedules=[nightly_schedule(automation, recipes)] if automation.integrate_at else [],
        resources={"study": StudyResource(), **(resources or {})},
        executor=executor_of(execution),
    )
