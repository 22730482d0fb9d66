"""Servers that die while a run is at work."""

from __future__ import annotations

import os
import signal
import time

import dagster as dg

from stalign_assets.runs import open_instance, prepare_instance
from tests.reliability.place import DONOR, Place, carry_out, make


def servers_killed(place: Place) -> None:
    """Web server, daemon, code server and the run's own process die together, while a run is at work."""
    from tests.ui.graphql import launch
    from tests.ui.server import processes_of_session, serving

    asset = "morphology_embeddings/texture"
    place.forget(asset, DONOR)
    with serving(place.folder) as server:
        run_id = launch(server.ask, [asset], DONOR)
        with open_instance(place.study) as instance:
            deadline = time.monotonic() + 120
            while not instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_START):
                assert time.monotonic() < deadline, "no step began"
                time.sleep(0.02)
            assert instance.event_log_storage.get_concurrency_info("gpu").active_run_ids == {run_id}
            doomed = [" ".join(process.cmdline()) for process in processes_of_session(server.process.pid)]
            for part in ("dagster_webserver", "dagster._daemon", "dagster api grpc", "multiprocessing.spawn"):
                assert any(part in line for line in doomed), (part, doomed)
            os.killpg(server.process.pid, signal.SIGKILL)
            server.process.wait()
            time.sleep(1)
            run = instance.get_run_by_id(run_id)
            assert run is not None and run.status is dg.DagsterRunStatus.STARTED
            # As every look, and every start of a command or server, begins.
            prepare_instance(instance, place.study)
            run = instance.get_run_by_id(run_id)
            assert run is not None and run.status is dg.DagsterRunStatus.FAILURE
            assert not instance.event_log_storage.get_concurrency_info("gpu").active_run_ids
    assert carry_out(make, place.folder, asset, DONOR) == 0
    place.assert_converged(asset, DONOR)
