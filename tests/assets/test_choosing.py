"""``stalign run --n-domains auto``: K is chosen before anything depends on it, and kept as a number."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from stalign_assets.choosing import choose_from_store
from stalign_assets.study import open_study, settings_of_study
from stalign_core.domains import stability
from stalign_core.errors import SettingsError
from tests.studies import run

pytestmark = pytest.mark.slow


def test_the_chosen_k_is_kept_and_used(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Not 3, which is the number of labels that the study had before.
    monkeypatch.setattr(stability, "CANDIDATES", (4, 5))
    report = run(study, scopes="cohort", variants="harmony", n_domains="auto")
    assert report.success, report.lines()
    chosen = settings_of_study(study).domains.n_domains
    opened = open_study(study)
    choice = choose_from_store(opened, "harmony")
    assert chosen == choice.n_domains
    made = opened.store.current("cohort/harmony/domains", "_all")
    assert made.manifest.settings["n_domains"] == chosen
    again = run(study, scopes="cohort", variants="harmony", n_domains="auto")
    assert again.success and again.n_computed == 0
    assert settings_of_study(study).domains.n_domains == chosen


def test_it_is_chosen_without_a_donor_whose_files_are_gone(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stability, "CANDIDATES", (4, 5))
    cohort = open_study(study).cohort
    lost = cohort.donors[-1]
    sheet = pd.read_csv(study / "samples.csv", dtype=str, keep_default_na=False)
    sheet.loc[sheet["donor"] == lost, "path"] += "_moved_away"
    sheet.to_csv(study / "samples.csv", index=False)
    report = run(study, scopes="cohort", variants="harmony", n_domains="auto")
    assert [lost in line for line in report.bad_input] == [True]
    assert settings_of_study(study).domains.n_domains in (4, 5)
    made = open_study(study).store.current("cohort/harmony/domains", "_all")
    assert made.manifest.donors == tuple(donor for donor in cohort.donors if donor != lost)


def test_it_is_chosen_for_the_cohort_alone(study: Path) -> None:
    with pytest.raises(SettingsError, match="'auto', which is chosen for the cohort"):
        run(study, scopes="donor", n_domains="auto")
