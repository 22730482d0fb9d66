"""Looking through a study part by part, each repair before the next look: what comes later builds on it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Final

from stalign_assets.doctor.dead_runs import dead_runs, held_slots
from stalign_assets.doctor.finding import Finding, Outcome, Told
from stalign_assets.doctor.history import broken_databases
from stalign_assets.doctor.store_faults import broken_artifacts, broken_pointers, broken_releases, leftovers
from stalign_assets.locking import store_alone
from stalign_assets.recipes.graph import recipes_of
from stalign_assets.results.tables import connect, rebuild_tables
from stalign_assets.runs import open_instance
from stalign_core.errors import StalignError, StudyError
from stalign_core.progress import Progress, silent

if TYPE_CHECKING:
    from stalign_assets.study import Study

Look = Callable[[], Iterable[Finding]]


def examine(study: Study, *, repair: bool, progress: Progress = silent) -> Iterator[Told]:
    """Everything that is wrong with a study, in the order in which it is put right.

    Nothing that a run could need is removed: damaged files are moved aside, whole ones and what a killed computation
    can go on with stay. While a run is at work only runs and pools are looked at, and the store is told as left.
    """
    history = list(_told(partial(broken_databases, study), repair))
    yield from history
    if all(told.outcome == "repaired" for told in history):
        with open_instance(study) as instance:
            yield from _told(partial(dead_runs, instance), repair)
            yield from _told(partial(held_slots, instance), repair)
    with ExitStack() as stack:
        try:
            stack.enter_context(store_alone(study))
        except StudyError as error:
            yield Told("store", str(study.store.base), error.problem, "looked at again once it is free", "left")
            return
        for done, (what, look) in enumerate(_LOOKS):
            progress(f"looking at {what}", done, len(_LOOKS))
            yield from _told(partial(look, study), repair)


def _told(look: Look, repair: bool) -> Iterator[Told]:
    for finding in list(look()):
        outcome, why = _outcome(finding, repair)
        yield Told(finding.kind, finding.where, finding.problem, finding.cure, outcome, why)


def _outcome(finding: Finding, repair: bool) -> tuple[Outcome, str]:
    if not repair:
        return "found", ""
    try:
        finding.mend()
    except (OSError, StalignError) as error:
        return "left", " ".join(str(error).split())
    return "repaired", ""


def _broken_tables(study: Study) -> Iterator[Finding]:
    if not study.metrics_path.exists():
        return
    try:
        connect(study.metrics_path).close()
    except StudyError as error:
        yield Finding(
            "tables",
            str(study.metrics_path),
            error.problem,
            "rebuilt from the store",
            partial(_rebuild, study),
        )


def _rebuild(study: Study) -> None:
    if study.metrics_path.is_dir():
        raise StudyError(str(study.metrics_path), "is a folder", remedy="move it away")
    rebuild_tables(study, recipes_of(study.settings))


_LOOKS: Final = (
    ("artifacts", broken_artifacts),
    ("pointers", broken_pointers),
    ("releases", broken_releases),
    ("what was left unfinished", leftovers),
    ("tables", _broken_tables),
)
"""What is looked at in the store while no run is at work, and how."""
