"""The schedule `nightly_integration`: the cohort is integrated again, by night, if it is not what it should be."""

from collections.abc import Mapping

import dagster as dg

from stalign_assets.platform.automation.ticks import request_of, study_at_tick
from stalign_assets.platform.resources import StudyResource
from stalign_assets.recipes.recipe import BENCHMARK_GROUP, Recipe
from stalign_assets.unattended.attempts import Wish, unfinished_runs
from stalign_assets.unattended.reintegration import decide_integration
from stalign_core.errors import StalignError
from stalign_core.settings import AutomationSettings


def nightly_schedule(settings: AutomationSettings, loaded: Mapping[str, Recipe]) -> dg.ScheduleDefinition:
    """The schedule over the cohort.

    A schedule and not a condition on the cohort's assets: `all_deps_*` and `on_cron` hold as soon as any one partition
    of a dependency is there, so that the cohort would run after the first donor, and `eager()` runs it again for
    rebuilds that changed nothing and never notices that a donor has gone. The tick asks for one run if the input keys
    that the cohort should have are not those of the manifests in force, and for none while a run for it is at work. A
    schedule's run keys are told apart by the time of the tick, so they would not keep the same work from being asked
    for again, and need not: manifests do, which also know a state that comes back. A run that failed has left no
    manifest, so the next night's tick asks again. Donors that fail their checks or cannot be read are not waited for;
    the cohort is integrated without them. A donor that never took part changes no key when it fails them: the run that
    is asked for then reuses every artifact, and its events name the donor.

    Parameters
    ----------
    loaded
        The recipes that this process has loaded.
    """

    @dg.schedule(
        name="nightly_integration",
        description="Integrates the cohort again if it is not up to date and no run for it is at work.",
        cron_schedule=settings.integrate_at,
        execution_timezone=settings.timezone,
        target=[
            dg.AssetKey(recipe.path)
            for recipe in loaded.values()
            if recipe.partitioning == "none" and recipe.group != BENCHMARK_GROUP
        ],
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )
    def nightly_integration(
        context: dg.ScheduleEvaluationContext, study: StudyResource
    ) -> dg.RunRequest | dg.SkipReason:
        try:
            opened = study_at_tick(study, context.instance, loaded)
            decision = decide_integration(opened, context.instance, unfinished_runs(context.instance))
        except StalignError as error:
            return dg.SkipReason(error.line)
        return request_of(decision, opened) if isinstance(decision, Wish) else dg.SkipReason(decision)

    return nightly_integration
