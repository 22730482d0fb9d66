"""A study whose store is a bucket: run, looked at, incremental, collected, interrupted, damaged and cut off."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from stalign_assets.new_study import create_study
from stalign_assets.settings_file import set_value
from stalign_assets.study import open_study
from stalign_core.settings import parse_settings
from tests.assets.bad_inputs import stalign, the_one_error
from tests.assets.test_reuse import append_sample
from tests.s3_server import BUCKET, S3Server
from tests.studies import TINY_SETTINGS, run, two_donor_sheet

pytestmark = pytest.mark.slow

REMOTE = TINY_SETTINGS | {"variants": {"harmony": {"correction": "harmony"}}}


@pytest.fixture
def server() -> Iterator[S3Server]:
    started = S3Server()
    yield started
    started.kill()


@pytest.fixture
def remote(server: S3Server, tmp_path: Path, tiny_data: Path) -> Path:
    """A study that was not run yet, its store in a bucket."""
    store = {"store": f"s3://{BUCKET}/{uuid.uuid4().hex}", "remote_store": {"options": server.options}}
    create_study(tmp_path / "study", two_donor_sheet(tiny_data), parse_settings(REMOTE | store))
    return tmp_path / "study"


def test_a_study_in_a_bucket_is_run_read_grown_collected_and_mended(
    remote: Path, tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = run(remote, scopes="cohort")
    assert report.success, report.lines()
    assert not (remote / "store").exists()
    store = open_study(remote).store
    assert {each.manifest.asset for each in store.in_force()} >= {"raw_samples", "cohort/harmony/domains"}
    assert (remote / "metrics.duckdb").is_file() and (remote / "reports" / "domains_cohort_harmony.csv").is_file()
    assert run(remote, scopes="cohort").n_computed == 0

    # Without a cache, as on another machine, everything is there still.
    shutil.rmtree(remote / "cache")
    assert run(remote, scopes="cohort").n_computed == 0
    assert "harmony" in stalign(capsys, "metrics", remote).out
    assert json.loads(stalign(capsys, "status", remote, "--json").out)

    # One more donor; then what the two were made from can go.
    append_sample(remote, tiny_data, position=2)
    grown = run(remote, scopes="cohort")
    assert grown.success and grown.n_computed > 0
    n_artifacts = len(list(store.artifacts()))
    lines = stalign(capsys, "gc", remote, "--keep-days", "0").out.splitlines()
    assert lines[0].startswith("artifacts: ") and len(list(store.artifacts())) < n_artifacts
    assert run(remote, scopes="cohort").n_computed == 0

    # An object that was overwritten is seen, set aside and made anew.
    domains = store.current("cohort/harmony/domains", "_all")
    assert domains is not None
    (name,) = domains.names("domains.parquet") or domains.names("*.parquet")[:1]
    domains.location(name).write_bytes(b"damaged")
    mended = run(remote, scopes="cohort")
    assert mended.success and mended.n_computed >= 1
    assert len(list(store.set_aside())) == 1
    again = store.current("cohort/harmony/domains", "_all")
    assert again is not None
    again.verify()
    assert again.manifest.data_version == domains.manifest.data_version


def test_a_killed_run_goes_on_and_a_server_that_is_gone_is_one_line(
    remote: Path, server: S3Server, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [sys.executable, "-m", "stalign_assets.cli.main", "run", str(remote), "--scopes", "cohort"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    filesystem = server.filesystem()
    end = time.monotonic() + 200
    while not any("cohort/" in path for path in filesystem.find(BUCKET)) and time.monotonic() < end:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    report = run(remote, scopes="cohort")
    assert report.success, report.lines()
    assert report.n_reused > 0
    for artifact in open_study(remote).store.artifacts():
        artifact.verify()

    server.kill()
    set_value(remote / "study.toml", "domains", "refine_neighbors", 4)
    told = the_one_error(stalign(capsys, "status", remote))
    assert "store s3://" in told and "cannot be used (Could not connect" in told
