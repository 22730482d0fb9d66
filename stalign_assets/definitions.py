"""The code location: what ``workspace.yaml`` and ``[tool.dg]`` load.

Without STALIGN_STUDY the graph of the default settings loads, so that it can be looked at.
"""

from __future__ import annotations

import os
from pathlib import Path

from stalign_assets.platform.build import build_definitions
from stalign_assets.study import STUDY_VARIABLE, settings_of_study
from stalign_core.settings import Settings


def _settings() -> Settings:
    folder = os.environ.get(STUDY_VARIABLE, "")
    return settings_of_study(Path(folder)) if folder else Settings()


defs = build_definitions(settings=_settings())
