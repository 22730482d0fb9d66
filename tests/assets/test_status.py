"""``stalign status``, and the line that says how long work takes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.progress import Progress

from stalign_assets.cli.console import _Times
from stalign_assets.cli.main import cli
from stalign_core.wording import span


def _status(study: Path, *options: str) -> str:
    done = CliRunner().invoke(cli, ["status", str(study), *options], standalone_mode=False)
    assert done.exception is None
    return done.output


def test_what_is_up_to_date_takes_a_line_per_donor(study: Path) -> None:
    lines = _status(study).splitlines()
    assert [line.partition(":")[0] for line in lines] == ["donor P01", "donor P02", "cohort"]
    assert all(line.endswith("assets up to date") for line in lines)


def test_a_changed_setting_is_named_once_and_what_follows_from_it_counted(study: Path) -> None:
    settings = study / "study.toml"
    settings.write_text(settings.read_text().replace("epochs = 2", "epochs = 3"))
    steps = [step for step in json.loads(_status(study, "--json")) if step["state"] == "waiting"]
    cohort = [step["asset"] for step in steps if step["asset"].startswith("cohort/")]
    told = _status(study).partition("cohort: ")[2].splitlines()[1:]
    assert told[:2] == [
        f"  cohort/{variant}/aestetik_model: changed (aestetik.epochs 2 -> 3)" for variant in ("uncorrected", "harmony")
    ]
    assert told[2:] == [f"  {len(cohort)} more that are made from these"]
    assert len(cohort) > 2


@pytest.mark.parametrize(("seconds", "words"), [(0.4, "0 s"), (40, "40 s"), (150, "2 min"), (9000, "2.5 h")])
def test_times_are_told_in_the_unit_that_suits_them(seconds: float, words: str) -> None:
    assert span(seconds) == words


def test_a_step_that_counts_says_how_long_it_will_take_and_another_how_long_it_took() -> None:
    now = 0.0
    progress = Progress(get_time=lambda: now)
    counting, other = progress.add_task("counting", total=None), progress.add_task("other", total=None)
    progress.update(counting, total=10)
    for done in range(4):
        now = done * 20.0
        progress.update(counting, completed=done)
    told = {task.id: _Times().render(task).plain for task in progress.tasks}
    assert told == {counting: "3 of 10, 60 s, about 2 min left", other: "60 s"}
