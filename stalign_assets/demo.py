"""The demo study: a simulated cohort on disk, and settings that keep it quick."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from stalign_assets.new_study import create_study
from stalign_assets.study import SETTINGS_FILE, Study, open_study
from stalign_core.progress import Progress
from stalign_core.settings import parse_settings

DEMO_SETTINGS: Final[dict[str, Any]] = {
    "expression": {"n_top_genes": 600},
    "correction": {"scvi": {"max_epochs": 30}},
}
"""What differs from the defaults: fewer genes and scVI epochs, for a cohort of some thousand spots."""


def create_demo(folder: Path, say: Callable[[str], None], progress: Progress | None = None) -> Study:
    """Simulate the demo cohort into `folder` and make it a study; an existing demo study is taken as it is."""
    from stalign_core.simulate import simulate_cohort

    if (folder / SETTINGS_FILE).is_file():
        say(f"{folder} is a study already: going on with it")
        return open_study(folder)
    say(f"simulating 3 donors with 2 sections each into {folder / 'data'}")
    sheet = simulate_cohort(folder / "data", seed=0, progress=progress)
    return create_study(folder, sheet, parse_settings(DEMO_SETTINGS))
