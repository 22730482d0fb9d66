"""Settings under which a small cohort is integrated in seconds."""

from __future__ import annotations

from stalign_core.settings import parse_settings

QUICK = parse_settings(
    {
        "expression": {"n_components": 4, "min_spots_per_gene": 1},
        "morphology": {"n_components": 2},
        "aestetik": {"epochs": 5},
    }
)
