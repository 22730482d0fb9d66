"""A Dask scheduler and workers as processes of this machine, and a small job whose steps only take time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import dagster as dg

from stalign_assets.platform.executors.assembly import executor_of
from stalign_assets.platform.executors.tags import op_tags_of
from stalign_core.settings import ExecutionSettings, parse_settings

ROOT = Path(__file__).resolve().parents[2]
ADDRESS = "STALIGN_TEST_SCHEDULER"
"""Variable that tells the job below where its cluster is."""

SLEEP_SECONDS = 0.4
SLEEPERS = {f"{pool or 'plain'}_{number}": pool for pool in ("gpu", "duckdb", None) for number in range(2)}
"""Assets that take `SLEEP_SECONDS` each, and their pools."""


class DaskCluster:
    """A scheduler and any number of workers with one thread each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.workers: dict[str, subprocess.Popen[bytes]] = {}
        file = folder / "scheduler.json"
        self._scheduler = self._start("scheduler", ["scheduler", "--port", "0", "--scheduler-file", str(file)])
        await_true(file.is_file)
        self.address: str = json.loads(file.read_text())["address"]

    def add(self, name: str, resources: Mapping[str, int], *, threads: int = 1) -> int:
        """Start a worker; gives its process id."""
        words = [
            "worker",
            self.address,
            "--no-nanny",
            "--nthreads",
            str(threads),
            "--name",
            name,
            "--memory-limit",
            "0",
        ]
        if resources:
            words += ["--resources", " ".join(f"{key}={value}" for key, value in resources.items())]
        self.workers[name] = self._start(name, words)
        return self.workers[name].pid

    def kill(self, name: str) -> None:
        """SIGKILL a worker."""
        worker = self.workers.pop(name)
        worker.send_signal(signal.SIGKILL)
        worker.wait()

    def kill_scheduler(self) -> None:
        """SIGKILL the scheduler."""
        self._scheduler.kill()
        self._scheduler.wait()

    def close(self) -> None:
        """End all processes."""
        for process in (*self.workers.values(), self._scheduler):
            process.kill()
            process.wait()

    def _start(self, name: str, words: list[str]) -> subprocess.Popen[bytes]:
        kind, *arguments = words
        log = (self.folder / f"{name}.log").open("ab")
        environment = {**os.environ, ADDRESS: getattr(self, "address", ""), "PYTHONPATH": str(ROOT)}
        return subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.dask_{kind}", "--host", "127.0.0.1", "--no-dashboard", *arguments],
            cwd=self.folder,
            env=environment,
            stdout=log,
            stderr=log,
        )


def await_true(holds: Callable[[], bool], seconds: float = 120.0) -> None:
    """Wait until something holds."""
    over = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < over, "it did not come true in time"
        time.sleep(0.05)


def execution_on(address: str, **dask: object) -> ExecutionSettings:
    """Settings of the engine on a running cluster."""
    table = {"engine": "dask", "dask": {"address": address, "connect_seconds": 20, "worker_seconds": 60, **dask}}
    return parse_settings({"execution": table}).execution


def sleepers_job() -> dg.JobDefinition:
    """Steps of each pool, with the tags and the executor of a study on the cluster that `ADDRESS` names."""
    execution = execution_on(os.environ[ADDRESS])

    def sleeper(name: str, pool: str | None) -> dg.AssetsDefinition:
        @dg.asset(name=name, pool=pool, op_tags=op_tags_of(pool, execution))
        def sleep() -> None:
            time.sleep(SLEEP_SECONDS)

        return sleep

    assets = [sleeper(name, pool) for name, pool in SLEEPERS.items()]
    return _job(assets, execution)


def failing_job() -> dg.JobDefinition:
    """A step that fails, one that rests on it, and one that does not."""
    execution = execution_on(os.environ[ADDRESS])

    @dg.asset
    def broken() -> None:
        raise ValueError("as it must")

    @dg.asset(deps=["broken"])
    def below() -> None: ...

    @dg.asset
    def beside() -> None: ...

    return _job([broken, below, beside], execution)


def _job(assets: list[dg.AssetsDefinition], execution: ExecutionSettings) -> dg.JobDefinition:
    definitions = dg.Definitions(assets=assets, jobs=[dg.define_asset_job("small")], executor=executor_of(execution))
    return definitions.resolve_job_def("small")
