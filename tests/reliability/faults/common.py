"""What the faults have in common: the study, its assets, and how a run is started."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Final

from stalign_assets.driver import Request, bring_up_to_date
from stalign_assets.planning import assets_of_scope
from stalign_assets.recipes.graph import recipes_of
from stalign_core.errors import ArtifactError
from stalign_core.settings import parse_settings
from tests.assets.conftest import TINY_SETTINGS

SETTINGS: Final = {**TINY_SETTINGS, "variants": {"harmony": {"correction": "harmony"}}}
EVERYTHING: Final = os.environ.get("STALIGN_RELIABILITY") == "full"
KINDS: Final = tuple(
    asset
    for scope in ("samples", "cohort")
    for asset in assets_of_scope(recipes_of(parse_settings(SETTINGS)), scope, SETTINGS["variants"])
)
"""Every asset that the study makes; those of a donor's own scope are the same functions on one donor."""
TABLES: Final = "metrics_tables"
KILLED: Final = -signal.SIGKILL


def no_damage(error: ArtifactError) -> None:
    raise error


def bring(folder: Path) -> None:
    report = bring_up_to_date(Request.parse(folder, scopes="cohort"))
    assert report.success, report.lines()
