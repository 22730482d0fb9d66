"""The limit of the GPU in `study.toml`, with the executor of the engine `local` at work in several processes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from stalign_assets.runs import open_instance, prepare_instance
from stalign_assets.settings_file import set_value
from stalign_assets.study import open_study
from tests.assets.gpu_steps import two_steps

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("limit", "seconds", "meet"), [(1, 4.0, False), (2, 120.0, True)])
def test_as_many_steps_need_the_gpu_at_once_as_the_settings_allow(
    new_study: Callable[[str], Path], tiny_data: Path, tmp_path: Path, limit: int, seconds: float, meet: bool
) -> None:
    folder = new_study((tiny_data / "samples.csv").read_text())
    set_value(folder / "study.toml", "execution", "gpu_limit", limit)
    study = open_study(folder)
    config = {"ops": {name: {"config": {"folder": str(tmp_path), "seconds": seconds}} for name in ("first", "second")}}
    with open_instance(study) as instance:
        prepare_instance(instance, study)
        with dg.execute_job(dg.reconstructable(two_steps), instance, run_config=config) as done:
            assert done.success
            met = {name: done.output_for_node(name) for name in ("first", "second")}
        events = instance.all_logs(done.run_id, of_type=dg.DagsterEventType.STEP_START)
    processes = {event.dagster_event.pid for event in events if event.dagster_event}
    assert met == {"first": meet, "second": meet}
    assert len(processes) == 2
