"""Several processes at work on one study."""

from __future__ import annotations

import os
import time
from pathlib import Path

from stalign_assets.recipes.graph import recipes_of
from stalign_assets.results import tables
from stalign_assets.results.tables import query
from tests.reliability.faults.common import no_damage
from tests.reliability.kill_points import (
    run_and_die,
)
from tests.reliability.kinds import rarer_assets
from tests.reliability.place import DONOR, Place, begin, end, make_each

_AT_LEAST = 3
"""What each process writes or reads, however little of the machine it gets."""


def two_runs_on_one_donor(place: Place) -> None:
    """Two runs of Dagster read a donor's files; then two processes make all else that there is of one donor."""
    recipes = recipes_of(place.study.settings)
    first, *others = [asset for asset in rarer_assets() if recipes[asset].partitioning == "donor"]
    for asset in (first, *others):
        place.forget(asset, DONOR)
    runs = [begin(run_and_die, place.folder, first, DONOR, "") for _ in range(2)]
    assert [end(run) for run in runs] == [0, 0]
    makers = [begin(make_each, place.folder, others, DONOR) for _ in range(2)]
    assert [end(maker) for maker in makers] == [0, 0]
    for asset in (first, *others):
        place.assert_converged(asset, DONOR)
    n_artifacts = len(list(place.study.store.artifacts(no_damage)))
    assert n_artifacts == len(list(place.untouched.study.store.artifacts()))


def write_tables(folder: Path, seconds: float) -> None:
    place = Place(folder, folder)
    end_at, n_written = time.monotonic() + seconds, 0
    while time.monotonic() < end_at or n_written < _AT_LEAST:
        study = place.study
        # Another key each time, so that the file is written anew and not found up to date.
        tables.TABLES_VERSION = os.getpid() * 1000 + n_written  # type: ignore[misc]
        assert not tables.rebuild_tables(study, recipes_of(study.settings)).reused
        n_written += 1


def read_tables(path: Path, n_rows: int, seconds: float) -> None:
    end_at, n_read = time.monotonic() + seconds, 0
    while time.monotonic() < end_at or n_read < _AT_LEAST:
        assert query(path, "select count(*) as n from metrics")["n"].iloc[0] == n_rows
        n_read += 1


def two_writers_and_ten_readers(place: Place) -> None:
    path = place.study.metrics_path
    n_rows = int(query(path, "select count(*) as n from metrics")["n"].iloc[0])
    assert n_rows > 10
    workers = [begin(write_tables, place.folder, 5.0) for _ in range(2)]
    workers += [begin(read_tables, path, n_rows, 5.0) for _ in range(10)]
    assert [end(worker) for worker in workers] == [0] * 12
    assert int(query(path, "select count(*) as n from metrics")["n"].iloc[0]) == n_rows
