"""A full disk, one that cannot be written, and a clock that is set back."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from stalign_assets.garbage import collect_garbage
from stalign_assets.results.tables import query
from stalign_assets.runs import open_instance
from stalign_core.errors import ArtifactError
from stalign_core.store.store import UNPARTITIONED
from tests.reliability.faults.common import no_damage
from tests.reliability.place import DONOR, Place, carry_out, make, partition_of


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
        for artifact in place.study.store.artifacts(no_damage):
            artifact.verify()
        assert not list((disk / "store" / ".staging").iterdir())
        filler.unlink()
        # In a process that nothing else has set up: bytes of pictures follow what other tests left in matplotlib.
        assert carry_out(make, place.folder, asset, partition) == 0
        place.assert_converged(asset, partition)


def read_only_store(place: Place) -> None:
    asset = "spot_grids"
    place.forget(asset, DONOR)
    store = place.folder / "store"
    with mounted("--bind", store, store):
        subprocess.run(["mount", "-o", "remount,ro,bind", str(store)], check=True)
        with pytest.raises(ArtifactError, match="read-only"):
            make(place.folder, asset, DONOR)
        for artifact in place.study.store.artifacts(no_damage):
            artifact.verify()
        assert len(query(place.study.metrics_path, "select * from metrics")) > 0
    assert carry_out(make, place.folder, asset, DONOR) == 0
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
