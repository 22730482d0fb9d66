"""Outer folds keep donors whole and apart; the grid is the paper's Table 1."""

from __future__ import annotations

import pandas as pd
import pytest

from stalign_core.benchmark import TABLE_1, check_splits, combinations, multi_donor_splits, single_donor_splits
from stalign_core.benchmark.arms import Arm, candidates, default_refinement, refinements
from stalign_core.benchmark.splits import plan_splits
from stalign_core.errors import SettingsError
from stalign_core.settings import parse_settings

DONORS = {"A": ["a1", "a2"], "B": ["b1"], "C": ["c1"], "D": ["d1", "d2"]}


def sides(splits: pd.DataFrame, fold: int, column: str) -> dict[str, list[str]]:
    rows = splits[splits["fold"] == fold]
    return {role: sorted(set(part[column])) for role, part in rows.groupby("role")}


def test_each_donor_tunes_once_and_every_other_is_tested_alone() -> None:
    splits = single_donor_splits(DONORS)
    check_splits(splits)
    assert sides(splits, 2, "donor") == {"tuning": ["B"], "test": ["A", "C", "D"]}
    assert sides(splits, 2, "group") == {"tuning": ["B"], "test": ["A", "C", "D"]}
    assert splits["fold"].nunique() == 4 and len(splits) == 4 * 6


def test_two_donors_tune_and_two_are_tested_both_ways() -> None:
    splits = multi_donor_splits(DONORS)
    check_splits(splits)
    assert sides(splits, 1, "donor") == {"tuning": ["A", "B"], "test": ["C", "D"]}
    assert sides(splits, 2, "donor") == {"tuning": ["C", "D"], "test": ["A", "B"]}
    assert sides(splits, 1, "group") == {"tuning": ["tuning"], "test": ["test"]}


def test_no_fold_shares_a_donor_or_a_sample_between_its_sides() -> None:
    many = {f"D{i}": [f"s{i}_{j}" for j in range(3)] for i in range(9)}
    for splits in (single_donor_splits(many), multi_donor_splits(many, 2), multi_donor_splits(many, 4)):
        for _, rows in splits.groupby("fold"):
            for column in ("donor", "sample"):
                tuning, test = (set(rows.loc[rows["role"] == role, column]) for role in ("tuning", "test"))
                assert tuning and test and not tuning & test
            assert set(rows["donor"]) == set(many) and len(rows) == 27


def test_a_leaking_table_is_refused_by_its_fold_and_donor() -> None:
    splits = multi_donor_splits(DONORS)
    splits.loc[(splits["fold"] == 2) & (splits["sample"] == "a2"), "role"] = "tuning"
    with pytest.raises(SettingsError, match=r"fold 2.*donor A both tunes and is tested"):
        check_splits(splits)


def test_too_few_donors_are_refused() -> None:
    with pytest.raises(SettingsError, match="at least 2"):
        single_donor_splits({"A": ["a1"]})
    with pytest.raises(SettingsError, match="at least 4"):
        multi_donor_splits({"A": ["a1"], "B": ["b1"], "C": ["c1"]})
    with pytest.raises(SettingsError, match="at least 2"):
        multi_donor_splits(DONORS, n_folds=1)


def test_the_grids_hold_the_values_of_the_papers_table_1() -> None:
    found = {model: {name: list(values) for name, values in grid.items()} for model, grid in TABLE_1.items()}
    assert found == {
        "scvi": {"n_layers": [1, 2, 3, 4]},
        "harmony": {"theta": [0, 0.5, 1, 2, 4, 6, 8]},
        "scanorama": {"sigma": [10, 15, 20, 25]},
        "aestetik": {"morphology_weight": [0, 1, 1.5, 2, 3], "window": [5, 7], "refine": [True, False]},
        "uncorrected": {},
    }


def test_the_grids_have_the_papers_sizes() -> None:
    sizes = {model: len(combinations(grid)) for model, grid in TABLE_1.items()}
    assert sizes == {"scvi": 4, "harmony": 7, "scanorama": 4, "aestetik": 20, "uncorrected": 1}
    assert len(combinations(TABLE_1["harmony"], TABLE_1["aestetik"])) == 140


@pytest.mark.parametrize("refine", [True, False])
def test_the_published_preset_has_nothing_to_choose_whatever_the_study_says(refine: bool) -> None:
    settings = parse_settings(
        {"domains": {"refine": refine}, "benchmark": {"grids": {"aestetik": {"refine": [refine, not refine]}}}}
    )
    arm = Arm("harmony", "reference", encoder="texture")
    assert len(candidates(arm, settings)) == 1
    assert refinements(arm, settings) == (True,) and default_refinement(arm, settings)
    tuned = Arm("harmony", "aestetik", encoder="texture")
    assert refinements(tuned, settings) == (refine, not refine) and default_refinement(tuned, settings) == refine
    assert refinements(Arm("harmony", "alone"), settings) == (False,)


def test_combined_grids_are_a_product_and_need_distinct_names() -> None:
    assert combinations({"a": (1, 2)}, {"b": ("x",)}) == [{"a": 1, "b": "x"}, {"a": 2, "b": "x"}]
    with pytest.raises(ValueError, match="share a name: a"):
        combinations({"a": (1,)}, {"a": (2,)})


def test_too_few_donors_are_tested_untuned_and_it_is_said() -> None:
    splits, notes = plan_splits({"A": ["a1", "a2"]}, ("single_donor", "multi_donor"), 2, tune=True)
    assert set(splits["role"]) == {"test"} and set(splits["task"]) == {"single_donor"}
    assert notes[0].startswith("single_donor: not tuned (1 donors, 2 needed)")
    assert notes[1] == "multi_donor: left out, because there is one donor only"
    splits, notes = plan_splits({name: [name] for name in "ABC"}, ("multi_donor",), 2, tune=True)
    assert sides(splits, 1, "donor") == {"test": ["A", "B", "C"]} and "3 donors, 4 needed" in notes[0]
    with pytest.raises(SettingsError, match="one donor only"):
        plan_splits({"A": ["a1"]}, ("multi_donor",), 2, tune=True)
