"""What the faults have in common: how a run is started, and how a process that was killed ends."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Final

from stalign_assets.driver import Request, bring_up_to_date
from stalign_core.errors import ArtifactError

EVERYTHING: Final = os.environ.get("STALIGN_RELIABILITY") == "full"
KILLED: Final = -signal.SIGKILL


def no_damage(error: ArtifactError) -> None:
    raise error


def bring(folder: Path) -> None:
    report = bring_up_to_date(Request.parse(folder, scopes="cohort"))
    assert report.success, report.lines()
