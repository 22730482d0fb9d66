"""Artifacts: what is committed verifies, what is altered is refused, what is half-written is never seen."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stalign_core.errors import ArtifactError, MissingArtifactError, NewerArtifactError
from stalign_core.store import Artifact, Manifest, Store
from stalign_core.store.builder import ArtifactBuilder
from stalign_core.store.hashing import digest
from stalign_core.store.manifest import data_version_of


def manifest_of(builder: ArtifactBuilder, asset: str = "features", partition: str = "A", key: str = "k1") -> Manifest:
    return Manifest(
        asset=asset,
        partition=partition,
        input_key=key,
        data_version=data_version_of(builder.files),
        code_version=1,
        settings={"n": 3},
        settings_hash="s",
        seed=0,
        inputs=(),
        sources=(),
        donors=("A",),
        donors_left_out={},
        files=builder.files,
        parts=builder.parts,
        summary=builder.summary,
        run_id="run",
        created="2026-01-01T00:00:00+00:00",
        seconds=1.0,
        peak_memory_bytes=1,
        packages={},
        determinism="",
    )


def commit_example(store: Store, key: str = "k1", value: float = 1.0) -> Artifact:
    with store.staging(None) as builder:
        builder.write_arrays("A.safetensors", {"x": np.full((3, 2), value, dtype=np.float32)})
        builder.write_table("spots.parquet", pd.DataFrame({"barcode": ["a", "b"], "n": [1, 2]}))
        builder.write_json("facts.json", {"lattice": "hexagonal"})
        builder.write_bytes("map.png", b"not counted")
        artifact = store.commit(builder, manifest_of(builder, key=key))
    store.point(artifact)
    return artifact


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "folder":
        return Store(tmp_path / "store", cache=tmp_path / "cache")
    return Store(f"memory://{tmp_path.name}", cache=tmp_path / "cache")


@pytest.fixture
def local(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", cache=tmp_path / "cache")


def test_what_was_committed_is_read_back(store: Store) -> None:
    commit_example(store)
    artifact = store.current("features", "A")
    assert artifact is not None
    np.testing.assert_array_equal(artifact.arrays("A.safetensors")["x"], np.ones((3, 2), dtype=np.float32))
    assert artifact.table("spots.parquet")["barcode"].tolist() == ["a", "b"]
    assert artifact.json("facts.json") == {"lattice": "hexagonal"}
    artifact.verify()


def test_an_asset_that_was_never_committed_has_no_artifact(store: Store) -> None:
    assert store.current("features", "A") is None
    assert store.find("features", "A", "k1") is None


def test_the_manifest_holds_sha256_and_size_of_each_file(local: Store) -> None:
    artifact = commit_example(local)
    for name, record in artifact.manifest.files.items():
        payload = (Path(artifact.folder.path) / name).read_bytes()
        assert (record.size, record.sha256) == (len(payload), hashlib.sha256(payload).hexdigest())


def test_the_pointer_follows_the_last_commit_and_the_older_artifact_stays(store: Store) -> None:
    commit_example(store, "k1", 1.0)
    commit_example(store, "k2", 2.0)
    current = store.current("features", "A")
    assert current is not None and current.manifest.input_key == "k2"
    older = store.find("features", "A", "k1")
    assert older is not None and older.arrays("A.safetensors")["x"][0, 0] == 1.0
    assert sorted(artifact.manifest.input_key for artifact in store.artifacts()) == ["k1", "k2"]


def test_data_version_follows_logical_content_alone(local: Store, tmp_path: Path) -> None:
    first, second = commit_example(local, "k1"), commit_example(Store(tmp_path / "other"), "k2")
    assert first.manifest.data_version == second.manifest.data_version
    third = commit_example(local, "k3", value=2.0)
    assert third.manifest.data_version != first.manifest.data_version


def test_pictures_do_not_count_in_the_data_version(local: Store) -> None:
    versions = set()
    for key, picture in (("k1", b"one"), ("k2", b"two")):
        with local.staging(None) as builder:
            builder.write_json("facts.json", 1)
            builder.write_bytes("map.png", picture)
            versions.add(local.commit(builder, manifest_of(builder, key=key)).manifest.data_version)
    assert len(versions) == 1


@pytest.mark.parametrize("name", ["A.safetensors", "spots.parquet", "facts.json", "map.png"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "delete"])
def test_a_damaged_file_is_refused_with_a_line_that_names_it(local: Store, name: str, damage: str) -> None:
    artifact = commit_example(local)
    path = Path(artifact.folder.path) / name
    payload = path.read_bytes()
    if damage == "flip":
        path.write_bytes(bytes([payload[0] ^ 1]) + payload[1:])
    elif damage == "truncate":
        path.write_bytes(payload[:-1])
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        path.unlink()
    with pytest.raises(ArtifactError) as error:
        artifact.file(name)
    assert "features of A" in error.value.line and name in error.value.line and "stalign run" in error.value.line


@pytest.mark.parametrize("damage", ["truncate", "empty", "edit", "swap"])
def test_a_damaged_manifest_is_refused(local: Store, damage: str) -> None:
    artifact = commit_example(local)
    path = Path(artifact.folder.path) / "manifest.json"
    text = path.read_text()
    if damage == "truncate":
        path.write_text(text[: len(text) // 2])
    elif damage == "empty":
        path.write_text("")
    elif damage == "edit":
        path.write_text(text.replace('"seed": 0', '"seed": 1'))
    else:
        commit_example(local, "k2", 2.0)
        path.write_text((path.parent.parent / "k2" / "manifest.json").read_text())
    with pytest.raises(ArtifactError):
        local.find("features", "A", "k1")


def test_a_manifest_of_a_newer_version_says_upgrade(local: Store) -> None:
    artifact = commit_example(local)
    path = Path(artifact.folder.path) / "manifest.json"
    table = json.loads(path.read_text())
    table["manifest_version"] += 1
    path.write_text(json.dumps(table))
    with pytest.raises(NewerArtifactError, match="upgrade stalign"):
        local.find("features", "A", "k1")


def test_a_manifest_of_the_first_version_is_read(local: Store) -> None:
    artifact = commit_example(local)
    path = Path(artifact.folder.path) / "manifest.json"
    table = json.loads(path.read_text())
    del table["cpu_seconds"], table["memory_at_start_bytes"]
    table |= {"manifest_version": 1, "own_hash": ""}
    table["own_hash"] = digest(table)
    path.write_text(json.dumps(table))
    found = local.find("features", "A", "k1")
    assert found is not None
    assert (found.manifest.cpu_seconds, found.manifest.peak_memory_bytes) == (0.0, 1)


@pytest.mark.parametrize("text", ["", "{", '{"input_key": "gone"}', "[]", '"k1"'])
def test_a_damaged_pointer_is_refused(local: Store, text: str) -> None:
    commit_example(local)
    (Path(local.base.path) / "features" / "A" / "current.json").write_text(text)
    with pytest.raises(ArtifactError):
        local.current("features", "A")


def test_work_that_fails_leaves_nothing_behind(local: Store) -> None:
    class InterruptionError(Exception):
        pass

    with pytest.raises(InterruptionError), local.staging(None) as builder:
        builder.write_json("facts.json", 1)
        raise InterruptionError
    assert local.find("features", "A", "k1") is None
    assert list((Path(local.base.path) / ".staging").iterdir()) == []


def test_files_without_a_manifest_are_no_artifact(local: Store) -> None:
    folder = Path(local.base.path) / "features" / "A" / "k1"
    folder.mkdir(parents=True)
    (folder / "facts.json").write_text("1")
    assert local.find("features", "A", "k1") is None
    assert list(local.artifacts()) == []


def test_two_writers_of_one_key_leave_one_whole_artifact(local: Store) -> None:
    with local.staging(None) as first, local.staging(None) as second:
        first.write_json("facts.json", 1)
        second.write_json("facts.json", 1)
        local.commit(first, manifest_of(first))
        artifact = local.commit(second, manifest_of(second))
    artifact.verify()
    assert artifact.json("facts.json") == 1


def test_a_part_is_taken_over_while_its_key_stands(local: Store) -> None:
    with local.staging(None) as builder:
        for sample in ("s1", "s2"):
            assert not builder.reuse_part(sample, {"counts": sample})
            builder.write_json(f"{sample}.json", sample, part=sample)
        first = local.commit(builder, manifest_of(builder))
    with local.staging(first) as builder:
        assert builder.reuse_part("s1", {"counts": "s1"})
        assert not builder.reuse_part("s2", {"counts": "changed"})
        builder.write_json("s2.json", "new", part="s2")
        second = local.commit(builder, manifest_of(builder, key="k2"))
    assert (second.json("s1.json"), second.json("s2.json")) == ("s1", "new")
    assert second.manifest.parts["s1"] == first.manifest.parts["s1"]


def test_a_damaged_part_is_not_taken_over(local: Store) -> None:
    with local.staging(None) as builder:
        builder.reuse_part("s1", 1)
        builder.write_json("s1.json", "s1", part="s1")
        first = local.commit(builder, manifest_of(builder))
    (Path(first.folder.path) / "s1.json").write_text('"s2"')
    with local.staging(first) as builder:
        assert not builder.reuse_part("s1", 1)


def test_used_hash_changes_only_with_the_files_that_are_used(local: Store) -> None:
    with local.staging(None) as builder:
        builder.write_json("s1.counts.json", 1)
        builder.write_json("s1.labels.json", "L1")
        first = local.commit(builder, manifest_of(builder))
    with local.staging(None) as builder:
        builder.write_json("s1.counts.json", 1)
        builder.write_json("s1.labels.json", "L2")
        second = local.commit(builder, manifest_of(builder, key="k2"))
    assert first.used_hash(["*.counts.json"]) == second.used_hash(["*.counts.json"])
    assert first.used_hash(["*.labels.json"]) != second.used_hash(["*.labels.json"])


def test_a_damaged_artifact_that_is_discarded_makes_room_and_keeps_its_bytes(store: Store) -> None:
    artifact = commit_example(store)
    store.discard(artifact.folder)
    assert store.find("features", "A", "k1") is None
    with pytest.raises(MissingArtifactError):
        store.current("features", "A")
    kept = [path for path in artifact.folder.parent.iterdir() if ".damaged-" in path.name]
    assert len(kept) == 1 and json.loads(next(iter(kept[0].rglob("facts.json"))).read_text()) == {
        "lattice": "hexagonal"
    }
    assert list(store.artifacts()) == []
    commit_example(store, value=2.0).verify()


def test_discarding_what_is_not_there_does_nothing(store: Store) -> None:
    store.discard(store.base / "features" / "A" / "k1")
    assert store.find("features", "A", "k1") is None


@pytest.fixture
def gone_pid() -> int:
    """Number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        return process.pid


