"""``--quiet``: errors and warnings alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from stalign_assets.cli.console import StepConsole
from stalign_assets.cli.main import cli
from stalign_assets.reporting import StepEnd


def _follow(console: StepConsole) -> None:
    console.title("donor P01")
    console.step_started("raw_samples", "P01")
    console.step_progress("reading", 1, 2)
    console.step_said("3 genes are not shared")
    console.step_said("warning: a picture is small")
    console.step_done(StepEnd("raw_samples", "P01", reused=False, seconds=1.0, peak_memory_mb=2.0))
    console.fault("spot_grids: no space")


def test_a_quiet_console_prints_warnings_and_faults_alone(capfd: pytest.CaptureFixture[str]) -> None:
    with StepConsole(quiet=True) as console:
        _follow(console)
    lines = capfd.readouterr().err.split("\n")
    assert [line.strip() for line in lines if line] == ["warning: a picture is small", "✗ spot_grids: no space"]


def test_a_console_prints_everything_that_is_finished(capfd: pytest.CaptureFixture[str]) -> None:
    with StepConsole() as console:
        _follow(console)
    printed = capfd.readouterr().err
    for words in ("donor P01", "3 genes are not shared", "✓ raw_samples of P01: 1.0 s, 2 MB", "✗ spot_grids: no space"):
        assert words in printed


@pytest.mark.parametrize("command", [["run"], ["report"], ["export", "--formats", "loupe"]])
def test_a_quiet_command_that_goes_well_prints_nothing(study: Path, command: list[str]) -> None:
    done = CliRunner().invoke(cli, [command[0], str(study), *command[1:], "--quiet"], standalone_mode=False)
    assert done.exception is None
    assert done.return_value in (None, 0)
    assert done.output == ""


def test_a_quiet_run_says_what_is_wrong(study: Path) -> None:
    settings = study / "study.toml"
    settings.write_text(settings.read_text().replace("min_spots = 50", "min_spots = 100000"))
    done = CliRunner().invoke(cli, ["run", str(study), "--quiet"], standalone_mode=False)
    assert done.return_value == 2
    assert "error: " in done.output
    assert "computed" not in done.output
