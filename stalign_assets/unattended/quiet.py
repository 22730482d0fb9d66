"""A mark by which a look after which nothing has happened can end at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stalign_assets.recipes.graph import recipes_of
from stalign_assets.unattended.new_samples import own_assets
from stalign_assets.unattended.watched import state_of_donor
from stalign_core.store.hashing import digest

if TYPE_CHECKING:
    import dagster as dg

    from stalign_assets.study import Study


def quiet_mark(study: Study, instance: dg.DagsterInstance) -> str:
    """Hash of the settings, the sheet, the looks of all files that it names, and the run that changed last.

    Artifacts change by runs alone, so while it stands, what was found up to date is up to date. What a mark cannot
    tell is damage in the store, which every run finds that reads it.
    """
    recipes = recipes_of(study.settings)
    samples, alone = own_assets(study, recipes)
    latest = instance.get_run_records(limit=1, order_by="update_timestamp", ascending=False)
    return digest(
        {
            "donors": {
                donor: state_of_donor(study, recipes, [*samples, *alone], donor) for donor in study.cohort.donors
            },
            "retired": study.cohort.retired_donors,
            "run": [[record.dagster_run.run_id, record.dagster_run.status.value] for record in latest],
        }
    )
