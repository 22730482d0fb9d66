"""Processes that die, at points of the store, of Dagster's event and of the tables."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import dagster as dg
import duckdb
import pandas as pd
from dagster._core.definitions.data_version import DATA_VERSION_TAG

from stalign_assets.doctor.examination import examine
from stalign_assets.exporting import EXPORTS_FOLDER
from stalign_assets.pages.writing import donor_page
from stalign_assets.platform.atlas_asset import ATLAS
from stalign_assets.platform.report_assets import COHORT_REPORT, DONOR_REPORT
from stalign_assets.recipes.benchmark.results import SEARCH
from stalign_assets.results.tables import query
from stalign_assets.runs import open_instance
from stalign_assets.study import COHORT_PAGE, REPORTS_FOLDER
from stalign_core.reports import key_of_page
from stalign_core.store.store import UNPARTITIONED
from tests.reliability.faults.common import KILLED, no_damage
from tests.reliability.kill_points import ATLAS_FILE, EVENT_POINTS, make_and_die, run_and_die
from tests.reliability.kinds import OF_SEARCHES, TABLES
from tests.reliability.place import DONOR, Place, carry_out, make, partition_of, rewrite


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


def killed_while_files_are_written(place: Place, asset: str, point: str) -> None:
    """Each file for people is the old one or the new; the rerun gives the same bytes, and the history tells of them."""
    folder = place.folder / (EXPORTS_FOLDER if asset == ATLAS else REPORTS_FOLDER)
    partition = DONOR if asset == DONOR_REPORT else UNPARTITIONED
    assert carry_out(run_and_die, place.folder, asset, partition, "") == 0
    whole = _files(folder)
    target, others = _FILES_OF[asset]
    outdated = {name: _OUTDATED if Path(name).match(target) or Path(name).match(others) else "" for name in whole}
    for name in whole:
        if outdated[name]:
            rewrite(folder / name, _OUTDATED.encode())
    _tell_of_outdated_pages(place)

    assert carry_out(run_and_die, place.folder, asset, partition, point) == KILLED
    found = _files(folder)
    assert [name for name in whole.keys() | found.keys() if found[name] not in (whole[name], outdated[name])] == []
    is_new = {found[name] == whole[name] for name in whole if Path(name).match(target)}
    assert is_new == {point in ("after rename", *EVENT_POINTS)}

    assert carry_out(run_and_die, place.folder, asset, partition, "") == 0
    assert _files(folder) == whole
    if asset != ATLAS:
        key = key_of_page(folder / target)
        donors = place.study.cohort.donors if asset == COHORT_REPORT else (DONOR,)
        assert {donor: _pages_told(place)[donor] for donor in donors} == dict.fromkeys(donors, key)
    list(examine(place.study, repair=True))
    assert list(examine(place.study, repair=False)) == []
    assert [path for path in folder.rglob("*") if _is_draft(path.relative_to(folder))] == []


_OUTDATED: Final = "outdated"
_FILES_OF: Final = {
    COHORT_REPORT: (COHORT_PAGE, donor_page("*")),
    DONOR_REPORT: (donor_page(DONOR), donor_page(DONOR)),
    ATLAS: (ATLAS_FILE, "*.csv"),
}
"""Which file is to be written when the process is killed, and others that the asset writes."""


def _files(folder: Path) -> dict[str, str]:
    """What lies in a folder, but for what is still being written there: a text, or the hash of other bytes."""
    found = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    whole = {str(name): payload for name, payload in found.items() if not _is_draft(name)}
    return {
        name: _OUTDATED if payload == _OUTDATED.encode() else hashlib.sha256(payload).hexdigest()
        for name, payload in whole.items()
    }


def _is_draft(name: Path) -> bool:
    return any(part.startswith((".atlas", ".cohort", ".donor")) for part in name.parts)


def _tell_of_outdated_pages(place: Place) -> None:
    """As if the history's last word on the donors' pages were of other ones."""
    with open_instance(place.study) as instance:
        for donor in place.study.cohort.donors:
            told = dg.AssetMaterialization(DONOR_REPORT, partition=donor, tags={DATA_VERSION_TAG: _OUTDATED})
            instance.report_runless_asset_event(told)


def _pages_told(place: Place) -> dict[str, str]:
    """Which pages of donors the history tells of last."""
    with open_instance(place.study) as instance:
        told = instance.event_log_storage.get_latest_tags_by_partition(
            dg.AssetKey(DONOR_REPORT), dg.DagsterEventType.ASSET_MATERIALIZATION, [DATA_VERSION_TAG]
        )
    return {donor: tags[DATA_VERSION_TAG] for donor, tags in told.items()}


def _metrics(place: Place) -> pd.DataFrame:
    return query(place.study.metrics_path, "select * from metrics order by all")


def _outdate(metrics: Path) -> None:
    """Make the tables those of another state of the study."""
    with duckdb.connect(str(metrics)) as connection:
        connection.execute("update about set value = 'outdated' where name = 'input_key'")
        connection.execute("update metrics set value = value + 1")
