from __future__ import annotations

import math

import numpy as np
import pytest

from stalign_core.metrics import adjusted_rand_index, normalized_mutual_information

_LABELS = np.array(["a", "a", "a", "b", "b", "b"])
_DOMAINS = np.array(["1", "1", "2", "2", "2", "2"])
"""Contingency table: a holds two spots of 1 and one of 2, b three of 2."""


def test_adjusted_rand_index_of_a_table_worked_by_hand() -> None:
    # Agreeing pairs: C(2,2) + C(3,2) = 4. Pairs within labels: 3 + 3 = 6, within domains: 1 + 6 = 7, in all: 15.
    expected = 6 * 7 / 15
    assert adjusted_rand_index(_LABELS, _DOMAINS) == pytest.approx((4 - expected) / ((6 + 7) / 2 - expected))


def test_normalised_mutual_information_of_a_table_worked_by_hand() -> None:
    shared = math.log(2) / 3 + math.log(1 / 2) / 6 + math.log(3 / 2) / 2
    entropies = math.log(2) - (math.log(1 / 3) / 3 + 2 * math.log(2 / 3) / 3)
    assert normalized_mutual_information(_LABELS, _DOMAINS) == pytest.approx(2 * shared / entropies)


def test_renamed_groups_agree_fully() -> None:
    renamed = np.array(["x", "x", "x", "y", "y", "y"], dtype=object)
    assert adjusted_rand_index(_LABELS, renamed) == 1
    assert normalized_mutual_information(_LABELS, renamed) == pytest.approx(1)


def test_a_division_against_chance_can_be_negative() -> None:
    # Each label holds one spot of each domain: no agreeing pair, where 2 * 2 / 6 are expected.
    crossed = adjusted_rand_index(np.array(["a", "a", "b", "b"]), np.array(["1", "2", "1", "2"]))
    assert crossed == pytest.approx((0 - 2 / 3) / (2 - 2 / 3))
