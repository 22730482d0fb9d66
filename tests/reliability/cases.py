"""The table of faults: what is broken, what must hold, and the check that breaks it and looks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Final

from stalign_assets.platform.report_assets import COHORT_REPORT
from tests.reliability.faults.at_once import (
    two_runs_on_one_donor,
    two_writers_and_ten_readers,
)
from tests.reliability.faults.common import EVERYTHING
from tests.reliability.faults.damaged import DAMAGES, damaged_artifact, damaged_manifest, damaged_pointer
from tests.reliability.faults.disks import clock_backwards, disk_full, read_only_store
from tests.reliability.faults.killed import (
    killed_at_the_event,
    killed_in_a_search,
    killed_in_the_store,
    killed_in_the_tables,
    killed_while_files_are_written,
)
from tests.reliability.faults.servers import servers_killed
from tests.reliability.faults.sheets import donors_change_during_a_run, sheet_rewritten
from tests.reliability.kill_points import (
    EVENT_POINTS,
    FILE_POINTS,
    SEARCH_POINTS,
    STORE_POINTS,
    TABLES_POINTS,
)
from tests.reliability.kinds import KINDS, OF_SEARCHES, RARER_KINDS, TABLES
from tests.reliability.place import DONOR, Place


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Attributes
    ----------
    fault
        The line of the summary that it counts in.
    name
        What is broken where.
    holds
        What must hold all the same.
    check
        Breaks a copy of the finished study, and looks.
    full
        Whether it runs only with STALIGN_RELIABILITY=full.
    rarer
        Whether it needs the study that holds what the first does not.
    asset, point
        What is made when the process is killed, and where.
    """

    fault: str
    name: str
    holds: str
    check: Callable[[Place], None]
    full: bool = False
    rarer: bool = False
    asset: str = ""
    point: str = ""


WHOLE: Final = "readers see all or nothing; the rerun gives the same bytes"
SET_ASIDE: Final = "refused in one line, set aside, made again with the same bytes"
_SOME: Final = ("raw_samples", "cohort/correction_basis", "cohort/harmony/domains")
_POINTS_OF_SEARCHES: Final = ("in compute", "after rename")
_N_POINTS: Final = 2
"""At which every kind of asset is killed in the store by default, one or the other for rarer ones."""


def _cases() -> Iterator[Case]:
    yield from _killed()
    yield from _damaged()
    yield from _others()


def _killed() -> Iterator[Case]:
    for asset, point in product((*KINDS, *RARER_KINDS), STORE_POINTS):
        yield Case(
            "killed at a point of the store",
            f"{asset}, {point}",
            WHOLE,
            partial(killed_in_the_store, asset=asset, point=point),
            asset not in _SOME[:1] and point not in _sample_of_points(asset),
            asset in RARER_KINDS,
            asset,
            point,
        )
    for asset, point in product(OF_SEARCHES, SEARCH_POINTS):
        yield Case(
            "killed at a point of the store",
            f"{asset}, {point}",
            WHOLE,
            partial(killed_in_a_search, asset=asset, point=point),
            point not in _POINTS_OF_SEARCHES,
            True,
            asset,
            point,
        )
    for asset, point in product((*KINDS, *RARER_KINDS), EVENT_POINTS):
        yield Case(
            "killed at Dagster's event",
            f"{asset}, {point}",
            "the artifact is kept, the run ended by doctor, the rerun reuses it",
            partial(killed_at_the_event, asset=asset, point=point),
            asset not in _SOME,
            asset in RARER_KINDS,
            asset,
            point,
        )
    for point in TABLES_POINTS:
        yield Case(
            "killed while metrics.duckdb is written",
            point,
            "the old file, the new or none; the rerun gives the same rows",
            partial(killed_in_the_tables, point=point),
            asset=TABLES,
            point=point,
        )
    for asset, points in FILE_POINTS.items():
        for point in points:
            yield Case(
                "killed while pages and exports are written",
                f"{asset}, {point}",
                "each file is the old one or the new; the rerun gives the same bytes and tells of them",
                partial(killed_while_files_are_written, asset=asset, point=point),
                point in EVENT_POINTS and asset != COHORT_REPORT,
                asset=asset,
                point=point,
            )


def _sample_of_points(asset: str) -> set[str]:
    """Where an asset is killed by default: other points than its neighbours, so that each point has its turn."""
    points, kinds = tuple(STORE_POINTS), (*KINDS, *RARER_KINDS)
    n_points = 1 if asset in RARER_KINDS else _N_POINTS
    first = kinds.index(asset)
    return {points[(first + step * len(points) // _N_POINTS) % len(points)] for step in range(n_points)}


def _damaged() -> Iterator[Case]:
    for asset, damage in product((*KINDS, *RARER_KINDS), DAMAGES):
        yield Case(
            "damaged artifact",
            f"{asset}, {damage}",
            SET_ASIDE,
            partial(damaged_artifact, asset=asset, damage=damage),
            asset not in _SOME,
            asset in RARER_KINDS,
        )
    for asset, damage in product(_SOME, DAMAGES):
        yield Case(
            "damaged manifest", f"{asset}, {damage}", SET_ASIDE, partial(damaged_manifest, asset=asset, damage=damage)
        )
        for cure in ("rerun", "doctor"):
            yield Case(
                "damaged pointer",
                f"{asset}, {damage}, {cure}",
                "refused; set to the same artifact again",
                partial(damaged_pointer, asset=asset, damage=damage, cure=cure),
            )


def _others() -> Iterator[Case]:
    yield Case("two runs on one donor", DONOR, "both succeed, one artifact each", two_runs_on_one_donor, rarer=True)
    yield Case(
        "two writers and ten readers of metrics.duckdb", "5 s", "every read is whole", two_writers_and_ten_readers
    )
    for asset in _SOME:
        yield Case(
            "disk full", asset, "one line; nothing kept is touched; goes on with room", partial(disk_full, asset=asset)
        )
    yield Case("read-only store", "spot_grids", "one line; what is there is read", read_only_store)
    yield Case(
        "clock set back a year",
        "cohort/harmony/domains",
        "the newest work stays in force, gc keeps it",
        clock_backwards,
    )
    yield Case(
        "sample sheet rewritten while read",
        "replaced at once",
        "the old sheet or the new",
        partial(sheet_rewritten, at_once=True),
    )
    yield Case(
        "sample sheet rewritten while read",
        "written in place",
        "whole, or refused in one line",
        partial(sheet_rewritten, at_once=False),
    )
    yield Case(
        "donors added and removed during a run",
        "P03 for P02",
        "the run ends on its sheet, the next follows the new one",
        donors_change_during_a_run,
    )
    yield Case(
        "web server, daemon, code server and run killed",
        "SIGKILL to all",
        "doctor ends the run, the rerun converges",
        servers_killed,
    )


ALL_CASES: Final = tuple(_cases())
CASES: Final = tuple(case for case in ALL_CASES if EVERYTHING or not case.full)
