"""The store on a real S3 protocol server: what is interrupted, raced for or damaged is never read."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from stalign_core.errors import ArtifactError, StoreError
from stalign_core.store import Store
from tests.core.store.test_store import commit_example, manifest_of
from tests.s3_server import BUCKET, S3Server

Make = Callable[..., Store]


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    started = S3Server()
    yield started
    started.kill()


@pytest.fixture
def url() -> str:
    return f"s3://{BUCKET}/{uuid.uuid4().hex}"


@pytest.fixture
def make(server: S3Server, url: str, tmp_path: Path) -> Make:
    """A store of this test's own prefix, with a cache of the given name."""

    def made(cache: str = "cache", cache_bytes: int = 2**30) -> Store:
        return Store(url, cache=tmp_path / cache, options=server.options, cache_bytes=cache_bytes)

    return made


def test_another_machine_reads_what_was_committed(make: Make) -> None:
    commit_example(make())
    found = make("elsewhere").current("features", "A")
    assert found is not None
    found.verify()
    assert found.arrays("A.safetensors")["x"].tolist() == [[1.0, 1.0]] * 3
    assert [each.manifest.input_key for each in make("elsewhere").artifacts()] == ["k1"]
    assert [each.manifest.input_key for each in make("elsewhere").in_force()] == ["k1"]


