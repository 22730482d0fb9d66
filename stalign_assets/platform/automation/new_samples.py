"""The sensor `new_samples`: new and changed donors get their partition and a run of their own assets."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime

import dagster as dg

from stalign_assets.platform.automation.ticks import request_of, study_at_tick
from stalign_assets.platform.partitions import DONORS
from stalign_assets.platform.resources import StudyResource
from stalign_assets.recipes.recipe import Recipe
from stalign_assets.unattended.attempts import unfinished_runs
from stalign_assets.unattended.new_samples import look_at_donors
from stalign_assets.unattended.quiet import quiet_mark
from stalign_core.errors import StalignError
from stalign_core.settings import AutomationSettings

_LONGEST_LIST = 10


def new_samples_sensor(settings: AutomationSettings, loaded: Mapping[str, Recipe]) -> dg.SensorDefinition:
    """The sensor over the sample sheet and the files that it names.

    It asks for runs of a donor's own partition alone. `AutomationCondition.eager()` on the per-donor assets would skip
    partitions that were missing when it first looked, and on the cohort's would integrate after every single donor,
    or, with one that fails, never. Nothing rests on what the sensor remembers: each tick compares the input keys that
    the artifacts should have with those that they have, so a tick that is lost or skipped loses nothing. Its cursor
    only keeps which state each donor was seen in, to let files that are still being copied come to rest, and a mark by
    which a tick after which nothing has happened ends at once. A sensor's run keys match every earlier run, a failed
    one too, so a key of the state alone would keep a failure from ever being tried again: the key holds the number of
    the attempt. It runs without being switched on, because nobody is there to do it.

    Parameters
    ----------
    loaded
        The recipes that this process has loaded.
    """

    @dg.sensor(
        name="new_samples",
        description="Watches the sample sheet and the files that it names; runs new and changed donors' own assets.",
        target=[dg.AssetKey(recipe.path) for recipe in loaded.values() if recipe.partitioning == "donor"],
        minimum_interval_seconds=settings.watch_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING if settings.watch else dg.DefaultSensorStatus.STOPPED,
    )
    def new_samples(context: dg.SensorEvaluationContext, study: StudyResource) -> dg.SensorResult:
        try:
            opened = study_at_tick(study, context.instance, loaded)
            now = datetime.now(UTC)
            mark = quiet_mark(opened, context.instance, now)
            seen, quiet = _remembered(context.cursor)
            if mark == quiet:
                return dg.SensorResult(skip_reason="nothing has changed since every donor was found up to date")
            look = look_at_donors(opened, context.instance, unfinished_runs(context.instance), seen, now)
        except StalignError as error:
            return dg.SensorResult(skip_reason=error.line, cursor=context.cursor)
        known = set(context.instance.get_dynamic_partitions("donors"))
        new = [donor for donor in opened.cohort.donors if donor not in known]
        waiting = [f"{donor}: {reason}" for donor, reason in look.waiting.items()]
        for line in waiting:
            context.log.info(line)
        return dg.SensorResult(
            run_requests=[request_of(wish, opened) for wish in look.wishes],
            skip_reason=None if look.wishes else _shown(waiting) or "every donor is up to date",
            dynamic_partitions_requests=[DONORS.build_add_request(new)] if new else [],
            cursor=json.dumps({"seen": look.seen, "quiet": "" if look.seen else mark}),
        )

    return new_samples


def _remembered(cursor: str | None) -> tuple[dict[str, str], str]:
    try:
        kept = json.loads(cursor or "")
        return dict(kept["seen"]), str(kept["quiet"])
    except (ValueError, KeyError, TypeError):
        return {}, ""


def _shown(waiting: list[str]) -> str:
    more = f"; and {len(waiting) - _LONGEST_LIST} more" if len(waiting) > _LONGEST_LIST else ""
    return "; ".join(waiting[:_LONGEST_LIST]) + more
