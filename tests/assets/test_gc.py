"""What `stalign gc` removes, and what it never does."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import numpy as np
import pytest

from stalign_assets.garbage import KINDS, Collected, collect_garbage
from stalign_assets.locking import computing_alone, store_alone, using_store
from stalign_assets.new_study import create_study
from stalign_assets.runs import open_instance
from stalign_assets.settings_file import set_value
from stalign_assets.study import Study, open_study
from stalign_core.errors import ArtifactError, MissingArtifactError, StudyError
from stalign_core.settings import parse_settings
from stalign_core.store import Artifact, InputRecord
from tests.assets.bad_inputs import everything_kept, stalign, the_one_error
from tests.assets.test_reuse import OF_DOMAINS
from tests.core.store.test_store import manifest_of
from tests.studies import run, two_donor_sheet

NOW = datetime.now(UTC)
LATER = NOW + timedelta(days=40)
OLD, YOUNG = NOW - timedelta(days=31), NOW - timedelta(days=29)


@pytest.fixture(params=["folder", "memory"])
def bare(request: pytest.FixtureRequest, tmp_path: Path, tiny_data: Path) -> Study:
    """A study without artifacts, of either kind of store."""
    store = "store" if request.param == "folder" else f"memory://{tmp_path.name}"
    return create_study(tmp_path / "study", two_donor_sheet(tiny_data), parse_settings({"store": store}))


@pytest.fixture
def local(tmp_path: Path, tiny_data: Path) -> Study:
    """A study without artifacts, its store in its folder."""
    return create_study(tmp_path / "study", two_donor_sheet(tiny_data))


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test(temp_dir=str(tmp_path)) as opened:
        yield opened


def commit(
    study: Study,
    asset: str,
    key: str,
    *inputs: Artifact,
    created: datetime = OLD,
    in_force: bool = False,
    run_id: str = "run",
) -> Artifact:
    """An artifact made from others."""
    records = tuple(
        InputRecord(given.asset, given.partition, given.input_key, given.data_version, "used")
        for given in (each.manifest for each in inputs)
    )
    with study.store.staging(None) as builder:
        builder.write_arrays("x.safetensors", {"x": np.zeros(1000)})
        manifest = manifest_of(builder, asset, "P01", key)
        kept = study.store.commit(
            builder, replace(manifest, inputs=records, created=created.isoformat(timespec="seconds"), run_id=run_id)
        )
    if in_force:
        study.store.point(kept)
    return kept


def keys_left(study: Study) -> set[str]:
    return {artifact.manifest.input_key for artifact in study.store.artifacts()}


def commit_history(study: Study) -> None:
    """Spots, features and domains in three states; `spots-now` was made since, and nothing from it yet."""
    before = commit(study, "features", "features-before", commit(study, "spots", "spots-before"))
    commit(study, "cohort/a/domains", "domains-before", before)
    commit(study, "cohort/a/domains", "domains-lately", before, created=YOUNG)
    features = commit(study, "features", "features", commit(study, "spots", "spots"))
    commit(study, "features", "features-now", commit(study, "spots", "spots-now", in_force=True), in_force=True)
    commit(study, "cohort/a/domains", "domains", features, in_force=True)


# Artifacts


def test_what_is_in_force_and_all_it_was_made_from_stays_and_old_rest_goes(
    bare: Study, instance: dg.DagsterInstance
) -> None:
    commit_history(bare)
    collected = collect_garbage(bare, instance, keep_days=30, now=NOW)
    assert keys_left(bare) == {"spots", "spots-now", "features", "features-now", "domains", "domains-lately"}
    gone = {path.rsplit("/", 1)[-1] for path in collected.paths["artifacts"]}
    assert gone == {"spots-before", "features-before", "domains-before"}
    assert collected.n_bytes["artifacts"] > 3 * 8000
    for artifact in bare.store.artifacts():
        artifact.verify()
    again = collect_garbage(bare, instance, keep_days=30, now=NOW)
    assert not any(again.paths.values()) and again.n_bytes.total() == 0


def test_a_dry_run_says_the_same_and_removes_nothing(bare: Study, instance: dg.DagsterInstance) -> None:
    commit_history(bare)
    before = keys_left(bare)
    told = collect_garbage(bare, instance, keep_days=30, dry_run=True, now=NOW)
    assert keys_left(bare) == before
    done = collect_garbage(bare, instance, keep_days=30, now=NOW)
    assert told == replace(done, dry_run=True)
    assert told.lines()[-1].startswith("would free 0.") and done.lines()[-1].startswith("freed 0.")


def test_an_artifact_whose_inputs_are_gone_stays(local: Study, instance: dg.DagsterInstance) -> None:
    spots = commit(local, "spots", "spots")
    commit(local, "features", "features", spots, in_force=True)
    local.store.remove(spots.folder)
    collect_garbage(local, instance, keep_days=0, now=NOW)
    assert keys_left(local) == {"features"}


def test_a_pointer_that_cannot_be_read_keeps_everything(local: Study, instance: dg.DagsterInstance) -> None:
    commit_history(local)
    before = keys_left(local)
    pointer = Path(str(local.store.base)) / "cohort" / "a" / "domains" / "P01" / "current.json"
    pointer.write_text("{")
    with pytest.raises(ArtifactError, match="is not a whole pointer"):
        collect_garbage(local, instance, keep_days=0, now=NOW)
    assert keys_left(local) == before


def test_an_artifact_in_force_that_was_set_aside_keeps_nothing_from_being_removed(
    local: Study, instance: dg.DagsterInstance
) -> None:
    commit_history(local)
    local.store.discard(commit(local, "cohort/a/domains", "domains-damaged", in_force=True).folder)
    with pytest.raises(MissingArtifactError):
        local.store.current("cohort/a/domains", "P01")
    collect_garbage(local, instance, keep_days=0, now=NOW)
    assert keys_left(local) == {"spots-now", "features-now"}


def test_an_artifact_that_cannot_be_read_is_left_alone_and_told(local: Study, instance: dg.DagsterInstance) -> None:
    artifact = commit(local, "features", "features-before")
    (Path(str(artifact.folder)) / "manifest.json").write_text("{")
    collected = collect_garbage(local, instance, keep_days=0, now=LATER)
    assert collected.paths["artifacts"] == [] and Path(str(artifact.folder)).is_dir()
    (line,) = collected.unreadable
    assert str(artifact.folder) in line and f"left alone: {line}" in collected.lines()


def test_bytes_that_a_kept_artifact_shares_are_not_freed(local: Study, instance: dg.DagsterInstance) -> None:
    gone = commit(local, "features", "features-before")
    kept = commit(local, "features", "features", in_force=True)
    shared = Path(str(kept.folder)) / "x.safetensors"
    shared.unlink()
    os.link(Path(str(gone.folder)) / "x.safetensors", shared)
    collected = collect_garbage(local, instance, keep_days=0, now=NOW)
    assert len(collected.paths["artifacts"]) == 1
    assert 0 < collected.n_bytes["artifacts"] < 8000
    kept.verify()


def test_a_removal_that_is_killed_leaves_no_half_artifact(local: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = commit(local, "features", "features")
    monkeypatch.setattr("stalign_core.store.local.shutil.rmtree", lambda path: None)
    local.store.remove(artifact.folder)
    assert keys_left(local) == set()
    assert not Path(str(artifact.folder)).exists()


# What is left over


def test_damaged_artifacts_are_kept_for_inspection_until_they_are_old(
    bare: Study, instance: dg.DagsterInstance
) -> None:
    bare.store.discard(commit(bare, "features", "features").folder)
    assert len(list(bare.store.set_aside())) == 1
    assert collect_garbage(bare, instance, keep_days=30, now=NOW).paths["damaged artifacts"] == []
    (path,) = collect_garbage(bare, instance, keep_days=30, now=LATER).paths["damaged artifacts"]
    assert "features.damaged-" in path
    assert list(bare.store.set_aside()) == []


def test_staging_of_dead_processes_goes_and_of_living_ones_stays(bare: Study, instance: dg.DagsterInstance) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    parent = bare.store.staging_parent
    names = {
        "dead": f"{socket.gethostname()}-{dead.pid}-a",
        "living": f"{socket.gethostname()}-{os.getpid()}-b",
        "elsewhere": "another-host-1-c",
    }
    for name in names.values():
        (parent / name / "part").mkdir(parents=True)
    collected = collect_garbage(bare, instance, keep_days=30, now=NOW)
    assert collected.paths["staging"] == [str(parent / names["dead"])]
    assert {path.name for path in parent.iterdir()} == {names["living"], names["elsewhere"]}
    collect_garbage(bare, instance, keep_days=30, now=LATER)
    assert list(parent.iterdir()) == []


def test_settings_of_runs_go_once_the_run_is_over_and_nothing_it_made_is_kept(
    local: Study, instance: dg.DagsterInstance
) -> None:
    @dg.job
    def nothing() -> None: ...

    def run_with(status: dg.DagsterRunStatus) -> str:
        return instance.create_run_for_job(nothing, status=status).run_id

    over, going_on = run_with(dg.DagsterRunStatus.SUCCESS), run_with(dg.DagsterRunStatus.STARTED)
    maker, unknown = run_with(dg.DagsterRunStatus.FAILURE), "unknown"
    commit(local, "features", "features", in_force=True, run_id=maker)
    folder = local.dagster_home / "run_settings"
    folder.mkdir()
    for run_id in (over, going_on, maker, unknown):
        (folder / f"{run_id}.json").write_text("{}")
    assert collect_garbage(local, instance, keep_days=30, now=NOW).paths["run settings"] == []
    collected = collect_garbage(local, instance, keep_days=30, now=LATER)
    assert {Path(path).stem for path in collected.paths["run settings"]} == {over, unknown}
    assert {path.stem for path in folder.iterdir()} == {going_on, maker}


def test_fetched_files_of_artifacts_that_are_gone_and_old_unfinished_work_leave_the_cache(
    bare: Study, instance: dg.DagsterInstance
) -> None:
    commit_history(bare)
    for artifact in bare.store.artifacts():
        artifact.verify()
    cache = bare.folder / "cache"
    work = cache / "unfinished" / "a-key"
    work.mkdir(parents=True)
    (cache / "stray").mkdir()
    collect_garbage(bare, instance, keep_days=30, now=NOW)
    fetched = {path.parent.name for path in cache.rglob("x.safetensors")}
    assert fetched == (set() if bare.store.is_local else keys_left(bare))
    assert work.is_dir() and not (cache / "stray").exists()
    collect_garbage(bare, instance, keep_days=30, now=LATER)
    assert not work.exists()


# Runs


def test_nothing_is_collected_while_a_run_uses_the_store(bare: Study, instance: dg.DagsterInstance) -> None:
    commit_history(bare)
    before = keys_left(bare)
    with using_store(bare, print), pytest.raises(StudyError, match=r"is in use by a run; try again"):
        collect_garbage(bare, instance, keep_days=0, now=NOW)
    assert keys_left(bare) == before
    assert any(collect_garbage(bare, instance, keep_days=0, now=NOW).paths.values())


def test_a_run_waits_until_the_store_is_collected_and_says_so(local: Study) -> None:
    said: list[str] = []
    waiting, entered = threading.Event(), threading.Event()

    def say(line: str) -> None:
        said.append(line)
        waiting.set()

    def use() -> None:
        with using_store(local, say), using_store(local, say):
            entered.set()

    with store_alone(local):
        thread = threading.Thread(target=use)
        thread.start()
        assert waiting.wait(20)
        assert not entered.is_set()
    thread.join(20)
    assert entered.is_set() and said == ["waiting for 'stalign gc' or 'stalign doctor' to end"]


def test_a_store_that_cannot_be_written_keeps_no_run_from_its_own_error(local: Study) -> None:
    Path(str(local.store.base)).write_text("a file")
    with using_store(local, print):
        pass
    with pytest.raises(StudyError, match="cannot be locked"), store_alone(local):
        pass


@pytest.mark.slow
def test_after_the_command_a_run_computes_nothing(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    original = everything_kept(study)
    set_value(study / "study.toml", "domains", "refine_neighbors", 4)
    assert run(study).n_computed > 0
    both = everything_kept(study)
    with open_instance(open_study(study)):
        told = json.loads(stalign(capsys, "gc", study, "--keep-days", "0", "--dry-run", "--json").out)
    assert told["dry_run"] and told["bytes"] > 0 and set(told["removed"]) == set(KINDS)
    assert everything_kept(study) == both
    with using_store(open_study(study), print):
        assert "is in use by a run" in the_one_error(stalign(capsys, "gc", study, "--keep-days", "0"))
    lines = stalign(capsys, "gc", study, "--keep-days", "0").out.splitlines()
    left = everything_kept(study)
    gone = {place for place in both if place not in left}
    assert {asset.rsplit("/")[-1] for asset, _, _ in gone} == {"domains", *OF_DOMAINS}
    assert gone <= set(original)
    assert lines[0].startswith(f"artifacts: {len(gone)} removed") and lines[-1].startswith("freed ")
    again = run(study)
    assert again.success and again.n_computed == 0
    assert everything_kept(study) == left


@pytest.mark.parametrize("days", ["-1", "99999999999"])
def test_days_that_are_no_age_are_refused(local: Study, days: str, capsys: pytest.CaptureFixture[str]) -> None:
    answer = stalign(capsys, "gc", local.folder, "--keep-days", days)
    assert answer.code == 2 and "Invalid value for '--keep-days'" in answer.err


def test_a_report_of_nothing_is_one_line() -> None:
    assert Collected(dry_run=False).lines() == ["freed 0.0 MB"]


def test_of_the_locks_of_the_cache_only_those_of_killed_computations_are_removed(
    bare: Study, instance: dg.DagsterInstance
) -> None:
    unfinished = bare.store.cache / "unfinished"
    claims, other, killed, held = (
        bare.store.cache / "claims.lock",
        unfinished / "key",
        unfinished / "key.lock",
        unfinished / "held.lock",
    )
    for path in (claims, other, killed):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    young = collect_garbage(bare, instance, keep_days=30)
    with computing_alone(unfinished / "held", print):
        collected = collect_garbage(bare, instance, keep_days=30, now=LATER)
        assert claims.is_file() and held.is_file()
    assert young.paths["cache"] == []
    assert collected.paths["cache"] == [str(other), str(killed)]
    assert not other.exists() and not killed.exists()


def test_looking_through_the_store_counts_its_artifacts(bare: Study, instance: dg.DagsterInstance) -> None:
    commit_history(bare)
    n_artifacts, counted = len(keys_left(bare)), Counter[tuple[str, int]]()
    collect_garbage(
        bare, instance, keep_days=30, dry_run=True, now=NOW, progress=lambda what, _, n: counted.update([(what, n)])
    )
    assert counted["reading manifests", n_artifacts] == n_artifacts
    assert counted["following pointers", 3] == 3
