"""Which donors need runs of their own, and whose turn has not come."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from stalign_assets.planning import PlannedStep, assets_of_scope, is_stale, plan_by_keys
from stalign_assets.recipes.graph import recipes_of
from stalign_assets.refusing import note_refusal
from stalign_assets.unattended.attempts import Wish, attempts_at, ended_again, reason_to_wait, run_at_work
from stalign_assets.unattended.watched import state_of_donor
from stalign_assets.wanted import reason_left_out
from stalign_core.errors import ArtifactError

if TYPE_CHECKING:
    import dagster as dg

    from stalign_assets.recipes.recipe import Recipe
    from stalign_assets.study import Study

DONOR_RUN: Final = "donor"


@dataclass
class Look:
    """What a look at the donors found.

    Attributes
    ----------
    wishes
        Runs to ask for.
    waiting
        Donors with work that no run is asked for now, and why.
    seen
        The state of each donor with work, for the next look.
    """

    wishes: list[Wish] = field(default_factory=list)
    waiting: dict[str, str] = field(default_factory=dict)
    seen: dict[str, str] = field(default_factory=dict)


def look_at_donors(
    study: Study,
    instance: dg.DagsterInstance,
    unfinished: Collection[dg.DagsterRun],
    seen: Mapping[str, str],
    now: datetime,
) -> Look:
    """Find the donors of the sheet whose own assets are not what a run would make now.

    A donor gets its turn once nothing of it has changed from one look to the next, so that files are not read while
    they are still being copied; not while a run for it is at work; and after a failure not before `retry_hours`, unless
    something of it changes.

    Parameters
    ----------
    study
        As `watched` gives it.
    unfinished
        Runs at work.
    seen
        What the last look saw.
    """
    recipes = recipes_of(study.settings)
    look = Look()
    for donor in study.cohort.donors:
        _look_at(study, recipes, donor, instance, unfinished, seen, now, look)
    return look


def own_assets(study: Study, recipes: Mapping[str, Recipe]) -> tuple[list[str], list[str]]:
    """A donor's assets that the cohort reads, and those of its own scope as far as the settings ask for them."""
    variants = tuple(study.settings.variants)
    alone = assets_of_scope(recipes, "donor", variants) if study.settings.automation.donor_scope else []
    return assets_of_scope(recipes, "samples", variants), alone


def _look_at(
    study: Study,
    recipes: Mapping[str, Recipe],
    donor: str,
    instance: dg.DagsterInstance,
    unfinished: Collection[dg.DagsterRun],
    seen: Mapping[str, str],
    now: datetime,
    look: Look,
) -> None:
    samples, alone = own_assets(study, recipes)
    own = [*samples, *alone]
    steps = plan_by_keys(study, recipes, own, donor)
    if not _has_turn(steps, samples, study, recipes, donor):
        return
    state = look.seen[donor] = state_of_donor(study, recipes, own, donor)
    at_work = run_at_work(unfinished, own, donor)
    if at_work is not None:
        look.waiting[donor] = f"run {at_work.run_id[:8]} is at work on it"
        return
    if seen.get(donor) != state:
        look.waiting[donor] = "is new or has changed; its turn comes once it stands still from one look to the next"
        return
    retry_after = timedelta(hours=study.settings.automation.retry_hours)
    is_lost = any(step.state in ("missing", "damaged") for step in steps)
    reason = reason_to_wait(instance, state, donor, retry_after, now, is_lost=is_lost)
    if reason is None:
        look.wishes.append(Wish(DONOR_RUN, tuple(own), donor, state, attempts_at(instance, state) + 1))
        return
    look.waiting[donor] = reason
    ended = ended_again(instance, state, donor)
    if ended is not None:
        _refuse_ended(study, recipes, [step for step in steps if step.asset in samples], donor, ended)


def _refuse_ended(
    study: Study, recipes: Mapping[str, Recipe], steps: Sequence[PlannedStep], donor: str, ended: str
) -> None:
    """Note of a donor whose runs are ended from outside, so that none could say why, that it is left out for now."""
    unmade = [step for step in steps if step.state in ("missing", "changed", "damaged", "fault")]
    if unmade:
        perhaps = ", perhaps for want of memory" if ended.endswith("was killed") else ""
        line = f"donor {donor}: {ended} while it made {unmade[0].asset}{perhaps}"
        note_refusal(study, recipes, recipes[unmade[0].asset], donor, line)


def _has_turn(
    steps: Sequence[PlannedStep], samples: Sequence[str], study: Study, recipes: Mapping[str, Recipe], donor: str
) -> bool:
    """Whether a run can do anything for the donor: not where its samples, as they are, fail their checks."""
    if not any(step.has_work for step in steps):
        return False
    of_samples = [step for step in steps if step.asset in samples]
    if any(step.state == "refused" for step in of_samples):
        return True
    try:
        fails_checks = reason_left_out(study, recipes, donor) is not None
    except ArtifactError:
        return True  # What was read of it is damaged, and a run reads it anew.
    return not fails_checks or is_stale(of_samples, fails_checks)
