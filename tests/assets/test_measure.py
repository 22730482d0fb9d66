"""What a computation is said to have cost is its own cost."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import numpy as np

from stalign_assets.measure import Measure
from stalign_assets.runs import open_instance
from stalign_assets.study import open_study

MEGABYTE = 1 << 20


def _fill(n_megabytes: int) -> np.ndarray:
    return np.ones(n_megabytes * MEGABYTE // 8)


def test_peak_is_that_of_the_computation_not_of_an_earlier_one() -> None:
    with Measure() as earlier:
        _fill(300)
    with Measure() as later:
        _fill(100)
    own = [each.peak_memory_bytes - each.memory_at_start_bytes for each in (earlier, later)]
    # The kernel counts pages in bundles: a few hundred kilobytes may be missing.
    assert 299 <= own[0] / MEGABYTE < 340
    assert 99 <= own[1] / MEGABYTE < 140


def test_freed_small_objects_of_an_earlier_computation_do_not_count() -> None:
    kept = [bytes(600) for _ in range(200_000)]
    with Measure() as held:
        pass
    kept.clear()
    with Measure() as freed:
        pass
    assert held.memory_at_start_bytes - freed.memory_at_start_bytes > 80 * MEGABYTE


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
