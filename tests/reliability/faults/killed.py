"""Processes that die, at points of the store, of Dagster's event and of the tables."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import duckdb
import pandas as pd

from stalign_assets.doctor.examination import examine
from stalign_assets.recipes.benchmark.results import SEARCH
from stalign_assets.results.tables import query
from stalign_assets.runs import open_instance
from stalign_core.store.store import UNPARTITIONED
from tests.reliability.faults.common import KILLED, no_damage
from tests.reliability.kill_points import (
    make_and_die,
    run_and_die,
)
from tests.reliability.kinds import OF_SEARCHES, TABLES
from tests.reliability.place import Place, carry_out, make, partition_of


def killed_in_the_store(place: Place, asset: str, point: str) -> None:
    partition = partition_of(place.study, asset)
    place.forget(asset, partition)
    assert carry_out(make_and_die, place.folder, asset, partition, point) == KILLED
    # Whatever a reader finds now is whole, and it is there or not.
    for artifact in place.study.store.artifacts(no_damage):
        artifact.verify()
    assert place.study.store.current(asset, partition) is None or point == "after pointer"
    assert carry_out(make, place.folder, asset, partition) == 0
    place.assert_converged(asset, partition)
    list(examine(place.study, repair=True))
    assert list(examine(place.study, repair=False)) == []
    place.assert_converged(asset, partition)


def killed_in_a_search(place: Place, asset: str, point: str) -> None:
    """While a trial, or what it starts from, is made and kept: what was kept before stands, and is not made again."""
    fold = partition_of(place.study, SEARCH)
    lost = OF_SEARCHES[OF_SEARCHES.index(asset) :]
    for each in (SEARCH, *lost):
        place.forget(each)
    assert carry_out(make_and_die, place.folder, SEARCH, fold, point) == KILLED
    found = list(place.study.store.artifacts(no_damage))
    for artifact in found:
        artifact.verify()
    of_search = {artifact.manifest.asset for artifact in found} & {SEARCH, *lost}
    assert of_search == ({asset} if point == "after rename" else set())
    kept = _inodes(place, *OF_SEARCHES)
    assert carry_out(make, place.folder, SEARCH, fold) == 0
    place.assert_converged(SEARCH, fold)
    place.assert_all_converged(*OF_SEARCHES)
    assert kept.items() <= _inodes(place, *OF_SEARCHES).items()


def _inodes(place: Place, *assets: str) -> dict[Path, int]:
    base = Path(place.study.store.base.path)
    return {path: path.stat().st_ino for asset in assets for path in (base / asset).glob("*/*/manifest.json")}


def killed_at_the_event(place: Place, asset: str, point: str) -> None:
    partition = partition_of(place.study, asset)
    place.forget(asset, partition)
    assert carry_out(run_and_die, place.folder, asset, partition, point) == KILLED
    place.assert_converged(asset, partition)
    kinds = {told.kind for told in examine(place.study, repair=True)}
    assert kinds >= {"run"}
    assert carry_out(run_and_die, place.folder, asset, partition, "") == 0
    place.assert_converged(asset, partition)
    with open_instance(place.study) as instance:
        assert all(run.is_finished for run in instance.get_runs())
        event = instance.get_latest_materialization_event(dg.AssetKey(asset.split("/")))
        assert event is not None and event.asset_materialization is not None
        assert event.asset_materialization.metadata["reused"].value is True


def killed_in_the_tables(place: Place, point: str) -> None:
    whole, metrics = _metrics(place), place.study.metrics_path
    replaced = point not in ("in compute", "before fsync", "after fsync", "before rename")
    _outdate(metrics)
    outdated = _metrics(place)
    assert not outdated.equals(whole)
    for was_there in (True, False):
        if not was_there:
            metrics.unlink()
        assert carry_out(run_and_die, place.folder, TABLES, UNPARTITIONED, point) == KILLED
        assert metrics.exists() == (was_there or replaced)
        if metrics.exists():
            assert _metrics(place).equals(whole if replaced else outdated)
    assert carry_out(run_and_die, place.folder, TABLES, UNPARTITIONED, "") == 0
    assert _metrics(place).equals(whole)
    list(examine(place.study, repair=True))
    assert [path.name for path in place.folder.iterdir() if path.name.startswith(".metrics")] == []


def _metrics(place: Place) -> pd.DataFrame:
    return query(place.study.metrics_path, "select * from metrics order by all")


def _outdate(metrics: Path) -> None:
    """Make the tables those of another state of the study."""
    with duckdb.connect(str(metrics)) as connection:
        connection.execute("update about set value = 'outdated' where name = 'input_key'")
        connection.execute("update metrics set value = value + 1")
