"""What the faults have in common: the study, its assets, and how a run is started."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from stalign_assets.driver import Request, bring_up_to_date
from stalign_assets.planning import assets_of_scope
from stalign_assets.recipes.graph import recipes_of
from stalign_core.errors import ArtifactError
from stalign_core.settings import parse_settings
from tests.assets.conftest import TINY_SETTINGS

SETTINGS: Final = {**TINY_SETTINGS, "variants": {"harmony": {"correction": "harmony"}}}
EVERYTHING: Final = os.environ.get("STALIGN_RELIABILITY") == "full"
RARER_SETTINGS: Final = {
    **SETTINGS,
    "incremental": {"freeze_bases": True},
    "downstream": {"network": "network.csv", "min_targets": 3},
    "representations": {"outside": {"obsm": "X_outside", "file": "outside/{sample}.h5ad"}},
    "variants": {**SETTINGS["variants"], "outside": {"correction": "harmony", "representation": "outside"}},
}
"""Of a study that also makes what settings ask for: drift, an embedding from outside, pathway activity."""


def _kinds(settings: Mapping[str, Any]) -> tuple[str, ...]:
    recipes = recipes_of(parse_settings(dict(settings)))
    own, joint = (
        assets_of_scope(recipes, scope, variants)
        for scope, variants in (("samples", settings["variants"]), ("cohort", SETTINGS["variants"]))
    )
    return (*own, *joint)


KINDS: Final = _kinds(SETTINGS)
"""Every asset that the study makes; those of a donor's own scope are the same functions on one donor."""
RARER_KINDS: Final = tuple(asset for asset in _kinds(RARER_SETTINGS) if asset not in KINDS)
"""Those that the other study makes besides."""
TABLES: Final = "metrics_tables"
KILLED: Final = -signal.SIGKILL


def no_damage(error: ArtifactError) -> None:
    raise error


def bring(folder: Path) -> None:
    report = bring_up_to_date(Request.parse(folder, scopes="cohort"))
    assert report.success, report.lines()
