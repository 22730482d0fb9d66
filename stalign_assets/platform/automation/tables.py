"""The sensor `tables`: the metrics tables and reports follow what was measured."""

from collections.abc import Mapping

import dagster as dg

from stalign_assets.platform.automation.ticks import request_of, study_at_tick
from stalign_assets.platform.report_assets import COHORT_REPORT
from stalign_assets.platform.resources import StudyResource
from stalign_assets.platform.tables_asset import METRICS_TABLES
from stalign_assets.recipes.recipe import Recipe
from stalign_assets.unattended.attempts import Wish, unfinished_runs
from stalign_assets.unattended.tables import decide_tables
from stalign_core.errors import StalignError
from stalign_core.settings import AutomationSettings


def tables_sensor(settings: AutomationSettings, loaded: Mapping[str, Recipe]) -> dg.SensorDefinition:
    """The sensor over materialised metrics.

    The tables get a run of their own, as in ``stalign run``: as the last step of the cohort's run they would be skipped
    wherever one variant of it fails. It waits for the unattended runs that are at work, so that two hundred new donors
    are followed by one rebuilding and not by two hundred.

    Parameters
    ----------
    loaded
        The recipes that this process has loaded.
    """

    @dg.sensor(
        name="tables",
        description="Rebuilds the metrics tables, the tables of domains and the reports once something was measured.",
        target=[METRICS_TABLES, COHORT_REPORT],
        minimum_interval_seconds=settings.watch_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING if settings.watch else dg.DefaultSensorStatus.STOPPED,
    )
    def tables(context: dg.SensorEvaluationContext, study: StudyResource) -> dg.SensorResult:
        try:
            opened = study_at_tick(study, context.instance, loaded)
            decision = decide_tables(
                opened, context.instance, unfinished_runs(context.instance), (METRICS_TABLES, COHORT_REPORT)
            )
        except StalignError as error:
            return dg.SensorResult(skip_reason=error.line)
        if isinstance(decision, Wish):
            return dg.SensorResult(run_requests=[request_of(decision, opened)])
        return dg.SensorResult(skip_reason=decision)

    return tables
