from __future__ import annotations

import numpy as np
import pytest

from stalign_core.metrics import chaos, chaos_standardised, pas

_LINE = np.array([[0.0, 0.0], [2.0, 0.0], [4.0, 0.0], [6.0, 0.0]])


def _square(side: int) -> np.ndarray:
    return np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).reshape(-1, 2).astype(float)


def test_chaos_is_one_where_each_spot_touches_its_domain() -> None:
    assert chaos(np.array(["1", "1", "2", "2"]), _LINE) == pytest.approx(1)


def test_chaos_counts_gaps_in_spot_spacings() -> None:
    # Domain a at 0, 2 and 6: nearest of its own at 2, 2 and 4; the spot in b is alone. Spacing 2.
    assert chaos(np.array(["a", "a", "b", "a"]), _LINE) == pytest.approx((1 + 1 + 2) / 3)


def test_chaos_has_no_unit_and_its_published_form_neither() -> None:
    rng = np.random.default_rng(0)
    domains = rng.integers(0, 3, 100)
    for score in (chaos, chaos_standardised):
        assert score(domains, _square(10) * 137.5 + 40) == pytest.approx(score(domains, _square(10)))


def test_chaos_as_published_measures_in_standard_deviations() -> None:
    # x = 0, 2, 4, 6 has deviation sqrt(5); y does not vary. All nearest spots are 2 apart.
    assert chaos_standardised(np.array(["1", "1", "2", "2"]), _LINE) == pytest.approx(2 / np.sqrt(5))


def test_chaos_of_spots_that_are_all_alone_is_not_a_number() -> None:
    assert np.isnan(chaos(np.array(["1", "2", "3", "4"]), _LINE))


def test_pas_is_the_share_of_spots_among_strangers() -> None:
    # One stranger in the middle of a 7 x 7 square: only it has 6 or more of 10 neighbours elsewhere.
    domains = np.full(49, "1", dtype=object)
    domains[24] = "2"
    assert pas(domains, _square(7)) == pytest.approx(1 / 49)
    assert pas(np.full(49, "1"), _square(7)) == 0


def test_pas_starts_at_six_strangers_of_ten() -> None:
    # 11 spots, so each spot's neighbours are all others: five of domain a see 6 strangers, six of b see 5.
    positions = np.random.default_rng(0).normal(size=(11, 2))
    assert pas(np.array(["a"] * 5 + ["b"] * 6), positions) == pytest.approx(5 / 11)


def test_pas_leaves_the_spot_itself_out_even_where_spots_coincide() -> None:
    positions = np.zeros((12, 2))
    # Of each a, at least 10 of 11 others are chosen; 6 are b, so at least 5 strangers and at most 6.
    assert pas(np.array(["a"] + ["b"] * 11), positions) == pytest.approx(1 / 12)