def test_a_process_killed_before_the_rename_leaves_no_artifact_and_its_folder_is_swept(
    local: Store, gone_pid: int
) -> None:
    artifact = commit_example(local)
    staging = Path(local.base.path) / ".staging"
    left = {
        "gone": staging / f"{socket.gethostname()}-{gone_pid}-{'0' * 32}",
        "living": staging / f"{socket.gethostname()}-{os.getpid()}-{'1' * 32}",
        "other host": staging / f"other-{socket.gethostname()}-{gone_pid}-{'2' * 32}",
        "no staging folder": staging / "notes",
    }
    for folder in left.values():
        folder.mkdir()
        (folder / "manifest.json").write_bytes((Path(artifact.folder.path) / "manifest.json").read_bytes())
    damaged: list[ArtifactError] = []
    assert [found.manifest.input_key for found in local.artifacts(damaged.append)] == ["k1"]
    assert damaged == []
    assert local.sweep_staging() == [left["gone"]]
    assert {name for name, folder in left.items() if folder.exists()} == left.keys() - {"gone"}


def test_a_host_whose_name_holds_hyphens_is_known_again(
    local: Store, gone_pid: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "node-7-a")
    folder = Path(local.base.path) / ".staging" / f"node-7-a-{gone_pid}-{'0' * 32}"
    folder.mkdir(parents=True)
    assert local.sweep_staging() == [folder]


