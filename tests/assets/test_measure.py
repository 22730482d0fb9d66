"""What a computation is said to have cost is its own cost."""

from __future__ import annotations

import importlib
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import numpy as np
import pytest

from stalign_assets.measure import Measure, high_water_mark
from stalign_assets.runs import open_instance
from stalign_assets.study import open_study

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
MEGABYTE = 1 << 20


def _fill(n_megabytes: int) -> np.ndarray:
    return np.ones(n_megabytes * MEGABYTE // 8)


def test_peak_is_that_of_the_computation_not_of_an_earlier_one() -> None:
    with Measure() as earlier:
        _fill(300)
    with Measure() as later:
        _fill(100)
    own = [each.peak_memory_bytes - each.memory_at_start_bytes for each in (earlier, later)]
    # Each core adds its pages to the kernel's count in bundles, so some megabytes are missing where cores are many.
    assert 270 < own[0] / MEGABYTE < 340
    assert 70 < own[1] / MEGABYTE < 140


def test_freed_small_objects_of_an_earlier_computation_do_not_count() -> None:
    kept = [bytes(600) for _ in range(200_000)]
    with Measure() as held:
        pass
    kept.clear()
    with Measure() as freed:
        pass
    assert held.memory_at_start_bytes - freed.memory_at_start_bytes > 60 * MEGABYTE


def test_processor_time_is_told_apart_from_waiting() -> None:
    with Measure() as waiting:
        time.sleep(0.3)
    with Measure() as working:
        end = time.process_time() + 0.3
        while time.process_time() < end:
            pass
    assert waiting.seconds >= 0.3
    assert waiting.cpu_seconds < 0.2
    assert 0.3 <= working.cpu_seconds < 0.6


def test_processor_time_of_child_processes_counts() -> None:
    busy = "import time\nwhile time.process_time() < 0.5: pass"
    with Measure() as measure:
        subprocess.run([sys.executable, "-c", busy], check=True)
    assert measure.cpu_seconds >= 0.5


def test_every_materialisation_of_a_study_tells_its_seconds_and_peak_memory(finished_study: Path) -> None:
    n_found = 0
    with open_instance(open_study(finished_study)) as instance:
        for record in instance.get_run_records():
            for entry in instance.all_logs(
                record.dagster_run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION
            ):
                event = entry.get_dagster_event().step_materialization_data.materialization
                told = {name: value.value for name, value in event.metadata.items()}
                assert float(str(told["seconds"])) >= 0, event.asset_key
                assert float(str(told["peak_memory_mb"])) > 50, event.asset_key
                n_found += 1
    assert n_found > 40


def test_the_mark_of_a_process_leaves_out_the_one_that_started_it() -> None:
    held = _fill(700)
    told = "from stalign_assets.measure import high_water_mark; print(high_water_mark())"
    printed = subprocess.run([sys.executable, "-c", told], stdout=subprocess.PIPE, text=True, check=True).stdout
    assert high_water_mark() > held.nbytes
    assert 0 < int(printed) < 300 * MEGABYTE


def test_a_benchmark_measures_the_largest_process_that_its_child_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    wait_measured = importlib.import_module("common.memory").wait_measured
    held = _fill(700)
    filled = "import time; filled = bytearray(200 << 20); filled[::4096] = bytes(len(filled[::4096])); time.sleep(1)"
    starting = f"import subprocess, sys; sys.exit(subprocess.run([sys.executable, '-c', {filled!r}]).returncode + 3)"
    child = subprocess.Popen([sys.executable, "-c", starting])
    usage = wait_measured(child)
    assert child.returncode == 3
    assert 170 < usage.peak_mb < 300 < held.nbytes / MEGABYTE
    assert usage.cpu_seconds > 0


def test_the_mark_of_a_process_that_ended_is_none() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert high_water_mark(ended.pid) == 0