def test_what_verified_is_not_fetched_again_until_its_object_changes(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = commit_example(make())
    fetched: list[str] = []
    filesystem = artifact.folder.fs
    get = filesystem.get_file
    monkeypatch.setattr(filesystem, "get_file", lambda path, to: (fetched.append(path), get(path, to)))
    artifact.verify()
    assert fetched == []
    artifact.location("facts.json").write_text('{"lattice": "hexagonam"}')
    with pytest.raises(ArtifactError, match=r"facts\.json is missing or not what was stored"):
        artifact.verify()
    assert fetched and all(path.endswith("facts.json") for path in fetched)
    store = make()
    store.discard(artifact.folder)
    assert store.find("features", "A", "k1") is None and len(list(store.set_aside())) == 1
    commit_example(store).verify()


def test_a_damaged_copy_is_fetched_again(make: Make) -> None:
    artifact = commit_example(make())
    copy = artifact.file("facts.json")
    copy.write_text("{}")
    assert artifact.json("facts.json") == {"lattice": "hexagonal"}


_UPLOAD = """
    import sys
    from pathlib import Path
    import numpy as np
    from s3fs import S3FileSystem
    from stalign_core.store import Store
    from tests.core.store.test_store import manifest_of

    url, cache, port, key, content = sys.argv[1:]
    options = {"key": "test", "secret": "test", "endpoint_url": f"http://127.0.0.1:{port}"}
    put_file = S3FileSystem._put_file
    n_uploaded = 0

    async def put_until_told(filesystem, *words, **settings):
        global n_uploaded
        if n_uploaded == 5 and key == "killed":
            print("five are uploaded", flush=True)
            sys.stdin.readline()
        n_uploaded += 1
        return await put_file(filesystem, *words, **settings)

    S3FileSystem._put_file = put_until_told
    store = Store(url, cache=Path(cache), options=options)
    with store.staging(None) as builder:
        for n in range(12):
            builder.write_arrays(f"{n}.safetensors", {"x": np.full(500_000, n + float(content))})
        print("uploading", flush=True)
        if key == "race":
            sys.stdin.readline()
        artifact = store.commit(builder, manifest_of(builder, key=key))
    for _ in range(20 if key == "race" else 1):
        store.point(artifact)
    print("done", flush=True)
"""


def uploading(server: S3Server, url: str, cache: Path, key: str, content: float = 0.0) -> subprocess.Popen[str]:
    """Another process, about to upload an artifact."""
    words = [url, str(cache), str(server.port), key, str(content)]
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(_UPLOAD), *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "uploading\n"
    return process


@pytest.mark.slow
def test_a_process_killed_while_it_uploads_leaves_no_artifact_and_the_rerun_makes_it(
    server: S3Server, url: str, make: Make, tmp_path: Path
) -> None:
    process = uploading(server, url, tmp_path / "cache", "killed")
    assert process.stdout is not None
    assert process.stdout.readline() == "five are uploaded\n"
    process.kill()
    process.wait()
    assert len(server.filesystem().find(f"{url.removeprefix('s3://')}/features")) == 5
    store = make()
    assert store.find("features", "A", "killed") is None and list(store.artifacts()) == []
    assert [folder.name for folder in store.unfinished()] == ["killed"]
    assert len(store.sweep_staging()) == 1
    again = uploading(server, url, tmp_path / "cache", "killed")
    again.communicate("go on\n", timeout=60)
    assert again.returncode == 0
    found = store.current("features", "A")
    assert found is not None
    found.verify()
    assert list(store.unfinished()) == []


@pytest.mark.slow
def test_two_processes_with_other_bytes_for_one_key_and_one_pointer_leave_one_whole_artifact(
    server: S3Server, url: str, make: Make, tmp_path: Path
) -> None:
    racers = [uploading(server, url, tmp_path / f"cache{n}", "race", float(n)) for n in range(2)]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    seen = 0
    while any(racer.poll() is None for racer in racers):
        found = make("reader").current("features", "A")
        seen += found is not None
    assert [racer.returncode for racer in racers] == [0, 0] and seen > 0
    found = make("elsewhere").current("features", "A")
    assert found is not None
    found.verify()
    first = found.arrays("0.safetensors")["x"][0]
    assert [found.arrays(f"{n}.safetensors")["x"][0] - first for n in range(12)] == list(range(12))


def test_a_part_is_copied_within_the_store_and_not_if_its_object_was_changed(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make()
    with store.staging(None) as builder:
        builder.reuse_part("s1", 1)
        builder.write_json("s1.json", "s1", part="s1")
        first = store.commit(builder, manifest_of(builder))
    put: list[str] = []
    filesystem = store.base.fs
    upload = filesystem.put_file
    monkeypatch.setattr(filesystem, "put_file", lambda source, to: (put.append(to), upload(source, to)))

    def second(key: str) -> None:
        with store.staging(first) as builder:
            assert builder.reuse_part("s1", 1)
            store.commit(builder, manifest_of(builder, key=key)).verify()

    second("copied")
    assert put == []
    first.location("s1.json").write_text('"s2"')
    second("sent")
    assert len(put) == 1
    for key in ("copied", "sent"):
        found = make("elsewhere").find("features", "A", key)
        assert found is not None and found.json("s1.json") == "s1"


def test_copies_keep_to_their_limit_but_for_those_in_use(make: Make, tmp_path: Path) -> None:
    def commit(store: Store, n: int) -> None:
        with store.staging(None) as builder:
            builder.write_arrays("x.safetensors", {"x": np.full(10_000, n)})
            store.commit(builder, manifest_of(builder, key=f"k{n}"))

    for n in range(6):
        commit(make(cache_bytes=250_000), n)
    copies = list((tmp_path / "cache").rglob("x.safetensors"))
    # All were used since this process, which lives, first read: it may hold their paths.
    assert len(copies) == 6
    for note in (tmp_path / "cache" / ".readers").iterdir():
        note.unlink()
    commit(make(cache_bytes=250_000), 6)
    copies = (tmp_path / "cache").rglob("x.safetensors")
    assert {path.parent.name for path in copies} == {"k4", "k5", "k6"}
    found = make().find("features", "A", "k0")
    assert found is not None and found.arrays("x.safetensors")["x"][0] == 0


def test_a_bucket_that_is_not_there_is_told_before_anything_is_computed(server: S3Server, tmp_path: Path) -> None:
    store = Store("s3://nowhere/x", cache=tmp_path, options=server.options)
    with (
        pytest.raises(
            StoreError, match=r"store s3://nowhere/x: cannot be used \(The specified bucket does not exist\)"
        ),
        store.staging(None),
    ):
        raise AssertionError("work began")


@pytest.mark.slow
def test_a_server_that_is_gone_is_one_line_and_nothing_is_taken_for_damaged(tmp_path: Path) -> None:
    server = S3Server()
    store = Store(f"s3://{BUCKET}/x", cache=tmp_path, options=server.options)
    artifact = commit_example(store)
    server.kill()
    for ask in (artifact.verify, lambda: store.current("features", "A"), lambda: list(store.artifacts())):
        with pytest.raises(StoreError, match=r"Could not connect to the endpoint") as error:
            ask()
        assert "\n" not in error.value.line
    assert json.loads(artifact.file("facts.json").read_text()) == {"lattice": "hexagonal"}
