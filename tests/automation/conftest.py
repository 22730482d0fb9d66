"""A finished study of two donors, files for a third, and ticks of its sensors and schedule."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import tomlkit

from stalign_assets.platform.build import build_definitions
from stalign_assets.platform.resources import StudyResource
from stalign_assets.runs import open_instance
from stalign_assets.study import Study, open_study, settings_of_study
from stalign_core.files import replace_file
from stalign_core.store import Artifact
from stalign_core.store.store import UNPARTITIONED

Row = dict[str, str]


@dataclass
class Unattended:
    """A study that nobody looks after, as its sensors and schedule see it.

    Attributes
    ----------
    folder
        The study.
    data
        Raw files of its own, of three donors; its sheet names two.
    untouched
        The same files, not to be changed.
    """

    folder: Path
    data: Path
    untouched: Path
    instance: dg.DagsterInstance
    cursor: str | None = None

    @property
    def study(self) -> Study:
        """The study as it is now."""
        return open_study(self.folder)

    def rows(self) -> list[Row]:
        """Rows of the sheet."""
        with (self.folder / "samples.csv").open() as stream:
            return list(csv.DictReader(stream))

    def write_rows(self, rows: list[Row]) -> None:
        """Replace the sheet."""
        columns = list(dict.fromkeys(name for row in rows for name in row))
        lines = [",".join(columns), *(",".join(row.get(name, "") for name in columns) for row in rows)]
        replace_file(self.folder / "samples.csv", "\n".join(lines) + "\n")

    def row_of(self, position: int, **changes: str) -> Row:
        """A row for one of the simulated sections, by its place in their sheet."""
        with (self.data / "samples.csv").open() as stream:
            row = list(csv.DictReader(stream))[position]
        for column in ("path", "image", "annotation"):
            row[column] = str(self.data / row[column]) if row[column] else ""
        return {**row, **changes}

    def add_third(self, **changes: str) -> str:
        """Put the third section into the sheet; returns its donor."""
        row = self.row_of(2, **changes)
        self.write_rows([*self.rows(), row])
        return row["donor"]

    def mend(self) -> None:
        """Put all raw files back as they were; their times are those of now, their bytes the old ones."""
        for path in self.untouched.rglob("*"):
            file = self.data / path.relative_to(self.untouched)
            if path.is_file() and file.read_bytes() != path.read_bytes():
                shutil.copyfile(path, file)

    def definitions(self) -> dg.Definitions:
        """What a process loads that starts now."""
        return build_definitions(settings=settings_of_study(self.folder), resources={"study": self._resource()})

    def look(self) -> dg.SensorResult:
        """A tick of the sensor `new_samples`; new partitions are added and the cursor is kept, as the daemon does."""
        result = self._tick("new_samples", self.cursor)
        self.cursor = result.cursor
        for request in result.dynamic_partitions_requests or ():
            self.instance.add_dynamic_partitions("donors", list(request.partition_keys))
        return result

    def look_at_tables(self) -> dg.SensorResult:
        """A tick of the sensor `tables`."""
        return self._tick("tables", None)

    def night(self) -> dg.RunRequest | dg.SkipReason:
        """A tick of the schedule."""
        schedule = self.definitions().get_repository_def().get_schedule_def("nightly_integration")
        with dg.build_schedule_context(instance=self.instance, resources={"study": self._resource()}) as context:
            decision: Any = schedule(context)
        return decision

    def carry_out(self, request: dg.RunRequest) -> bool:
        """What the daemon does with a request, in this process; returns whether the run succeeded."""
        done = (
            self.definitions()
            .resolve_implicit_global_asset_job_def()
            .execute_in_process(
                instance=self.instance,
                asset_selection=list(request.asset_selection or ()),
                partition_key=request.partition_key,
                tags=dict(request.tags),
                raise_on_error=False,
            )
        )
        return done.success

    def requests(self) -> list[dg.RunRequest]:
        """What is asked for once everything stands still: what a second look finds."""
        self.look()
        return list(self.look().run_requests or ())

    def settle(self) -> list[str]:
        """Look, carry out what is asked for, and look again until nothing is; returns the donors that had runs."""
        donors: list[str] = []
        for _ in range(10):
            found = self.look()
            requests = list(found.run_requests or ())
            if not requests and "stands still" not in str(found.skip_reason):
                return donors
            donors += [str(request.partition_key) for request in requests]
            for request in requests:
                self.carry_out(request)
        raise AssertionError(f"the sensor asks again and again: {donors}")

    def current(self, asset: str, partition: str = UNPARTITIONED) -> Artifact:
        """The artifact in force."""
        artifact = self.study.store.current(asset, partition)
        assert artifact is not None, asset
        return artifact

    def metadata(self, asset: str) -> dict[str, Any]:
        """Metadata of the last materialisation of an unpartitioned asset."""
        event = self.instance.get_latest_materialization_event(dg.AssetKey(asset.split("/")))
        assert event is not None and event.asset_materialization is not None
        return {name: entry.value for name, entry in event.asset_materialization.metadata.items()}

    def _tick(self, name: str, cursor: str | None) -> dg.SensorResult:
        repository = self.definitions().get_repository_def()
        with dg.build_sensor_context(
            instance=self.instance,
            cursor=cursor,
            repository_def=repository,
            resources={"study": self._resource()},
        ) as context:
            result: Any = repository.get_sensor_def(name)(context)
        return result

    def _resource(self) -> StudyResource:
        return StudyResource(folder=str(self.folder))


@pytest.fixture
def unattended(tmp_path: Path, finished_study: Path, tiny_data: Path) -> Iterator[Unattended]:
    """Copies of the finished study and of all raw files, as far from each other as the originals."""
    base = finished_study.parents[1]
    folder = shutil.copytree(finished_study, tmp_path / finished_study.relative_to(base))
    data = shutil.copytree(tiny_data, tmp_path / tiny_data.relative_to(base))
    _take_over_hashes(folder, tiny_data, data)
    _keep_small(folder)
    with open_instance(open_study(folder)) as instance:
        yield Unattended(folder, data, tiny_data, instance)


def _keep_small(folder: Path) -> None:
    """Unattended as by default, but with one variant, and the cohort alone: the rules are the same."""
    settings = tomlkit.parse((folder / "study.toml").read_text())
    del settings["variants"]["harmony"]  # type: ignore[union-attr]
    settings["automation"] = {"donor_scope": False}
    replace_file(folder / "study.toml", tomlkit.dumps(settings))


def _take_over_hashes(folder: Path, before: Path, now: Path) -> None:
    """Raw files keep their known hashes where they lie now, so that only what a test changes counts as changed."""
    path = folder / "dagster" / "fingerprints.json"
    known = json.loads(path.read_text())
    moved = {}
    for name, (*_, sha256) in known.items():
        file = now.resolve() / Path(name).relative_to(before.resolve())
        status = file.stat()
        moved[str(file)] = [status.st_size, status.st_mtime_ns, status.st_ino, sha256]
    path.write_text(json.dumps(moved))
