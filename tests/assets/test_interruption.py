"""What a signal does to a command that is running steps."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from stalign_assets.materialise import Materialisation, Step
from stalign_assets.platform import assets
from stalign_assets.runs import open_instance
from stalign_assets.settings_file import set_value
from stalign_assets.study import open_study
from tests.studies import run

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_whole_command_and_not_one_donor(
    number: signal.Signals, study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []

    def interrupted(step: Step) -> Materialisation:
        begun.append(step.partition)
        os.kill(os.getpid(), number)
        time.sleep(30)
        raise AssertionError("the signal was swallowed")

    set_value(study / "study.toml", "domains", "refine_neighbors", 4)
    monkeypatch.setattr(assets, "materialise", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(study)
    assert len(begun) == 1

    monkeypatch.undo()
    with background_job() as sigterm:
        assert run(study).success
        assert signal.getsignal(signal.SIGTERM) is sigterm, "a job that a shell started can be ended after a run, too"


@contextmanager
def background_job() -> Iterator[Any]:
    """SIGINT is ignored, as where a shell started the command in its background; what SIGTERM does there."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield signal.getsignal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_a_step_swallows_stops_the_command_after_the_run(
    number: signal.Signals, study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []
    whole = assets.materialise

    def deaf(step: Step) -> Materialisation:
        begun.append(step.partition)
        with suppress(BaseException):
            os.kill(os.getpid(), number)
            time.sleep(30)
        return whole(step)

    set_value(study / "study.toml", "input", "min_genes", 21)
    monkeypatch.setattr(assets, "materialise", deaf)
    with pytest.raises(KeyboardInterrupt):
        run(study, scopes="donor", variants="uncorrected")
    assert len(begun) > 1 and set(begun) == {"P01"}, "the donor's run went on to its end, and no other began"


def wait_for_a_step(study: Path) -> None:
    """Return once a run that is going on has started a step."""
    going_on = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])
    end = time.monotonic() + 120
    with open_instance(open_study(study)) as instance:
        while time.monotonic() < end:
            for each in instance.get_runs(filters=going_on):
                if instance.all_logs(each.run_id, of_type=dg.DagsterEventType.STEP_START):
                    return
            time.sleep(0.2)
    raise AssertionError("no step began")


@pytest.mark.parametrize(
    ("number", "send"),
    [(signal.SIGINT, os.killpg), (signal.SIGTERM, os.kill), (signal.SIGTERM, os.killpg)],
    ids=["Ctrl-C", "SIGTERM to the command", "SIGTERM to all"],
)
def test_a_signal_stops_steps_in_processes_of_their_own(
    number: signal.Signals, send: Callable[[int, int], None], study: Path
) -> None:
    set_value(study / "study.toml", "execution", "processes", 2)
    set_value(study / "study.toml", "domains", "refine_neighbors", 4)
    command = [sys.executable, "-m", "stalign_assets.cli.main", "run", str(study), "--scopes", "donor"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    wait_for_a_step(study)
    send(process.pid, number)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "the next run goes on from there" in told
    assert "forkserver" not in told, "the process that steps are forked from ends in order, too"
    with open_instance(open_study(study)) as instance:
        assert all(each.is_finished for each in instance.get_runs())
        assert not instance.event_log_storage.get_concurrency_info("gpu").active_run_ids
        crashed = [
            entry.message
            for each in instance.get_runs(limit=1)
            for entry in instance.all_logs(each.run_id)
            if "unexpectedly exited" in entry.message
        ]
        assert crashed == []


@pytest.mark.parametrize("processes", [1, 2])
def test_ctrl_c_in_a_terminal_shows_what_happened_and_no_traceback(processes: int, study: Path) -> None:
    set_value(study / "study.toml", "execution", "processes", processes)
    set_value(study / "study.toml", "domains", "refine_neighbors", 4)
    command = [sys.executable, "-m", "stalign_assets.cli.main", "run", str(study), "--scopes", "donor"]
    terminal, end = pty.openpty()
    process = subprocess.Popen(command, stdin=end, stdout=end, stderr=end, start_new_session=True)
    os.close(end)
    told: list[bytes] = []
    reader = threading.Thread(target=read_to_the_end, args=(terminal, told))
    reader.start()
    wait_for_a_step(study)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=120) == 130
    reader.join(timeout=60)
    shown = b"".join(told).decode(errors="replace")
    assert "the next run goes on from there" in shown
    assert "Traceback" not in shown


def read_to_the_end(terminal: int, told: list[bytes]) -> None:
    """A terminal that nobody writes to any more ends with an error."""
    with suppress(OSError):
        while told.append(os.read(terminal, 4096)) or told[-1]:
            pass
    os.close(terminal)
