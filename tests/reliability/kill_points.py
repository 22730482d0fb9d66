"""Named points of the write path where a process is killed: the functions there are replaced before it begins."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import dagster as dg
from anndata import experimental

from stalign_assets.platform.atlas_asset import ATLAS
from stalign_assets.platform.partitions import register_folds
from stalign_assets.platform.report_assets import COHORT_REPORT, DONOR_REPORT
from stalign_assets.recipes.benchmark.results import SEARCH
from stalign_assets.reporting import Silent
from stalign_assets.results import tables
from stalign_assets.runs import RunRequest, open_instance, prepare_instance, start_run
from stalign_assets.study import COHORT_PAGE, open_study
from stalign_assets.wanted import folds_of
from stalign_core.store import builder, local, store
from stalign_core.store.store import UNPARTITIONED
from tests.reliability.kinds import TABLES
from tests.reliability.place import make

Patch = Callable[[], None]
ATLAS_FILE: Final = "atlas.h5ad"


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


def _is_page(path: Path) -> bool:
    return path.suffix == ".html"


def _halfway(when: Callable[[Path], bool]) -> Patch:
    """Kill once half of a file is written, of those for whose final name `when` holds."""

    def patch() -> None:
        original = Path.write_bytes

        def replaced(path: Path, payload: bytes) -> int:
            if not when(Path(path.name[1:].rpartition(".")[0])):
                return original(path, payload)
            original(path, payload[: len(payload) // 2])
            die()
            return 0

        setattr(Path, "write_bytes", replaced)  # noqa: B010

    return patch


def _renaming(when: Callable[[Path], bool], *, after: bool) -> Patch:
    """Kill before or after a file takes its place, if `when` holds for that place."""
    return _around(Path, "replace", after=after, when=lambda _, target: when(Path(target)))


def _points_of_file(when: Callable[[Path], bool]) -> dict[str, Patch]:
    return {
        "in compute": _halfway(when),
        "before rename": _renaming(when, after=False),
        "after rename": _renaming(when, after=True),
    }


_POINTS_OF_COHORT_REPORT: Final = {
    **_points_of_file(lambda path: path.name == COHORT_PAGE),
    "between pages": _renaming(lambda path: path.name.startswith("donor_") and _is_page(path), after=True),
    **EVENT_POINTS,
}
FILE_POINTS: Final[dict[str, dict[str, Patch]]] = {
    COHORT_REPORT: _POINTS_OF_COHORT_REPORT,
    DONOR_REPORT: {**_points_of_file(lambda path: path.name.startswith("donor_") and _is_page(path)), **EVENT_POINTS},
    ATLAS: {
        **_points_of_file(lambda path: path.name == ATLAS_FILE),
        "in compute": _around(experimental, "concat_on_disk", after=True),
        **EVENT_POINTS,
    },
}
"""Of what writes files for people."""


def make_and_die(folder: Path, asset: str, partition: str, point: str) -> None:
    """Materialise an asset and be killed at a point of the store."""
    STORE_POINTS[point]()
    make(folder, asset, partition)


SEARCH_POINTS: Final = tuple(point for point in STORE_POINTS if "pointer" not in point)
"""Of what a search keeps besides its own artifact: nothing points to it."""


def run_and_die(folder: Path, asset: str, partition: str, point: str) -> None:
    """Run an asset in Dagster and be killed at a point of the event or of its files; no point: run it to its end."""
    if point:
        {TABLES: TABLES_POINTS, **FILE_POINTS}.get(asset, EVENT_POINTS)[point]()
    study = open_study(folder)
    with open_instance(study) as instance:
        prepare_instance(instance, study)
        if asset == SEARCH:
            register_folds(instance, folds_of(study))
        of = None if partition == UNPARTITIONED else partition
        outcome = start_run(study, instance, RunRequest([asset], of), Silent())
    assert outcome.success, outcome.faults
