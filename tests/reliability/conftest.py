"""The finished study, a copy for each case, and the table that is printed at the end."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from stalign_assets.new_study import create_study
from stalign_core.settings import parse_settings
from tests.assets.conftest import tiny_data, two_donor_sheet
from tests.reliability.faults.common import SETTINGS, bring
from tests.reliability.place import Place, carry_out, copy_of

__all__ = ["tiny_data"]


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory, tiny_data: Path) -> Path:
    """A study of two donors that was run to its end; not to be changed."""
    folder = tmp_path_factory.mktemp("original") / "study"
    create_study(folder, two_donor_sheet(tiny_data), parse_settings(SETTINGS))
    assert carry_out(bring, folder) == 0
    return folder


@pytest.fixture
def place(original: Path, tmp_path: Path) -> Place:
    """A copy to break."""
    return copy_of(original, original.parent.with_name(f"copy_{original.parent.name}_{tmp_path.name}") / "study")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Cases run and passed, by fault."""
    run: Counter[str] = Counter()
    passed: Counter[str] = Counter()
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, ()):
            fault = dict(report.user_properties).get("fault")
            if fault is not None and report.when == "call":
                run[fault] += 1
                passed[fault] += outcome == "passed"
    if run:
        terminalreporter.section("faults")
        for fault in run:
            terminalreporter.write_line(f"| {fault} | {run[fault]} | {passed[fault]} |")
        terminalreporter.write_line(f"| all | {run.total()} | {passed.total()} |")
