"""A small study, simulated and run once by each process of the suite; tests that change it work on a copy."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from stalign_assets.driver import Report, Request, bring_up_to_date
from stalign_assets.new_study import create_study
from stalign_core.settings import parse_settings
from stalign_core.simulate import CohortDesign, HistologyDesign, simulate_cohort
from tests.assets.spoiled import Place

TINY_SETTINGS = {
    "input": {"min_genes": 20},
    "expression": {"n_top_genes": 150, "n_components": 8},
    "morphology": {"n_components": 6},
    "aestetik": {"epochs": 2},
    "variants": {"uncorrected": {"correction": "uncorrected"}, "harmony": {"correction": "harmony"}},
    "metrics": {"n_neighbors": 15},
    # Nothing but what a test does itself; what happens unattended has tests of its own.
    "automation": {"watch": False, "integrate_at": ""},
}
TINY_DESIGN = CohortDesign(
    n_donors=3,
    sections_per_donor=1,
    lattice_rows=14,
    lattice_columns=14,
    n_genes=200,
    n_domains=3,
    histology=HistologyDesign(spot_distance_pixels=16.0, hires_side=300, lowres_side=150),
)


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a simulated cohort with three donors; its sheet is ``samples.csv``."""
    return simulate_cohort(tmp_path_factory.mktemp("tiny_data") / "data", TINY_DESIGN, seed=1).parent


@pytest.fixture(scope="session")
def finished_study(tmp_path_factory: pytest.TempPathFactory, tiny_data: Path) -> Path:
    """A study of two of the three donors that was run to its end; not to be changed."""
    folder = tmp_path_factory.mktemp("finished") / "study"
    create_study(folder, two_donor_sheet(tiny_data), parse_settings(TINY_SETTINGS))
    report = run(folder)
    assert report.success, report.lines()
    return folder


@pytest.fixture
def study(tmp_path: Path, finished_study: Path) -> Path:
    """A copy of the finished study, as deep in the file tree as the original, so that relative paths lead on."""
    folder = finished_study.parent.with_name(f"copy_{tmp_path.name}_{finished_study.parent.name}") / "study"
    shutil.copytree(finished_study, folder)
    return folder


@pytest.fixture
def new_study(tmp_path_factory: pytest.TempPathFactory, tiny_data: Path) -> Callable[[str], Path]:
    """Make a study from the text of a sample sheet whose paths are relative to the simulated data."""

    def make(sheet_text: str) -> Path:
        sheet = tiny_data / f"sheet_{abs(hash(sheet_text))}.csv"
        sheet.write_text(sheet_text)
        folder = tmp_path_factory.mktemp("new") / "study"
        create_study(folder, sheet, parse_settings(TINY_SETTINGS))
        return folder

    return make


def two_donor_sheet(data: Path) -> Path:
    """The simulated sheet without its last donor."""
    lines = (data / "samples.csv").read_text().splitlines()
    sheet = data / "two_donors.csv"
    sheet.write_text("\n".join(lines[:3]) + "\n")
    return sheet


def run(folder: Path, **words: str) -> Report:
    """Bring a study up to date."""
    return bring_up_to_date(Request.parse(folder, **words))


@pytest.fixture
def place(tmp_path: Path, finished_study: Path, tiny_data: Path) -> Place:
    """Copies as far from each other as the originals, so that relative paths lead on."""
    base = finished_study.parents[1]
    study = shutil.copytree(finished_study, tmp_path / finished_study.relative_to(base))
    data = shutil.copytree(tiny_data, tmp_path / tiny_data.relative_to(base))
    return Place(study, data, tiny_data)
