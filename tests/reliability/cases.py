"""The table of faults: what is broken, what must hold, and the check that breaks it and looks."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, Final

import dagster as dg
import pytest

from stalign_assets.doctor.examination import examine
from stalign_assets.driver import Request, bring_up_to_date
from stalign_assets.garbage import collect_garbage
from stalign_assets.planning import assets_of_scope
from stalign_assets.recipes.graph import recipes_of
from stalign_assets.results.tables import query, rebuild_tables
from stalign_assets.runs import open_instance
from stalign_assets.settings_file import write_whole
from stalign_core.cohort import read_sample_sheet
from stalign_core.errors import ArtifactError, SampleSheetError
from stalign_core.settings import parse_settings
from stalign_core.store.store import UNPARTITIONED
from tests.assets.conftest import TINY_SETTINGS
from tests.reliability.kill_points import (
    EVENT_POINTS,
    STORE_POINTS,
    TABLES_POINTS,
    make_and_die,
    run_and_die,
)
from tests.reliability.place import DONOR, Place, begin, carry_out, end, make, partition_of, rewrite

SETTINGS: Final = {**TINY_SETTINGS, "variants": {"harmony": {"correction": "harmony"}}}
EVERYTHING: Final = os.environ.get("STALIGN_RELIABILITY") == "full"
KINDS: Final = tuple(
    asset
    for scope in ("samples", "cohort")
    for asset in assets_of_scope(recipes_of(parse_settings(SETTINGS)), scope, SETTINGS["variants"])
)
"""Every asset that the study makes; those of a donor's own scope are the same functions on one donor."""
TABLES: Final = "metrics_tables"
KILLED: Final = -signal.SIGKILL


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
    """

    fault: str
    name: str
    holds: str
    check: Callable[[Place], None]
    full: bool = False


# Killed processes


def killed_in_the_store(place: Place, asset: str, point: str) -> None:
    partition = partition_of(place.study, asset)
    place.forget(asset, partition)
    assert carry_out(make_and_die, place.folder, asset, partition, point) == KILLED
    # Whatever a reader finds now is whole, and it is there or not.
    for artifact in place.study.store.artifacts(_no_damage):
        artifact.verify()
    assert place.study.store.current(asset, partition) is None or point == "after pointer"
    assert carry_out(make, place.folder, asset, partition) == 0
    place.assert_converged(asset, partition)
    list(examine(place.study, repair=True))
    assert list(examine(place.study, repair=False)) == []
    place.assert_converged(asset, partition)


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
    before = query(place.study.metrics_path, "select * from metrics order by all")
    place.study.metrics_path.unlink()
    assert carry_out(run_and_die, place.folder, TABLES, UNPARTITIONED, point) == KILLED
    if place.study.metrics_path.exists():
        assert query(place.study.metrics_path, "select * from metrics order by all").equals(before)
    assert carry_out(run_and_die, place.folder, TABLES, UNPARTITIONED, "") == 0
    assert query(place.study.metrics_path, "select * from metrics order by all").equals(before)
    list(examine(place.study, repair=True))
    assert [path.name for path in place.folder.iterdir() if path.name.startswith(".metrics")] == []


def _no_damage(error: ArtifactError) -> None:
    raise error


# Damaged bytes

DAMAGES: Final[dict[str, Callable[[bytes, bytes], bytes]]] = {
    "truncated": lambda whole, _: whole[: len(whole) // 2],
    "bit-flipped": lambda whole, _: (
        whole[: len(whole) // 2] + bytes([whole[len(whole) // 2] ^ 1]) + whole[len(whole) // 2 + 1 :]
    ),
    "empty": lambda *_: b"",
    "swapped": lambda _, other: other,
}


def damaged_artifact(place: Place, asset: str, damage: str) -> None:
    partition = partition_of(place.study, asset)
    path, other = place.file_of(asset, partition), place.file_of("raw_samples", "P02", ".parquet")
    rewrite(path, DAMAGES[damage](path.read_bytes(), other.read_bytes()))
    with pytest.raises(ArtifactError, match="stalign run"):
        place.current(asset, partition).verify()
    broken = path.read_bytes()
    assert carry_out(make, place.folder, asset, partition) == 0
    place.assert_converged(asset, partition)
    (aside,) = place.study.store.set_aside()
    assert (Path(aside.path) / path.name).read_bytes() == broken


def damaged_manifest(place: Place, asset: str, damage: str) -> None:
    partition = partition_of(place.study, asset)
    path = Path(place.current(asset, partition).folder.path) / "manifest.json"
    other = Path(place.current("gene_statistics", "P02").folder.path) / "manifest.json"
    rewrite(path, DAMAGES[damage](path.read_bytes(), other.read_bytes()))
    with pytest.raises(ArtifactError):
        place.current(asset, partition)
    assert carry_out(make, place.folder, asset, partition) == 0
    place.assert_converged(asset, partition)


def damaged_pointer(place: Place, asset: str, damage: str, cure: str) -> None:
    partition = partition_of(place.study, asset)
    folder = Path(place.study.store.base.path)
    path, other = folder / asset / partition / "current.json", folder / "gene_statistics" / "P02" / "current.json"
    whole = path.read_bytes()
    key = whole.index(b'"input_key": "') + 14
    payload = DAMAGES[damage](whole, other.read_bytes())
    if damage == "bit-flipped":
        payload = whole[:key] + bytes([whole[key] ^ 1]) + whole[key + 1 :]
    rewrite(path, payload)
    with pytest.raises(ArtifactError):
        place.current(asset, partition)
    if cure == "doctor":
        assert [told.outcome for told in examine(place.study, repair=True)] == ["repaired"]
    else:
        assert carry_out(make, place.folder, asset, partition) == 0
    place.assert_converged(asset, partition)


# Many at once


def two_runs_on_one_donor(place: Place) -> None:
    own = [asset for asset, recipe in recipes_of(place.study.settings).items() if recipe.is_of_samples]
    for asset in own:
        place.forget(asset, DONOR)
    runs = [begin(run_and_die, place.folder, own[0], DONOR, ""), begin(run_and_die, place.folder, own[0], DONOR, "")]
    assert [end(run) for run in runs] == [0, 0]
    place.assert_converged(own[0], DONOR)
    makers = [begin(make, place.folder, asset, DONOR) for asset in own[1:] for _ in range(2)]
    assert {end(maker) for maker in makers} == {0}
    for asset in own:
        place.assert_converged(asset, DONOR)
    assert len(list(place.study.store.artifacts(_no_damage))) == len(
        list(Place(place.original, place.original).study.store.artifacts())
    )


def write_tables(folder: Path, seconds: float) -> None:
    place = Place(folder, folder)
    end_at, n_written = time.monotonic() + seconds, 0
    while time.monotonic() < end_at:
        # Another key each time, so that the file is written anew and not found up to date.
        text = (folder / "store" / "raw_samples" / DONOR / "current.json").read_text()
        key = json.loads(text)["input_key"]
        extra = folder / "store" / "raw_samples" / DONOR / f"{key}.damaged-{os.getpid():08d}"
        extra.mkdir(exist_ok=True)
        study = place.study
        from stalign_assets.results import tables

        tables.TABLES_VERSION = os.getpid() * 1000 + n_written  # type: ignore[misc]
        assert not rebuild_tables(study, recipes_of(study.settings)).reused
        n_written += 1
    assert n_written > 1


def read_tables(path: Path, n_rows: int, seconds: float) -> None:
    end_at, n_read = time.monotonic() + seconds, 0
    while time.monotonic() < end_at:
        assert query(path, "select count(*) as n from metrics")["n"].iloc[0] == n_rows
        n_read += 1
    assert n_read > 1


def two_writers_and_ten_readers(place: Place) -> None:
    path = place.study.metrics_path
    n_rows = int(query(path, "select count(*) as n from metrics")["n"].iloc[0])
    assert n_rows > 10
    workers = [begin(write_tables, place.folder, 5.0) for _ in range(2)]
    workers += [begin(read_tables, path, n_rows, 5.0) for _ in range(10)]
    assert [end(worker) for worker in workers] == [0] * 12
    assert int(query(path, "select count(*) as n from metrics")["n"].iloc[0]) == n_rows


# Disks and clocks


@contextmanager
def mounted(*arguments: str | Path) -> Iterator[None]:
    """A mount of the test's own."""
    done = subprocess.run(["mount", *map(str, arguments)], capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip("a disk of a case's own needs the right to mount one")
    try:
        yield
    finally:
        subprocess.run(["umount", str(arguments[-1])], check=True)


def disk_full(place: Place, asset: str) -> None:
    partition = partition_of(place.study, asset)
    place.forget(asset, partition)
    disk, store = place.folder.parent / "disk", place.folder / "store"
    disk.mkdir()
    with mounted("-t", "tmpfs", "-o", "size=64m", "tmpfs", disk):
        shutil.copytree(store, disk / "store")
        shutil.rmtree(store)
        store.symlink_to(disk / "store")
        filler = disk / "filler"
        filler.write_bytes(bytes(shutil.disk_usage(disk).free))
        with pytest.raises(ArtifactError, match="no space is left"):
            make(place.folder, asset, partition)
        for artifact in place.study.store.artifacts(_no_damage):
            artifact.verify()
        assert not list((disk / "store" / ".staging").iterdir())
        filler.unlink()
        make(place.folder, asset, partition)
        place.assert_converged(asset, partition)


def read_only_store(place: Place) -> None:
    asset = "spot_grids"
    place.forget(asset, DONOR)
    store = place.folder / "store"
    with mounted("--bind", store, store):
        subprocess.run(["mount", "-o", "remount,ro,bind", str(store)], check=True)
        with pytest.raises(ArtifactError, match="read-only"):
            make(place.folder, asset, DONOR)
        for artifact in place.study.store.artifacts(_no_damage):
            artifact.verify()
        assert len(query(place.study.metrics_path, "select * from metrics")) > 0
    make(place.folder, asset, DONOR)
    place.assert_converged(asset, DONOR)


def make_a_year_ago(folder: Path, asset: str, partition: str) -> None:
    from stalign_assets import materialise as module
    from stalign_core.store import store

    class Earlier(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.now(tz) - timedelta(days=365)

    module.datetime = store.datetime = Earlier  # type: ignore[misc]
    was = time.time
    time.time = lambda: was() - 365 * 86400
    make(folder, asset, partition)


def clock_backwards(place: Place) -> None:
    asset = "cohort/harmony/domains"
    before = place.current(asset, UNPARTITIONED).manifest
    from stalign_assets.settings_file import set_value

    set_value(place.folder / "study.toml", "domains", "refine_neighbors", 4)
    assert carry_out(make_a_year_ago, place.folder, asset, UNPARTITIONED) == 0
    now = place.current(asset, UNPARTITIONED).manifest
    assert now.input_key != before.input_key and now.created < before.created
    # What is in force is told by the pointer, not by a date: it stays, though it looks a year old.
    with open_instance(place.study) as instance:
        collect_garbage(place.study, instance, keep_days=30)
    assert place.current(asset, UNPARTITIONED).manifest == now
    set_value(place.folder / "study.toml", "domains", "refine_neighbors", 6)
    assert carry_out(make, place.folder, asset, UNPARTITIONED) == 0
    place.assert_converged(asset, UNPARTITIONED)


# Sheets that change


def replace_sheet(path: Path, texts: tuple[str, str], seconds: float, at_once: bool) -> None:
    end_at = time.monotonic() + seconds
    while time.monotonic() < end_at:
        for text in texts:
            write_whole(path, text) if at_once else path.write_text(text)


def sheet_rewritten(place: Place, at_once: bool) -> None:
    path = place.folder / "samples.csv"
    with path.open() as stream:
        rows = list(csv.DictReader(stream))
    texts = tuple(_sheet([{**row, "condition": word} for row in rows]) for word in ("before", "after" * 2000))
    write_whole(path, texts[0])
    writer = threading.Thread(target=replace_sheet, args=(path, texts, 3.0, at_once))
    writer.start()
    seen, n_refused = set(), 0
    while writer.is_alive():
        try:
            samples = read_sample_sheet(path).samples
        except SampleSheetError as error:
            assert "\n" not in error.line
            n_refused += 1
            continue
        seen.add((len(samples), *(sample.condition for sample in samples)))
    writer.join()
    whole = {(len(rows), *(word for _ in rows)) for word in ("before", "after" * 2000)}
    if at_once:
        assert seen == whole and n_refused == 0
    else:
        # Cut off in the last cell of a row, a sheet cannot be told from one that is meant; elsewhere it is refused.
        assert all(any(_is_cut_of(found, of) for of in whole) for found in seen)
    path.write_text(texts[0])
    assert read_sample_sheet(path).donors == ("P01", "P02")


def _is_cut_of(found: tuple[Any, ...], whole: tuple[Any, ...]) -> bool:
    n_rows = found[0]
    return found[1:n_rows] == whole[1:n_rows] and whole[n_rows].startswith(found[n_rows])


def _sheet(rows: list[dict[str, str]]) -> str:
    return "\n".join([",".join(rows[0]), *(",".join(row.values()) for row in rows)]) + "\n"


def bring(folder: Path) -> None:
    report = bring_up_to_date(Request.parse(folder, scopes="cohort"))
    assert report.success, report.lines()


def donors_change_during_a_run(place: Place) -> None:
    """P02 goes and P03 comes while a run is at work; it ends on what it began with, and the next has them."""
    path = place.folder / "samples.csv"
    with path.open() as stream:
        first, second = csv.DictReader(stream)
    third = {name: cell.replace("P02", "P03") for name, cell in second.items()}
    shutil.rmtree(place.folder / "store" / "cohort")
    run = begin(bring, place.folder)
    deadline = time.monotonic() + 120
    while not (place.folder / "store" / "cohort" / "gene_panel").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    write_whole(path, _sheet([first, third]))
    assert end(run) == 0
    asset = "cohort/harmony/domains"
    assert place.current(asset, UNPARTITIONED).manifest.donors == ("P01", "P02")
    place.assert_converged(asset, UNPARTITIONED)
    assert carry_out(bring, place.folder) == 0
    assert place.current(asset, UNPARTITIONED).manifest.donors == ("P01", "P03")
    write_whole(path, _sheet([first, second]))
    assert carry_out(bring, place.folder) == 0
    place.assert_converged(asset, UNPARTITIONED)


# Servers


def servers_killed(place: Place) -> None:
    """Web server, daemon, code server and the run's own process die together, while a run is at work."""
    from tests.ui.graphql import launch
    from tests.ui.server import serving

    asset = "morphology_embeddings/texture"
    place.forget(asset, DONOR)
    with serving(place.folder) as server:
        run_id = launch(server.ask, [asset], DONOR)
        with open_instance(place.study) as instance:
            deadline = time.monotonic() + 120
            while not instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_START):
                assert time.monotonic() < deadline, "no step began"
                time.sleep(0.02)
            os.killpg(server.process.pid, signal.SIGKILL)
            server.process.wait()
            time.sleep(1)
            run = instance.get_run_by_id(run_id)
            assert run is not None and run.status is dg.DagsterRunStatus.STARTED
            told = list(examine(place.study, repair=True))
            assert ("run", run_id) in {(each.kind, each.where) for each in told}
            run = instance.get_run_by_id(run_id)
            assert run is not None and run.status is dg.DagsterRunStatus.FAILURE
            assert not instance.event_log_storage.get_concurrency_info("gpu").active_run_ids
    assert carry_out(make, place.folder, asset, DONOR) == 0
    place.assert_converged(asset, DONOR)


# The table

WHOLE: Final = "readers see all or nothing; the rerun gives the same bytes"
SET_ASIDE: Final = "refused in one line, set aside, made again with the same bytes"
_SOME: Final = ("raw_samples", "cohort/correction_basis", "cohort/harmony/domains")
_POINTS_OF_ALL: Final = ("in compute", "before rename", "after rename")


def _cases() -> Iterator[Case]:
    for asset, point in product(KINDS, STORE_POINTS):
        full = asset not in _SOME[:1] and point not in _POINTS_OF_ALL
        yield Case(
            "killed at a point of the store",
            f"{asset}, {point}",
            WHOLE,
            partial(killed_in_the_store, asset=asset, point=point),
            full,
        )
    for asset, point in product(KINDS, EVENT_POINTS):
        yield Case(
            "killed at Dagster's event",
            f"{asset}, {point}",
            "the artifact is kept, the run ended by doctor, the rerun reuses it",
            partial(killed_at_the_event, asset=asset, point=point),
            asset not in _SOME,
        )
    for point in TABLES_POINTS:
        yield Case(
            "killed while metrics.duckdb is written",
            point,
            "the old file, the new or none; the rerun gives the same rows",
            partial(killed_in_the_tables, point=point),
        )
    for asset, damage in product(KINDS, DAMAGES):
        yield Case(
            "damaged artifact",
            f"{asset}, {damage}",
            SET_ASIDE,
            partial(damaged_artifact, asset=asset, damage=damage),
            asset not in _SOME,
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
    yield Case("two runs on one donor", DONOR, "both succeed, one artifact each", two_runs_on_one_donor)
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


CASES: Final = tuple(case for case in _cases() if EVERYTHING or not case.full)
