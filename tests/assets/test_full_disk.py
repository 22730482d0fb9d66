"""A full disk and faults of the user, as the command and Dagster tell them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest

from stalign_assets.full_disk import naming_full_disk
from stalign_assets.platform.assets import failing_in_one_line
from stalign_assets.platform.build import build_definitions
from stalign_assets.platform.resources import StudyResource
from stalign_assets.settings_file import set_value
from stalign_assets.study import STUDY_VARIABLE
from stalign_core.errors import ArtifactError, InputDataError
from stalign_core.store import Store
from tests.assets import bad_inputs as bad
from tests.assets.bad_inputs import DONOR, OTHER_DONOR, stalign, the_one_error
from tests.assets.spoiled import Place

pytestmark = pytest.mark.slow

Print = pytest.CaptureFixture[str]

QUICK = ("--scopes", "donor", "--variants", "uncorrected")
JOINT = ("--scopes", "cohort", "--variants", "uncorrected")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 24 MB of its own."""
    folder = tmp_path / "small_disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("a disk of a test's own needs the right to mount one")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def fill(disk: Path) -> Path:
    """Leave no byte on a disk; the file to remove afterwards."""
    filler = disk / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(disk).free))
    return filler


@pytest.mark.parametrize("on_it", ["the store", "the study"])
def test_a_full_disk_is_one_line_and_the_run_goes_on_when_there_is_room(
    place: Place, capsys: Print, small_disk: Path, on_it: str
) -> None:
    if on_it == "the store":
        study, named = place.study, f"store {small_disk}/store: no space is left"
        shutil.move(study / "store", small_disk / "store")
        settings = study / "study.toml"
        settings.write_text(settings.read_text().replace('store = "store"', f'store = "{small_disk}/store"'))
    else:
        study, named = small_disk / "finished" / "study", f"{small_disk}/finished/study: "
        shutil.copytree(place.study, study)
        shutil.copytree(place.data, small_disk / place.data.parent.name / place.data.name)
    set_value(study / "study.toml", "input", "min_spots", 40)
    before = bad.everything_kept(study)
    filler = fill(small_disk)
    line = the_one_error(stalign(capsys, "run", study, *QUICK))
    assert named in line and "make room and run again; everything kept before is whole" in line
    assert bad.everything_kept(study) == before
    assert not list(small_disk.rglob(".staging/*"))
    filler.unlink()
    assert stalign(capsys, "run", study, *QUICK).code == 0
    assert before.items() < bad.everything_kept(study).items()


def test_every_kind_of_file_that_finds_no_room_is_told_alike(small_disk: Path) -> None:
    import anndata
    import duckdb
    import numpy as np
    import pandas as pd
    from scipy.sparse import csr_matrix

    values = np.random.default_rng(0).random((1000, 100))
    with Store(small_disk / "store").staging(None) as builder:
        fill(small_disk)
        writers: dict[str, Callable[[], object]] = {
            "arrays": lambda: builder.write_arrays("a.safetensors", {"a": values}),
            "table": lambda: builder.write_table("t.parquet", pd.DataFrame(values).add_prefix("c")),
            "json": lambda: builder.write_json("j.json", values.tolist()),
            "bytes": lambda: builder.write_bytes("b.png", values.tobytes()),
            "anndata": lambda: builder.write_anndata("x.h5ad", anndata.AnnData(csr_matrix(values))),
            "duckdb": lambda: duckdb.connect(str(small_disk / "d.duckdb")).execute("create table t as select 1"),
        }
        for name, write in writers.items():
            with pytest.raises(ArtifactError, match="so it is lost; make room and run again"):  # noqa: SIM117
                with naming_full_disk(name, "it is lost"):
                    write()


def failure_lines(instance: dg.DagsterInstance, run_id: str) -> list[str]:
    """What the failed steps of a run say; each must be a `dagster.Failure`."""
    lines = []
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
        data = entry.get_dagster_event().step_failure_data
        assert data.user_failure_data is not None, data.error
        lines.append(str(data.user_failure_data.description))
    assert not instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_UP_FOR_RETRY)
    return lines


def materialise(folder: str, asset: list[str], partition: str | None) -> list[str]:
    """Materialise one asset in Dagster under a policy of retries; the lines of its failure."""
    definitions = build_definitions(resources={"study": StudyResource(folder=folder)})
    job = dg.define_asset_job(
        "one", selection=[dg.AssetKey(asset)], op_retry_policy=dg.RetryPolicy(max_retries=2, delay=0)
    )
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("donors", [OTHER_DONOR, DONOR])
        resolved = dg.Definitions(
            assets=definitions.assets, resources=definitions.resources, jobs=[job], executor=dg.in_process_executor
        ).resolve_job_def("one")
        result = resolved.execute_in_process(instance=instance, partition_key=partition, raise_on_error=False)
        assert not result.success
        return failure_lines(instance, result.run_id)


def test_in_dagster_a_section_that_cannot_be_read_fails_once_with_that_line(place: Place) -> None:
    bad.truncate_counts(place.files)
    (line,) = materialise(str(place.study), ["raw_samples"], DONOR)
    assert line.startswith(f"{place.files.counts}: cannot be read: truncated")


def test_in_dagster_without_a_study_materialising_says_how_to_open_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(STUDY_VARIABLE, raising=False)
    (line,) = materialise("", ["cohort", "gene_panel"], None)
    assert line == (
        "STALIGN_STUDY: is not set, so no study is open; "
        "start the server with 'stalign ui STUDY', or set it to a study folder"
    )


def test_in_dagster_a_broken_sheet_fails_the_step_with_that_line(place: Place) -> None:
    (place.study / "samples.csv").write_text("sample,donor\nx,y\n")
    (line,) = materialise(str(place.study), ["cohort", "gene_panel"], None)
    assert "samples.csv, row 1: misses the column path" in line


def test_a_fault_of_the_user_forbids_retries_and_a_full_disk_counts_as_one() -> None:
    for fault, line in (
        (InputDataError("file", "is bad"), "file: is bad"),
        (OSError(28, "No space left on device"), "the study's disk: no space is left, so this step could not end"),
    ):
        with pytest.raises(dg.Failure) as caught, failing_in_one_line():
            raise fault
        assert caught.value.description is not None and caught.value.description.startswith(line)
        assert caught.value.allow_retries is False
