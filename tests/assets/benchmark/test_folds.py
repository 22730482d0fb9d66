"""Outer folds at once: the same numbers as one after another, side by side in time, and none outlives its command."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import psutil
import pytest

from stalign_assets import fold_limit, folds
from stalign_assets.benchmarking import run_benchmark
from stalign_assets.fold_limit import bytes_of_fold, folds_at_once
from stalign_assets.folds import _end_with_parent
from stalign_assets.new_study import create_study
from stalign_assets.processes import PROCESS_TAG
from stalign_assets.recipes.benchmark.trials import CORRECTIONS, TRIALS
from stalign_assets.reporting import Silent
from stalign_assets.runs import RunOutcome, open_instance
from stalign_assets.study import Study, open_study
from stalign_assets.telling import PipeConsole
from stalign_core.settings import parse_settings
from stalign_core.simulate import simulate_cohort
from tests.assets.benchmark.test_benchmark import DESIGN
from tests.studies import TINY_SETTINGS

BENCHMARK: dict[str, Any] = {
    "tasks": ["multi_donor"],
    "methods": ["harmony"],
    "models": ["alone", "aestetik"],
    "seeds": [0],
    "grids": {"harmony": {"theta": [1.0, 4.0]}, "aestetik": {"morphology_weight": [1.5], "window": [3]}},
    "windows": [],
    "morphology_weights": [],
    "scib_spots": 0,
}
GIB = 2**30
FACTOR = 3.0
"""A study as small as this one is hardly more than loading and compiling, on cores that others may want too."""


class Listening(Silent):
    """Keeps lines and what progress was shown."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.shown: list[str] = []

    def step_said(self, line: str) -> None:
        """Keep a line."""
        self.lines.append(line)

    def step_progress(self, what: str, done: int, total: int) -> None:
        """Keep what is shown."""
        assert 0 <= done <= total
        self.shown.append(what)


def new_study(root: Path, sheet: Path, **execution: Any) -> Study:
    """A study whose folds run as the settings say."""
    return create_study(root, sheet, parse_settings({**TINY_SETTINGS, "benchmark": BENCHMARK, "execution": execution}))


