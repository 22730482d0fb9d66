"""Named points of the write path where a process is killed: the functions there are replaced before it begins."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import dagster as dg

from stalign_assets.platform.partitions import register_folds
from stalign_assets.recipes.benchmark.results import SEARCH
from stalign_assets.reporting import Silent
from stalign_assets.results import tables
from stalign_assets.runs import RunRequest, open_instance, prepare_instance, start_run
from stalign_assets.study import open_study
from stalign_assets.wanted import folds_of
from stalign_core.store import builder, local, store
from stalign_core.store.store import UNPARTITIONED
from tests.reliability.place import make

Patch = Callable[[], None]


def die(*_: Any, **__: Any) -> None:
    """What no handler, no `finally` and no buffer survives."""
    os.kill(os.getpid(), signal.SIGKILL)


def _around(owner: Any, name: str, *, after: bool, when: Callable[..., bool] = lambda *_, **__: True) -> Patch:
    """Kill before or after the first call of a function for which `when` holds."""

    def patch() -> None:
        original = getattr(owner, name)

        def replaced(*arguments: Any, **words: Any) -> Any:
            if not when(*arguments, **words):
                return original(*arguments, **words)
            if not after:
                die()
            result = original(*arguments, **words)
            die()
            return result

        setattr(owner, name, replaced)

    return patch


def _is_manifest(path: Path, *_: Any) -> bool:
    return path.name == "manifest.json"


def _is_pointer(path: Path, *_: Any) -> bool:
    return path.name.startswith(".current.json")


def _is_staging(path: Path, *_: Any) -> bool:
    return path.parent.name == ".staging"


def _is_materialisation(_: Any, entry: Any, *__: Any, **___: Any) -> bool:
    event = entry.dagster_event
    return event is not None and event.event_type is dg.DagsterEventType.ASSET_MATERIALIZATION


STORE_POINTS: Final[dict[str, Patch]] = {
    "in compute": _around(builder.ArtifactBuilder, "_record", after=False),
    "before manifest": _around(store, "write_synced", after=False, when=_is_manifest),
    "after manifest": _around(store, "write_synced", after=True, when=_is_manifest),
    "before fsync": _around(local, "_sync_file", after=False),
    "after fsync": _around(local, "_sync_folder", after=True),
    "before rename": _around(Path, "rename", after=False, when=_is_staging),
    "after rename": _around(Path, "rename", after=True, when=_is_staging),
    "before pointer": _around(local, "write_synced", after=False, when=_is_pointer),
    "before pointer's rename": _around(Path, "replace", after=False, when=_is_pointer),
    "after pointer": _around(store.Store, "point", after=True),
}
EVENT_POINTS: Final[dict[str, Patch]] = {
    "before event": _around(dg.DagsterInstance, "handle_new_event", after=False, when=_is_materialisation),
    "after event": _around(dg.DagsterInstance, "handle_new_event", after=True, when=_is_materialisation),
}
TABLES_POINTS: Final[dict[str, Patch]] = {
    "in compute": _around(tables, "_append", after=True),
    "before fsync": _around(tables, "_sync", after=False),
    "after fsync": _around(tables, "_sync", after=True),
    "before rename": _around(Path, "replace", after=False, when=lambda path, *_: ".metrics.duckdb" in path.name),
    "after rename": _around(Path, "replace", after=True, when=lambda path, *_: ".metrics.duckdb" in path.name),
    **EVENT_POINTS,
}


def make_and_die(folder: Path, asset: str, partition: str, point: str) -> None:
    """Materialise an asset and be killed at a point of the store."""
    STORE_POINTS[point]()
    make(folder, asset, partition)


SEARCH_POINTS: Final = tuple(point for point in STORE_POINTS if "pointer" not in point)
"""Of what a search keeps besides its own artifact: nothing points to it."""


def run_and_die(folder: Path, asset: str, partition: str, point: str) -> None:
    """Run an asset in Dagster and be killed at a point of the event or of the tables; no point: run it to its end."""
    if point:
        (TABLES_POINTS if asset == "metrics_tables" else EVENT_POINTS)[point]()
    study = open_study(folder)
    with open_instance(study) as instance:
        prepare_instance(instance, study)
        if asset == SEARCH:
            register_folds(instance, folds_of(study))
        of = None if partition == UNPARTITIONED else partition
        outcome = start_run(study, instance, RunRequest([asset], of), Silent())
    assert outcome.success, outcome.faults
