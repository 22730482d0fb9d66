"""A training over a part of the spots."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from stalign_core.aestetik import Aestetik, AestetikSettings
from stalign_core.aestetik.inputs import check_input, fit_scaling
from stalign_core.aestetik.lattice_views import LatticeViews
from stalign_core.aestetik.training_spots import training_spots
from stalign_core.errors import SettingsError
from tests.core.aestetik.inputs import QUICK, model_arguments, striped_cohort

SIDE, SMALL_SIDE = 40, 20


def two_samples() -> tuple[np.ndarray, np.ndarray]:
    """Lattice and sample of 1,600 and 400 spots, in mixed order."""
    cells = [np.column_stack(np.divmod(np.arange(side * side), side)) for side in (SIDE, SMALL_SIDE)]
    sample = np.repeat([0, 1], [len(each) for each in cells])
    order = np.random.default_rng(0).permutation(len(sample))
    return np.concatenate(cells).astype(np.int32)[order], sample[order]


@pytest.mark.parametrize(("fraction", "sizes"), [(0.1, [160, 40]), (0.333, [533, 134]), (1.0, [1600, 400])])
def test_each_sample_gives_its_share(fraction: float, sizes: list[int]) -> None:
    lattice, sample = two_samples()
    rows = training_spots(lattice, sample, fraction, np.random.default_rng(3))
    assert np.bincount(sample[rows]).tolist() == sizes
    assert (np.diff(rows) > 0).all()


def test_spots_come_as_whole_tiles_of_eight_by_eight() -> None:
    lattice, sample = two_samples()
    rows = training_spots(lattice, sample, 0.12, np.random.default_rng(3))
    chosen = lattice[rows[sample[rows] == 0]] // 8
    counts = np.unique(chosen, axis=0, return_counts=True)[1]
    assert sorted(counts.tolist()) == [64, 64, 64]


def test_the_seed_decides() -> None:
    lattice, sample = two_samples()
    first, again, other = (training_spots(lattice, sample, 0.1, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.tolist() == again.tolist()
    assert first.tolist() != other.tolist()


def test_an_epoch_names_each_training_spot_once_and_no_other() -> None:
    given = check_input(**model_arguments(striped_cohort(side=20)))
    views = LatticeViews.of(given, fit_scaling(given), AestetikSettings())
    among = torch.from_numpy(training_spots(given.lattice, given.sample, 0.3, np.random.default_rng(0)))
    named = torch.cat(list(views.batches(among, 50, torch.Generator().manual_seed(0))))
    assert named.sort().values.tolist() == among.tolist()
    assert len(among) == 240


@pytest.mark.parametrize("preset", ["default", "reference"])
def test_a_model_trained_on_a_part_embeds_all_spots_and_finds_the_stripes(preset: str) -> None:
    cohort = striped_cohort(n_samples=3, side=20)
    arguments = {**model_arguments(cohort), "hexagonal": np.zeros(1200, dtype=bool)}
    settings = replace(QUICK, preset=preset, epochs=60, train_fraction=0.25)
    model = Aestetik(settings, 0).fit(**arguments, n_domains=3)
    embedding = model.embed(**arguments)
    assert embedding.shape == (1200, QUICK.n_latent)
    found = KMeans(3, n_init=5, random_state=0).fit_predict(embedding)
    assert adjusted_rand_score(cohort["stripe"], found) > 0.7


def test_the_default_trains_on_all_spots_and_leaves_the_identity_of_models_as_it_was() -> None:
    assert "train_fraction" not in AestetikSettings().identity()
    assert AestetikSettings(train_fraction=0.1).identity()["train_fraction"] == 0.1


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.5])
def test_shares_outside_the_range_are_refused(fraction: float) -> None:
    with pytest.raises(SettingsError, match=r"aestetik.train_fraction: is .*; expected a number above 0 and at most 1"):
        AestetikSettings(train_fraction=fraction)
