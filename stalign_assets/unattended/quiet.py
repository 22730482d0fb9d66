"""A mark by which a look after which nothing has happened can end at once."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from stalign_assets.recipes.graph import recipes_of
from stalign_assets.unattended.new_samples import own_assets
from stalign_assets.unattended.watched import state_of_donor
from stalign_core.store.hashing import digest

if TYPE_CHECKING:
    import dagster as dg

    from stalign_assets.study import Study


def quiet_mark(study: Study, instance: dg.DagsterInstance, now: datetime) -> str:
    """Hash of the settings, the sheet, the looks of all files that it names, the store's notes, and the last run.

    While it stands, what was found up to date is up to date: artifacts change by runs, and what else happens to the
    pointers, refusals and manifests of the donors' own assets, such as a repair, shows in the notes. A store on another
    machine is not asked for them twice a minute, so there a mark stands for an hour at most. What it cannot tell is
    other bytes in an artifact: the run that reads them sets it aside, which shows.
    """
    recipes = recipes_of(study.settings)
    samples, alone = own_assets(study, recipes)
    own = [*samples, *alone]
    latest = instance.get_run_records(limit=1, order_by="update_timestamp", ascending=False)
    return digest(
        {
            "donors": {
                donor: [state_of_donor(study, recipes, own, donor), *(study.store.marks(asset, donor) for asset in own)]
                for donor in study.cohort.donors
            },
            "hour": None if study.store.is_local else now.strftime("%Y-%m-%d %H"),
            "retired": study.cohort.retired_donors,
            "run": [[record.dagster_run.run_id, record.dagster_run.status.value] for record in latest],
        }
    )
