"""A small simulated cohort, written once for all tests of the simulation."""

from __future__ import annotations

from pathlib import Path

import pytest

from stalign_core.simulate import CohortDesign, HistologyDesign, simulate_cohort

SEED = 7


@pytest.fixture(scope="session")
def small_design() -> CohortDesign:
    """Every vintage, as six sections of about 200 spots."""
    return CohortDesign(
        lattice_rows=16,
        lattice_columns=16,
        n_genes=300,
        histology=HistologyDesign(spot_distance_pixels=32, margin_pixels=40, hires_side=400, lowres_side=120),
    )


@pytest.fixture(scope="session")
def small_cohort(small_design: CohortDesign, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the small cohort."""
    return simulate_cohort(tmp_path_factory.mktemp("cohort"), small_design, seed=SEED).parent