@pytest.mark.slow
def test_folds_at_once_give_the_numbers_of_folds_one_by_one(tmp_path: Path) -> None:
    sheet = simulate_cohort(tmp_path / "data", DESIGN, seed=3)
    serial, parallel = (new_study(tmp_path / name, sheet, folds=n) for name, n in (("serial", 1), ("parallel", 2)))
    command = [sys.executable, "-m", "stalign_assets.cli.main", "benchmark", str(serial.folder), "--json"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    of_command = json.loads(said[said.index("{") :])
    console = Listening()
    outcome = run_benchmark(parallel.folder, console)
    assert outcome.exit_code == 0, (outcome.bad_input, outcome.failures)
    assert outcome.forecast is not None
    for foreseen, seconds in (
        (of_command["forecast"], of_command["seconds"]),
        (vars(outcome.forecast), outcome.seconds),
    ):
        assert 8 <= foreseen["n_trials"] <= 14
        assert foreseen["expected"] / FACTOR < seconds < foreseen["expected"] * FACTOR
    for name in ("trials", "chosen", "summary", "differences"):
        one, other = (pd.read_csv(each.reports / "benchmark" / f"{name}.csv") for each in (serial, parallel))
        assert len(one)
        pd.testing.assert_frame_equal(one, other, check_exact=True)
    assert "2 folds at once" in console.lines
    assert any("multi_donor_1: " in what and "multi_donor_2: " in what for what in console.shown)
    with open_instance(parallel) as instance:
        runs = [record for record in instance.get_run_records() if "dagster/partition" in record.dagster_run.tags]
        runs = [each for each in runs if each.dagster_run.tags["dagster/partition"].startswith("multi_donor")]
        first, second = sorted(runs, key=lambda record: record.start_time or 0.0)
        assert second.start_time is not None and first.end_time is not None and second.start_time < first.end_time
        workers = {record.dagster_run.tags[PROCESS_TAG] for record in runs}
        assert len(workers) == 2 and str(os.getpid()) not in workers
        assert {pool.name: pool.limit for pool in instance.event_log_storage.get_pool_limits()}["gpu"] == 1
    trials = [a.manifest for a in open_study(parallel.folder).store.artifacts() if a.manifest.asset.endswith("trials")]
    searches = [open_study(parallel.folder).store.current("benchmark/search", f"multi_donor_{n}") for n in (1, 2)]
    computed = [each.manifest.summary["n_trials_computed"] for each in searches if each is not None]
    assert len(computed) == 2 and sum(computed) == len(trials), "none was computed by both"


@pytest.fixture
def limited(tmp_path: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """How many folds a study takes at once on four cores, by its settings."""
    monkeypatch.setattr(fold_limit, "available_cores", lambda: 4)

    def at_once(n_folds: int = 8, free: int = 64 * GIB, on_gpu: bool = False, **execution: Any) -> int:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        return folds_at_once(new_study(folder, tiny_data / "samples.csv", **execution), n_folds, free, on_gpu=on_gpu)

    return at_once


def test_folds_are_limited_by_cores_memory_settings_and_the_gpu(limited: Any) -> None:
    assert limited() == 4
    assert limited(n_folds=2) == 2
    assert limited(threads=2) == 2
    assert limited(threads=9) == 1
    assert limited(free=2 * GIB) == 1
    assert limited(folds=6, free=2 * GIB) == 6, "who sets a number is believed"
    assert limited(on_gpu=True) == 1
    assert limited(on_gpu=True, gpu_limit=3) == 3
    assert limited(on_gpu=True, gpu_limit=2, folds=6) == 2


def test_memory_of_a_fold_is_what_a_trial_has_taken_or_an_estimate(tmp_path: Path, tiny_data: Path) -> None:
    study = new_study(tmp_path / "study", tiny_data / "samples.csv")
    assert bytes_of_fold(study) == 1_500_000_000, "nothing was read yet: libraries alone"
    taken = [(TRIALS, 3 * GIB), (CORRECTIONS, 5 * GIB), (TRIALS, 4 * GIB), ("raw_samples", 9 * GIB)]
    kept = [SimpleNamespace(manifest=SimpleNamespace(asset=name, peak_memory_bytes=n)) for name, n in taken]
    measured: Any = SimpleNamespace(store=SimpleNamespace(artifacts=lambda: kept))
    assert bytes_of_fold(measured) == 5 * GIB


def a_fold(folder: Path, fold: str, pipe: Connection) -> None:
    """Stands in for a search: one dies, one in the middle of a message, others tell what they are at and end well."""
    if fold == "dies":
        os._exit(3)
    if fold == "halves":
        os.write(pipe.fileno(), struct.pack("!i", 1000) + b"half")
        os._exit(4)
    console = PipeConsole(pipe.send)
    console.step_said(f"{fold} is at work")
    pipe.send(("end", RunOutcome(folder.name, True, ())))


def test_a_fold_whose_process_dies_is_a_failure_and_the_others_go_on(
    tmp_path: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folds, "_search", a_fold)
    study, console = new_study(tmp_path / "study", tiny_data / "samples.csv"), Listening()
    first, half, second, third = folds.run_folds(study, ["dies", "halves", "lives", "too"], 2, console)
    assert not first.success and first.faults[0].line == "benchmark/search of dies: its process ended with code 3"
    assert not half.success and half.faults[0].line == "benchmark/search of halves: its process ended with code 4"
    assert (second.success, third.success) == (True, True) and second.run_id == "study"
    assert sorted(console.lines) == ["lives is at work", "too is at work"]


def test_an_error_of_a_fold_reaches_the_user_as_a_line_with_its_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Path) -> None:
        raise ValueError("no such\n  thing")

    monkeypatch.setattr(folds, "open_study", fail)
    monkeypatch.setattr(folds, "_end_with_parent", lambda: None)
    here, there = multiprocessing.Pipe(duplex=False)
    folds._search(tmp_path, "multi_donor_1", there)
    kind, ended = here.recv()
    assert kind == "end" and not ended.success
    assert [fault.line for fault in ended.faults] == ["benchmark/search of multi_donor_1: ValueError: no such thing"]


def test_threads_that_tell_at_once_send_one_after_the_other() -> None:
    inside, together = [0], []

    def send(_: tuple[str, Any]) -> None:
        inside[0] += 1
        time.sleep(0.01)
        together.append(inside[0])
        inside[0] -= 1

    console = PipeConsole(send)
    threads = [threading.Thread(target=console.step_said, args=("a line",)) for _ in range(5)]
    for thread in threads:
        thread.start()
    console.send("end", None)
    for thread in threads:
        thread.join()
    assert together == [1] * 6


def endless(folder: Path, fold: str, _: Connection) -> None:
    """Stands in for a search that does not end."""
    (folder / fold).write_text(str(os.getpid()))
    time.sleep(600)


def test_folds_are_ended_when_the_command_is_interrupted(
    tmp_path: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folds, "_search", endless)
    study = new_study(tmp_path / "study", tiny_data / "samples.csv")
    started = [study.folder / name for name in ("one", "two")]

    def interrupt() -> None:
        while not all(path.exists() and path.read_text() for path in started):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    # Where the suite itself runs in the background, the signal is ignored from the start.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        threading.Thread(target=interrupt, daemon=True).start()
        with pytest.raises(KeyboardInterrupt):
            folds.run_folds(study, ["one", "two"], 2, Silent())
    finally:
        signal.signal(signal.SIGINT, before)
    assert not any(psutil.pid_exists(int(path.read_text())) for path in started)


def child(folder: Path) -> None:
    """Like a fold: at work until it is told to end."""
    _end_with_parent()
    (folder / "child").write_text(str(os.getpid()))
    time.sleep(600)


def parent(folder: Path) -> None:
    """Like a command that follows a fold."""
    worker = multiprocessing.get_context("spawn").Process(target=child, args=(folder,))
    worker.start()
    worker.join()


def test_a_fold_ends_with_a_command_that_was_killed(tmp_path: Path) -> None:
    command = multiprocessing.get_context("spawn").Process(target=parent, args=(tmp_path,))
    command.start()
    deadline = time.monotonic() + 60
    while not (tmp_path / "child").exists() or not (tmp_path / "child").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    fold = psutil.Process(int((tmp_path / "child").read_text()))
    assert command.pid is not None
    os.kill(command.pid, signal.SIGKILL)
    command.join()
    deadline = time.monotonic() + 60
    # Whoever inherits the orphan may take its time to bury it.
    while fold.is_running() and fold.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.05)
