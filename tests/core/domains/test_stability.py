"""Choosing K by the agreement of halves."""

from __future__ import annotations

import numpy as np
import pytest

from stalign_core.domains.stability import CANDIDATES, choose_n_domains
from stalign_core.errors import SettingsError


def tissue(n_groups: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, nearest spots and samples of two samples with well parted groups of unlike size."""
    rng = np.random.default_rng(seed)
    share = rng.uniform(1, 2, n_groups)
    group = np.sort(rng.choice(n_groups, 1500, p=share / share.sum()))
    centres = rng.normal(size=(n_groups, 8)) * 4
    features = (centres[group] + rng.normal(size=(1500, 8))).astype(np.float32)
    nearest = np.column_stack([np.roll(np.arange(1500), shift) for shift in (-1, 1)])
    return features, nearest, np.arange(1500) % 2


def test_the_number_of_groups_that_there_are_is_chosen() -> None:
    n_groups = 4
    choice = choose_n_domains(*tissue(n_groups), candidates=(3, 4, 5, 6))
    assert choice.n_domains == n_groups
    assert choice.stability[n_groups] > max(choice.stability.values()) - 0.01


def test_a_seed_gives_the_same_choice_and_numbers() -> None:
    first, second = (choose_n_domains(*tissue(4), seed=3, candidates=(3, 4)) for _ in range(2))
    assert first == second


def test_too_few_spots_are_told() -> None:
    features, nearest, sample = (rows[:20] for rows in tissue(4))
    with pytest.raises(SettingsError, match="cannot be chosen from 20 spots; expected 30 spots at least"):
        choose_n_domains(features, np.full_like(nearest, -1), sample, candidates=CANDIDATES)
