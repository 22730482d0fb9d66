"""The paper's data sets have its donors and sections, and a downloaded folder becomes a sheet."""

from __future__ import annotations

from pathlib import Path

import pytest

from stalign_core.cohort import read_sample_sheet
from stalign_core.datasets import DATASETS, write_sheet
from stalign_core.errors import InputDataError


def test_sections_and_donors_are_as_many_as_the_paper_says() -> None:
    counts = {name: (len(found.sections), len(found.donors)) for name, found in DATASETS.items()}
    assert counts == {"libd": (12, 3), "usz_lung": (4, 4), "tumor_profiler": (18, 7)}


def test_donors_hold_the_sections_of_the_papers_tables() -> None:
    assert DATASETS["libd"].donors["Donor3"] == ["151673", "151674", "151675", "151676"]
    assert DATASETS["tumor_profiler"].donors["MAJOFIJ"] == ["MAJOFIJ-1-1", "MAJOFIJ-1-2", "MAJOFIJ-2-1", "MAJOFIJ-2-2"]
    assert "LC4" not in DATASETS["usz_lung"].donors


def test_a_downloaded_folder_becomes_a_sheet_that_is_read(tmp_path: Path) -> None:
    for name in ("LC1.h5ad", "LC2.h5ad", "LC3.h5ad", "LC5.h5ad", "LC3_annotation.csv"):
        (tmp_path / name).touch()
    cohort = read_sample_sheet(write_sheet("usz_lung", tmp_path))
    assert cohort.donors == ("LC1", "LC2", "LC3", "LC5")
    assert [sample.path.name for sample in cohort.samples] == ["LC1.h5ad", "LC2.h5ad", "LC3.h5ad", "LC5.h5ad"]
    assert [sample.annotation is not None for sample in cohort.samples] == [False, False, True, False]


def test_a_missing_section_and_an_existing_sheet_are_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputDataError, match=r"holds no section LC1.*zenodo"):
        write_sheet("usz_lung", tmp_path)
    assert not list(tmp_path.iterdir())
    (tmp_path / "samples.csv").touch()
    with pytest.raises(InputDataError, match="exists already"):
        write_sheet("usz_lung", tmp_path)
    with pytest.raises(InputDataError, match="one of libd, usz_lung, tumor_profiler"):
        write_sheet("other", tmp_path)
