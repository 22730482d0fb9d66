"""A simulated donor of five small sections: three are fitted, two are new."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import stalign_core as st
from stalign_core.settings import Settings, parse_settings
from stalign_core.simulate import CohortDesign, HistologyDesign, simulate_cohort

if TYPE_CHECKING:
    from anndata import AnnData

    from stalign_core.settings import CorrectionMethod

K = 4
DESIGN = CohortDesign(
    n_donors=1,
    sections_per_donor=5,
    lattice_rows=18,
    lattice_columns=18,
    n_genes=400,
    n_domains=K,
    histology=HistologyDesign(spot_distance_pixels=16.0, hires_side=300, lowres_side=150),
)
SETTINGS: Settings = parse_settings(
    {
        "expression": {"n_top_genes": 250, "n_components": 10},
        "morphology": {"n_components": 6},
        "aestetik": {"epochs": 20},
        "correction": {"scvi": {"max_epochs": 40, "n_hidden": 32, "batch_size": 64, "learning_rate": 0.01}},
    }
)
Fitted = tuple["AnnData", st.Reference]


@pytest.fixture(scope="session")
def sheets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Sheets of three sections (``"fitted"``), of the other two (``"new"``) and of all (``"all"``).

    The last section alone has but a small picture; it is among the fitted, so that new ones are not unlike all of them.
    """
    sheet = simulate_cohort(tmp_path_factory.mktemp("donor"), DESIGN, seed=3)
    header, *rows = sheet.read_text().splitlines()
    chosen = {"fitted": [*rows[:2], rows[4]], "new": rows[2:4], "all": rows}
    paths = {name: sheet.with_name(f"{name}.csv") for name in chosen}
    for name, lines in chosen.items():
        paths[name].write_text("\n".join([header, *lines]) + "\n")
    return paths


@pytest.fixture(scope="session")
def fitted(sheets: dict[str, Path]) -> Callable[[CorrectionMethod], Fitted]:
    """`fitted(method)` gives the three sections, integrated, and their reference; each method is fitted once."""

    @cache
    def fit(method: CorrectionMethod) -> Fitted:
        adata = st.read_cohort(sheets["fitted"])
        return adata, st.fit_reference(adata, K, method, settings=SETTINGS)

    return fit


@pytest.fixture
def new(sheets: dict[str, Path]) -> AnnData:
    """The two new sections."""
    return st.read_cohort(sheets["new"])
