"""Processes that open a study's history at the same moment, before there is one."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from stalign_assets.new_study import create_study
from stalign_assets.runs import open_instance
from stalign_assets.study import open_study
from stalign_core.settings import parse_settings
from tests.studies import two_donor_sheet

if TYPE_CHECKING:
    from multiprocessing.synchronize import Barrier

pytestmark = pytest.mark.slow

N_PROCESSES, N_STUDIES = 3, 2


def open_each(studies: list[Path], together: Barrier) -> None:
    opened = [open_study(study) for study in studies]
    for study in opened:
        together.wait(timeout=60)
        with open_instance(study) as instance:
            instance.get_runs_count()


def test_all_of_them_find_its_tables(tmp_path: Path, tiny_data: Path) -> None:
    sheet = two_donor_sheet(tiny_data)
    studies = [create_study(tmp_path / str(number), sheet, parse_settings({})).folder for number in range(N_STUDIES)]
    spawning = multiprocessing.get_context("spawn")
    together = spawning.Barrier(N_PROCESSES)
    openers = [spawning.Process(target=open_each, args=(studies, together), daemon=True) for _ in range(N_PROCESSES)]
    for opener in openers:
        opener.start()
    for opener in openers:
        opener.join(timeout=120)
    assert [opener.exitcode for opener in openers] == [0] * N_PROCESSES
