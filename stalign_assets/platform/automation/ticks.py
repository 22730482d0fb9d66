"""What every tick does: keep the instance in order, read the study as it is now, turn wishes into requests for runs."""

from __future__ import annotations

from collections.abc import Collection

import dagster as dg

from stalign_assets.platform.resources import StudyResource
from stalign_assets.pools import free_dead_slots, set_gpu_limit
from stalign_assets.recipes.graph import recipes_of
from stalign_assets.unattended.attempts import MAX_RUNTIME_TAG, Wish
from stalign_assets.unattended.watched import WatchedStudy, watched
from stalign_core.errors import StudyError

_SECONDS_OF_AN_HOUR = 3600


def study_at_tick(resource: StudyResource, instance: dg.DagsterInstance, loaded: Collection[str]) -> WatchedStudy:
    """The study with the settings and the sheet of this moment.

    The instance is put in order first: nobody may look after it for months, and a run that died with its machine
    would hold its slot of pool `gpu`, and count as at work, for ever. A changed limit of the pool holds from here on.

    Parameters
    ----------
    loaded
        The assets that this process knows.

    Raises
    ------
    StalignError
        If the study cannot stand right now, as when its sheet is being written, or asks for assets that are not
        loaded. The tick then skips with this line and has noted nothing, so that the next one looks afresh.
    """
    free_dead_slots(instance)
    study = resource.as_it_is()
    set_gpu_limit(instance, study.settings.execution)
    unknown = [asset for asset in recipes_of(study.settings) if asset not in loaded]
    if unknown:
        raise StudyError(
            str(study.folder / "study.toml"),
            f"asks for assets that are not loaded, such as {unknown[0]}",
            remedy="reload the code location in the UI, or start 'stalign ui' again",
        )
    return watched(study)


def request_of(wish: Wish, study: WatchedStudy) -> dg.RunRequest:
    """The request for a run; it is ended where it lasts longer than the settings allow."""
    max_seconds = round(study.settings.automation.max_run_hours * _SECONDS_OF_AN_HOUR)
    return dg.RunRequest(
        run_key=wish.run_key,
        partition_key=wish.partition,
        asset_selection=[dg.AssetKey(asset.split("/")) for asset in wish.assets],
        tags={**wish.tags, MAX_RUNTIME_TAG: str(max_seconds)},
    )
