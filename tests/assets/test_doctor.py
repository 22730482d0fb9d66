"""What `stalign doctor` finds, what it puts right, and what it leaves alone."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.events import EngineEventData
from dagster._core.storage.tags import GRPC_INFO_TAG

from stalign_assets.doctor.examination import examine
from stalign_assets.doctor.finding import Told
from stalign_assets.locking import using_store
from stalign_assets.new_study import create_study
from stalign_assets.processes import RUN_TAG, own_tags
from stalign_assets.runs import open_instance
from stalign_assets.study import Study, open_study
from stalign_core.errors import ArtifactError
from stalign_core.settings import parse_settings
from tests.assets.bad_inputs import stalign
from tests.assets.test_gc import commit
from tests.studies import two_donor_sheet

KEYS = ("a" * 32, "b" * 32)


@pytest.fixture
def local(tmp_path: Path, tiny_data: Path) -> Study:
    """A study without artifacts, its store in its folder."""
    return create_study(tmp_path / "study", two_donor_sheet(tiny_data))


@pytest.fixture(params=["folder", "memory"])
def bare(request: pytest.FixtureRequest, tmp_path: Path, tiny_data: Path) -> Study:
    """A study without artifacts, of either kind of store."""
    store = "store" if request.param == "folder" else f"memory://{tmp_path.name}"
    return create_study(tmp_path / "study", two_donor_sheet(tiny_data), parse_settings({"store": store}))


@pytest.fixture
def instance(local: Study) -> Iterator[dg.DagsterInstance]:
    with open_instance(local) as opened:
        yield opened


@pytest.fixture
def dead_process() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def run_of(instance: dg.DagsterInstance, tags: dict[str, str], status: str = "STARTED") -> str:
    @dg.job
    def something() -> None: ...

    run_id = str(uuid.uuid4())
    tags = {name: run_id if name == RUN_TAG else text for name, text in tags.items()}
    return instance.create_run_for_job(something, run_id=run_id, status=dg.DagsterRunStatus[status], tags=tags).run_id


def tell_process(instance: dg.DagsterInstance, run_id: str, process: int) -> None:
    """What Dagster reports when a server has started the process of a run."""
    run = instance.get_run_by_id(run_id)
    assert run is not None
    instance.report_engine_event(f"Started process for run (pid: {process}).", run, EngineEventData.in_process(process))


def status_of(instance: dg.DagsterInstance, run_id: str) -> str:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status.value


def look(study: Study) -> list[Told]:
    return list(examine(study, repair=False))


def repair(study: Study) -> list[Told]:
    """Repair; whatever was found before is repaired, and nothing is found after."""
    found, repaired = look(study), list(examine(study, repair=True))
    assert [(told.kind, told.where) for told in repaired] == [(told.kind, told.where) for told in found]
    assert {told.outcome for told in repaired} == {"repaired"}
    assert look(study) == []
    return repaired


def test_a_study_in_order_has_no_findings_and_looking_changes_nothing(
    local: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    commit(local, "features", KEYS[0], in_force=True)
    before = sorted(str(path) for path in local.folder.rglob("*") if "dagster" not in path.parts)
    answer = stalign(capsys, "doctor", local.folder)
    assert answer.code == 0
    assert answer.out == "nothing is wrong; every byte is looked at by 'stalign audit STUDY --verify'\n"
    after = sorted(str(path) for path in local.folder.rglob("*") if "dagster" not in path.parts)
    assert set(after) - set(before) <= {str(local.folder / "store" / "store.lock")}


# Runs


def test_runs_whose_process_is_gone_end_and_free_what_they_hold(
    local: Study, instance: dg.DagsterInstance, dead_process: int
) -> None:
    of_terminal = run_of(instance, {**own_tags("this"), "stalign/process": str(dead_process)})
    of_server = run_of(instance, {})
    tell_process(instance, of_server, dead_process)
    before_its_start = run_of(
        instance, {GRPC_INFO_TAG: json.dumps({"host": "localhost", "socket": "/nowhere"})}, "STARTING"
    )
    instance.event_log_storage.set_concurrency_slots("gpu", 1)
    assert instance.event_log_storage.claim_concurrency_slot("gpu", of_server, "step").is_claimed
    told = {each.where: each for each in repair(local)}
    assert set(told) == {of_terminal, of_server, before_its_start}
    assert f"process {dead_process}" in told[of_server].line and "code server" in told[before_its_start].line
    assert {status_of(instance, run_id) for run_id in told} == {"FAILURE"}
    assert not instance.event_log_storage.get_concurrency_info("gpu").active_run_ids


def test_runs_that_live_or_cannot_be_told_are_left_alone(local: Study, instance: dg.DagsterInstance) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        asked = json.dumps({"host": "localhost", "port": server.getsockname()[1]})
        left = {
            run_of(instance, own_tags("this")): "STARTED",
            run_of(instance, {**own_tags("this"), "stalign/host": "elsewhere", "stalign/process": "1"}): "STARTED",
            run_of(instance, {}): "STARTED",
            run_of(instance, {GRPC_INFO_TAG: asked}, "STARTING"): "STARTING",
        }
        of_server = run_of(instance, {})
        tell_process(instance, of_server, os.getpid())
        assert list(examine(local, repair=True)) == []
        assert {run_id: status_of(instance, run_id) for run_id in left} == left
        assert status_of(instance, of_server) == "STARTED"


def test_a_pool_that_a_run_holds_which_is_over_is_freed(local: Study, instance: dg.DagsterInstance) -> None:
    over = run_of(instance, {}, "FAILURE")
    instance.event_log_storage.set_concurrency_slots("gpu", 1)
    assert instance.event_log_storage.claim_concurrency_slot("gpu", over, "step").is_claimed
    (told,) = repair(local)
    assert told.line == f"pool gpu: is held by run {over}, which is over; freed"


def test_a_run_history_that_is_damaged_is_moved_aside_and_a_new_one_begun(
    local: Study, instance: dg.DagsterInstance
) -> None:
    run_of(instance, {}, "SUCCESS")
    instance.dispose()
    (path,) = (local.dagster_home / "history").glob("runs.db")
    payload = path.read_bytes()
    path.write_bytes(payload[:2000] + b"\xff" * 3000 + payload[5000:])
    (told,) = repair(local)
    assert told.kind == "history" and "results" in told.line
    assert [kept.stat().st_size for kept in path.parent.glob("runs.db.damaged-*")] == [len(payload)]
    with open_instance(local) as again:
        assert again.get_runs_count() == 0


# The store


def pointer_of(study: Study) -> Path:
    return Path(study.store.base.path) / "features" / "P01" / "current.json"


def current_key(study: Study) -> str:
    current = study.store.current("features", "P01")
    assert current is not None
    return current.manifest.input_key


@pytest.mark.parametrize("keep", [0, 10, 60, -1])
def test_a_cut_pointer_is_set_to_what_its_rest_names_or_to_the_newest(local: Study, keep: int) -> None:
    named = commit(local, "features", KEYS[0])
    newest = commit(local, "features", KEYS[1])
    local.store.point(named)
    whole = pointer_of(local).read_text()
    assert whole.index(KEYS[0]) + 33 < 60
    pointer_of(local).write_text(whole[:keep])
    with pytest.raises(ArtifactError):
        local.store.current("features", "P01")
    (told,) = repair(local)
    assert told.kind == "pointer" and "set to" in told.line
    # Both were made in the same second: without a name the newest is either.
    assert current_key(local) == KEYS[0] if keep in (60, -1) else current_key(local) in KEYS
    assert newest.manifest.input_key in {artifact.manifest.input_key for artifact in local.store.artifacts()}


@pytest.mark.parametrize("pointer", [None, b"{"])
def test_a_pointer_without_any_artifact_is_moved_aside(bare: Study, pointer: bytes | None) -> None:
    bare.store.discard(commit(bare, "features", KEYS[0], in_force=True).folder)
    place = bare.store.base / "features" / "P01"
    if pointer is not None:
        (place / "current.json").write_bytes(pointer)
    meant = (place / "current.json").read_bytes()
    (told,) = repair(bare)
    assert told.where == str(place / "current.json")
    assert "moved aside" in told.line and bare.store.current("features", "P01") is None
    (kept,) = place.glob("current.json.damaged-*")
    assert kept.read_bytes() == meant


def test_a_manifest_that_is_not_whole_is_moved_aside_wherever_the_store_is(bare: Study) -> None:
    commit(bare, "features", KEYS[0])
    folder = commit(bare, "features", KEYS[1], in_force=True).folder
    (folder / "manifest.json").write_bytes(b"{")
    told = list(examine(bare, repair=True))
    assert [(each.kind, each.outcome) for each in told] == [("artifact", "repaired"), ("pointer", "repaired")]
    assert told[0].where == str(folder)
    assert look(bare) == [] and current_key(bare) == KEYS[0]
    (kept,) = bare.store.set_aside()
    assert (kept / "manifest.json").read_bytes() == b"{"


@pytest.mark.parametrize("damage", ["manifest", "missing", "short"])
def test_a_damaged_artifact_is_moved_aside_and_the_pointer_follows(local: Study, damage: str) -> None:
    commit(local, "features", KEYS[0])
    folder = Path(commit(local, "features", KEYS[1], in_force=True).folder.path)
    victim = folder / ("manifest.json" if damage == "manifest" else "x.safetensors")
    if damage == "missing":
        victim.unlink()
    else:
        victim.write_bytes(victim.read_bytes()[:-3])
    n_bytes = sum(path.stat().st_size for path in folder.iterdir())
    told = list(examine(local, repair=True))
    assert [(each.kind, each.outcome) for each in told] == [("artifact", "repaired"), ("pointer", "repaired")]
    assert look(local) == [] and current_key(local) == KEYS[0]
    (kept,) = local.store.set_aside()
    assert sum(path.stat().st_size for path in Path(kept.path).iterdir()) == n_bytes


def test_an_artifact_of_a_newer_stalign_is_no_fault(local: Study) -> None:
    path = Path(commit(local, "features", KEYS[0], in_force=True).folder.path) / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "manifest_version": 99}))
    assert list(examine(local, repair=True)) == []
    assert path.is_file()


def test_what_killed_writers_left_goes_and_what_a_killed_computation_can_go_on_with_stays(
    local: Study, dead_process: int
) -> None:
    commit(local, "features", KEYS[0], in_force=True)
    staging = Path(local.store.base.path) / ".staging" / f"{socket.gethostname()}-{dead_process}-{'0' * 32}"
    written = [local.folder / f".metrics.duckdb.{'0' * 32}", local.folder / f".study.toml.{'1' * 32}"]
    written.append(pointer_of(local).with_name(f".current.json.{'2' * 32}"))
    work = local.store.cache / "unfinished" / KEYS[0]
    for folder in (staging, work):
        folder.mkdir(parents=True)
        (folder / "x").write_text("x")
    for path in written:
        path.write_text("half")
    assert {told.where for told in repair(local)} == {str(path) for path in (staging, *written)}
    assert not staging.exists() and not any(path.exists() for path in written)
    assert (work / "x").is_file() and current_key(local) == KEYS[0]


def test_while_a_run_is_at_work_the_store_is_left(local: Study, capsys: pytest.CaptureFixture[str]) -> None:
    commit(local, "features", KEYS[0], in_force=True)
    pointer_of(local).write_text("{")
    with using_store(local, print):
        answer = stalign(capsys, "doctor", local.folder, "--repair")
    assert answer.code == 1
    assert answer.out.splitlines()[0].startswith(f"store {local.store.base}: is in use by a run; left as it is")
    assert pointer_of(local).read_text() == "{"


@pytest.mark.parametrize("content", [b"", b"not a database" * 100])
def test_tables_that_cannot_be_read_are_rebuilt(
    local: Study, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    local.metrics_path.write_bytes(content)
    found = json.loads(stalign(capsys, "doctor", local.folder, "--json").out)
    assert found["left"] == 1 and found["findings"][0]["kind"] == "tables"
    assert local.metrics_path.read_bytes() == content
    answer = stalign(capsys, "doctor", local.folder, "--repair")
    assert (answer.code, answer.out.splitlines()[-1]) == (0, "1 of 1 repaired")
    assert stalign(capsys, "metrics", local.folder, "--sql", "select count(*) as n from metrics").code == 0


def test_what_cannot_be_repaired_is_left_with_the_reason(local: Study, capsys: pytest.CaptureFixture[str]) -> None:
    local.metrics_path.mkdir()
    answer = stalign(capsys, "doctor", local.folder, "--repair")
    assert answer.code == 1 and "is a folder" in answer.out and answer.out.endswith("0 of 1 repaired\n")


def test_a_folder_that_is_no_study_is_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert stalign(capsys, "doctor", tmp_path).code == 2


def test_a_finding_is_one_line_that_says_the_cure(local: Study) -> None:
    pointer = pointer_of(local)
    commit(local, "features", KEYS[0], in_force=True)
    pointer.write_text("")
    (told,) = look(open_study(local.folder))
    assert "\n" not in told.line and told.line.startswith(
        f"pointer {pointer}: is not a whole pointer; to repair: set to"
    )


@pytest.mark.parametrize("replaced", [False, True])
def test_an_export_that_was_moved_aside_comes_back_unless_another_took_its_place(local: Study, replaced: bool) -> None:
    aside = local.folder / "exports" / "harmony" / f".atlas.zarr.{KEYS[0]}"
    aside.mkdir(parents=True)
    (aside / "zarr.json").write_text("earlier")
    place = aside.with_name("atlas.zarr")
    if replaced:
        place.mkdir()
        (place / "zarr.json").write_text("newer")
    list(examine(local, repair=True))
    assert (place / "zarr.json").read_text() == ("newer" if replaced else "earlier")
    assert [path.name for path in place.parent.iterdir()] == ["atlas.zarr"]
