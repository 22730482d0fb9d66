"""What a signal does to a command that is running steps."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from stalign_assets.materialise import Materialisation, Step
from stalign_assets.platform import assets
from stalign_assets.settings_file import set_value
from tests.assets.conftest import run

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
    assert run(study).success
