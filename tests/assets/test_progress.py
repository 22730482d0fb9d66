"""What a log, a pipe or CI is told while steps are at work."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.progress import TaskID

from stalign_assets.cli.console import StepConsole
from stalign_assets.cli.plain_progress import EVERY_SECONDS, PlainProgress
from stalign_assets.reporting import StepEnd


class _Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> _Clock:
    return _Clock()


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def plain(clock: _Clock, said: list[str]) -> PlainProgress:
    return PlainProgress(said.append, clock=clock)


def test_lines_come_every_ten_seconds() -> None:
    assert EVERY_SECONDS == 10


def test_a_step_is_named_when_it_begins(plain: PlainProgress, said: list[str]) -> None:
    plain.begin("raw_samples of P01")
    assert said == ["  … raw_samples of P01"]


def test_a_counted_step_tells_what_is_done_and_what_is_left(
    plain: PlainProgress, said: list[str], clock: _Clock
) -> None:
    plain.begin("aestetik_model")
    for epoch in range(31):
        plain.count("epochs", epoch, 30)
        clock.now += 1
    assert said[1:] == [
        "  … epochs: 10 of 30, 10 s, about 20 s left",
        "  … epochs: 20 of 30, 20 s, about 10 s left",
        "  … epochs: 30 of 30, 30 s, about 0 s left",
    ]


def test_what_was_done_before_does_not_count_as_speed(plain: PlainProgress, said: list[str], clock: _Clock) -> None:
    """Work that goes on from a checkpoint is not faster for it."""
    plain.begin("aestetik_model")
    plain.count("epochs", 20, 30)
    clock.now += 10
    plain.count("epochs", 21, 30)
    assert said[-1] == "  … epochs: 21 of 30, 10 s, about 90 s left"


def test_a_count_that_begins_anew_is_timed_anew(plain: PlainProgress, said: list[str], clock: _Clock) -> None:
    plain.begin("cohort")
    plain.count("reading", 0, 100)
    clock.now += 9
    plain.count("reading", 90, 100)
    plain.count("fitting", 0, 4)
    clock.now += 50
    plain.count("fitting", 1, 4)
    assert said[-1] == "  … fitting: 1 of 4, 59 s, about 2 min left"


def test_a_step_that_counts_nothing_tells_its_time(plain: PlainProgress, said: list[str], clock: _Clock) -> None:
    plain.begin("morphology_harmony")
    for _ in range(25):
        clock.now += 1
        plain.look()
    assert said[1:] == ["  … morphology_harmony: 10 s", "  … morphology_harmony: 20 s"]


def test_nothing_is_said_of_a_step_that_is_over(plain: PlainProgress, said: list[str], clock: _Clock) -> None:
    plain.begin("spot_grids")
    plain.end()
    clock.now += 60
    plain.look()
    assert said == ["  … spot_grids"]


def test_what_no_step_begins_is_named_once_it_takes_its_time(
    plain: PlainProgress, said: list[str], clock: _Clock
) -> None:
    for done in range(3):
        plain.count("hashing", done, 6)
        clock.now += 0.4
    assert said == []
    plain.count("hashing", 3, 6)
    assert said == ["  … hashing: 3 of 6, 1 s, about 1 s left"]


def test_a_wait_is_named_once_it_takes_its_time(plain: PlainProgress, said: list[str], clock: _Clock) -> None:
    plain.wait_for("loading")
    plain.look()
    assert said == []
    clock.now += 1.5
    plain.look()
    assert said == ["  … loading: 2 s"]


def test_a_console_off_a_terminal_tells_of_time_that_passes(capfd: pytest.CaptureFixture[str]) -> None:
    with StepConsole(every_seconds=0.05) as console:
        console.step_started("raw_samples", "P01")
        console.step_progress("reading S1", 1, 4)
        time.sleep(0.5)
        console.step_done(StepEnd("raw_samples", "P01", reused=False, seconds=1.0, peak_memory_mb=2.0))
        finished = capfd.readouterr()
        time.sleep(0.3)
    assert finished.out == ""
    first, *lines, last = finished.err.splitlines()
    assert first == "  … raw_samples of P01"
    assert last == "  ✓ raw_samples of P01: 1.0 s, 2 MB"
    assert len(lines) >= 2
    assert all(line.startswith("  … reading S1: 1 of 4, ") for line in lines)
    assert capfd.readouterr().err == ""


def test_a_quiet_console_off_a_terminal_tells_nothing_of_it(capfd: pytest.CaptureFixture[str]) -> None:
    with StepConsole(quiet=True, every_seconds=0.02) as console:
        console.working("loading")
        console.step_started("raw_samples", "P01")
        console.step_progress("reading S1", 1, 4)
        time.sleep(0.2)
    assert capfd.readouterr() == ("", "")


def test_json_stands_alone_on_stdout_and_progress_on_stderr(study: Path) -> None:
    settings = study / "study.toml"
    settings.write_text(settings.read_text().replace("seed = 0", "seed = 1", 1))
    command = [sys.executable, "-m", "stalign_assets.cli.main", "run", str(study), "--variants", "harmony", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["computed"] > 0
    assert "  … cohort/harmony/aestetik_model" in done.stderr.splitlines()


def test_square_brackets_are_told_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    line = "misses a package; pip install 'stalign[downstream]', see [/tmp/x] or lower [input]"
    with StepConsole() as console:
        console.title("donor [P01]")
        console.step_started("raw_samples", "[P01]")
        console.step_done(StepEnd("raw_samples", "[/P01]", reused=True, seconds=0.0, peak_memory_mb=0.0))
        console.fault(line)
    told = capsys.readouterr().err
    assert all(each in told for each in (line, "donor [P01]", "raw_samples of [P01]", "raw_samples of [/P01]"))


def test_a_step_is_foreseen_by_what_it_took_the_last_time(capsys: pytest.CaptureFixture[str]) -> None:
    with StepConsole() as console:
        console.step_started("cohort/harmony/corrected_features", "", 40.0)
        console.step_started("gene_panel", "", 0.4)
    told = capsys.readouterr().err
    assert "cohort/harmony/corrected_features (took 40 s last time)" in told
    assert "gene_panel\n" in told


def test_on_a_terminal_a_step_that_counts_nothing_shows_no_count_of_the_one_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    console = StepConsole()
    console.step_started("counted", "")
    console.step_progress("counted", 5, 3000)
    console.step_started("uncounted", "")
    (task,) = console._progress.tasks
    assert (task.description, task.total, task.completed) == ("uncounted", None, 0)


def test_progress_that_is_told_while_the_next_step_takes_the_line_is_shown_and_ends_no_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    console = StepConsole()
    remove = console._progress.remove_task

    def remove_and_tell(task: TaskID) -> None:
        remove(task)
        console.step_progress("epochs", 1, 30)

    monkeypatch.setattr(console._progress, "remove_task", remove_and_tell)
    console.step_started("aestetik_model", "")
    (task,) = console._progress.tasks
    assert (task.description, task.completed, task.total) == ("epochs", 1, 30)
