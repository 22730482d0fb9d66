"""Fates of domains, each case worked out by hand."""

from __future__ import annotations

import pandas as pd
import pytest

from stalign_core.domains.correspondence import correspond, stable_names

Counts = dict[tuple[str, str], int]


def series(counts: Counts) -> tuple[pd.Series, pd.Series]:
    """Labels of spots, earlier and now, from how many have each pair; '' stands for a spot that is not there."""
    pairs = [pair for pair, n in counts.items() for _ in range(n)]
    index = [f"spot{number}" for number in range(len(pairs))]
    earlier, now = (pd.Series([pair[side] for pair in pairs], index=index) for side in (0, 1))
    return earlier[earlier != ""], now[now != ""].sample(frac=1.0, random_state=0)


def fates(counts: Counts) -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]], dict[str, str]]:
    found = correspond(*series(counts))
    earlier, now = ({fate.domain: (fate.fate, *fate.others) for fate in side} for side in (found.earlier, found.now))
    return earlier, now, stable_names(found, ())


def test_swapped_labels_keep_their_names() -> None:
    earlier, now, names = fates({("1", "2"): 10, ("2", "1"): 8, ("1", "1"): 1})
    assert earlier == {"1": ("kept", "2"), "2": ("kept", "1")}
    assert now == {"1": ("kept", "2"), "2": ("kept", "1")}
    assert names == {"1": "2", "2": "1"}


def test_a_split_keeps_the_name_on_the_larger_part() -> None:
    earlier, now, names = fates({("1", "1"): 10, ("2", "2"): 6, ("2", "3"): 4})
    assert now == {"1": ("kept", "1"), "2": ("kept", "2"), "3": ("split", "2")}
    assert earlier["2"] == ("kept", "2") and names == {"1": "1", "2": "2", "3": "3"}


def test_an_even_split_in_four_keeps_no_name() -> None:
    # Dice of each part: 2 * 5 / (20 + 5) = 0.4.
    earlier, now, names = fates({("1", part): 5 for part in "1234"})
    assert earlier == {"1": ("split", "1", "2", "3", "4")}
    assert set(now.values()) == {("split", "1")}
    assert names == {"1": "2", "2": "3", "3": "4", "4": "5"}


def test_a_merge_keeps_the_name_of_the_larger_one() -> None:
    earlier, now, names = fates({("1", "1"): 7, ("2", "1"): 5, ("3", "2"): 9})
    assert earlier == {"1": ("kept", "1"), "2": ("merged", "1"), "3": ("kept", "2")}
    assert now == {"1": ("kept", "1"), "2": ("kept", "3")} and names == {"1": "1", "2": "3"}


def test_an_even_merge_of_four_is_a_domain_of_its_own() -> None:
    # Dice with each: 2 * 5 / (5 + 20) = 0.4.
    earlier, now, names = fates({(part, "1"): 5 for part in "1234"})
    assert now == {"1": ("merged", "1", "2", "3", "4")} and set(earlier.values()) == {("merged", "1")}
    assert names == {"1": "5"}


def test_a_domain_of_new_samples_alone_is_new_and_one_whose_samples_left_is_lost() -> None:
    earlier, now, names = fates({("1", "1"): 10, ("2", ""): 5, ("", "2"): 6})
    assert earlier == {"1": ("kept", "1"), "2": ("lost",)}
    assert now == {"1": ("kept", "1"), "2": ("new",)} and names == {"1": "1", "2": "3"}


def test_a_few_stray_spots_make_no_split_and_scattered_spots_no_merge() -> None:
    earlier, now, _ = fates({("1", "1"): 50, ("1", "2"): 1, ("", "2"): 30})
    assert now["2"] == ("new",)
    earlier, _, _ = fates({("1", "1"): 40, ("2", "2"): 40, ("3", "3"): 40, **{("4", each): 2 for each in "123"}})
    assert earlier["4"] == ("lost",)


def test_the_assignment_is_the_best_over_all_and_not_the_first_come() -> None:
    # The largest overlap alone (1 with 1: 10) would leave 2 with 2 nothing: 10 + 0 < 9 + 8.
    earlier, now = series({("1", "1"): 10, ("1", "2"): 9, ("2", "1"): 8})
    found = correspond(earlier, now)
    assert found.held == {"2": "1", "1": "2"}
    overlap = {fate.domain: fate.overlap for fate in found.now}
    assert overlap == pytest.approx({"2": 2 * 9 / (19 + 9), "1": 2 * 8 / (8 + 18)})


def test_names_that_were_used_before_are_not_given_again() -> None:
    found = correspond(*series({("1", "1"): 10, ("", "2"): 6}))
    assert stable_names(found, ["4", "7", "core"]) == {"1": "1", "2": "8"}