def test_a_store_without_staging_has_nothing_to_sweep(local: Store) -> None:
    assert local.sweep_staging() == []


@pytest.mark.parametrize("text", ["", "{", '{"own_hash": "", "manifest_version": 3}'])
def test_a_damaged_artifact_does_not_hide_the_whole_ones(store: Store, text: str) -> None:
    for key in ("k1", "k2", "k3"):
        commit_example(store, key)
    (store.base / "features" / "A" / "k2" / "manifest.json").write_text(text)
    damaged: list[ArtifactError] = []
    assert [artifact.manifest.input_key for artifact in store.artifacts(damaged.append)] == ["k1", "k3"]
    assert [str(store.base / "features" / "A" / "k2") in error.where for error in damaged] == [True]


def test_files_without_a_manifest_give_way_to_the_artifact(local: Store) -> None:
    folder = Path(local.base.path) / "features" / "A" / "k1"
    folder.mkdir(parents=True)
    (folder / "facts.json").write_text("1")
    commit_example(local).verify()
    (kept,) = [path for path in folder.parent.iterdir() if ".damaged-" in path.name]
    assert (kept / "facts.json").read_text() == "1"


def test_a_note_that_is_kept_under_the_name_of_what_is_set_aside_is_no_damaged_artifact(store: Store) -> None:
    artifact = commit_example(store)
    store.write_note("features/A/current.json.damaged-0123abcd", b"{")
    assert list(store.set_aside()) == []
    store.discard(artifact.folder)
    (folder,) = store.set_aside()
    assert folder.name.startswith("k1.damaged-")


@pytest.fixture
def remote(tmp_path: Path) -> Store:
    return Store(f"memory://{tmp_path.name}", cache=tmp_path / "cache")


def test_a_cached_file_that_was_damaged_is_fetched_again(remote: Store) -> None:
    artifact = commit_example(remote)
    cached = artifact.file("facts.json")
    cached.write_text("{}")
    assert artifact.json("facts.json") == {"lattice": "hexagonal"}
    cached.write_text("{}")
    artifact.verify()


def test_a_damaged_remote_file_is_refused_and_can_be_computed_anew(remote: Store) -> None:
    artifact = commit_example(remote)
    artifact.location("facts.json").write_text("{}")
    for _ in range(2):
        with pytest.raises(ArtifactError, match=r"facts\.json is missing or not what was stored"):
            artifact.verify()
    remote.discard(artifact.folder)
    assert commit_example(remote).json("facts.json") == {"lattice": "hexagonal"}


def test_an_artifact_computed_anew_is_not_read_from_the_cache_of_the_one_before(remote: Store) -> None:
    first = commit_example(remote, value=1.0)
    first.verify()
    remote.discard(first.folder)
    assert commit_example(remote, value=2.0).arrays("A.safetensors")["x"][0, 0] == 2.0
