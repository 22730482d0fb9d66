"""Two studies of the same inputs hold the same content, wherever they lie and whenever they were run."""

from __future__ import annotations

from pathlib import Path

import pytest

from stalign_assets.new_study import create_study
from stalign_assets.study import open_study
from stalign_core.settings import parse_settings
from tests.studies import TINY_SETTINGS, run, two_donor_sheet


def contents(folder: Path) -> dict[tuple[str, str], tuple[str, str]]:
    """Input key and content hash of everything in force, by asset and partition."""
    return {
        (each.manifest.asset, each.manifest.partition): (each.manifest.input_key, each.manifest.data_version)
        for each in open_study(folder).store.in_force()
    }


@pytest.mark.slow
def test_two_studies_of_the_same_inputs_have_the_same_content_hashes_on_the_cpu(
    finished_study: Path, tmp_path: Path, tiny_data: Path
) -> None:
    folder = tmp_path / "another" / "study"
    create_study(folder, two_donor_sheet(tiny_data), parse_settings(TINY_SETTINGS))
    assert run(folder).n_reused == 0
    first, second = contents(finished_study), contents(folder)
    assert set(first) == set(second) and len(first) > 40
    assert [place for place in first if first[place] != second[place]] == []


@pytest.mark.slow
def test_so_have_the_methods_that_train_or_search(tmp_path: Path, tiny_data: Path) -> None:
    methods = {name: {"correction": name} for name in ("scanorama", "scvi")}
    settings = parse_settings({**TINY_SETTINGS, "variants": methods, "correction": {"scvi": {"max_epochs": 2}}})
    found = []
    for name in ("one", "two"):
        create_study(tmp_path / name, two_donor_sheet(tiny_data), settings)
        report = run(tmp_path / name, scopes="cohort")
        assert report.success, report.lines()
        found.append(contents(tmp_path / name))
    assert set(found[0]) == set(found[1]) and len(found[0]) > 20
    assert [place for place in found[0] if found[0][place] != found[1][place]] == []
