"""Groups of the reference preset hardly depend on the seed, as the published program's do not."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.cluster import KMeans

from stalign_core.aestetik.labels import group_labels
from stalign_core.aestetik.reference.labels import best_group_labels

N_ROWS = 120
SAMPLE = np.zeros(N_ROWS, dtype=np.int64)
EVERYONE = np.ones(N_ROWS, dtype=bool)


def _inertia(rows, labels):
    return sum(((rows[labels == k] - rows[labels == k].mean(axis=0)) ** 2).sum() for k in np.unique(labels))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_seed_reaches_scikit_learns_best_of_many(seed):
    rows = np.random.default_rng(9).normal(size=(N_ROWS, 3)).astype(np.float32)
    labels = best_group_labels(rows, SAMPLE, EVERYONE, 7, "kmeans", np.random.default_rng(seed))
    assert _inertia(rows, labels) <= KMeans(7, n_init=100, random_state=0).fit(rows).inertia_ * 1.005


@pytest.mark.parametrize("method", ["kmeans", "tied"])
def test_spots_without_the_modality_get_no_label(method):
    rows = np.random.default_rng(9).normal(size=(N_ROWS, 3)).astype(np.float32)
    present = np.arange(N_ROWS) % 3 > 0
    labels = best_group_labels(rows, SAMPLE, present, 4, method, np.random.default_rng(0))
    assert (labels[~present] == -1).all()
    assert set(labels[present]) == {0, 1, 2, 3}


def test_fewer_spots_than_groups_or_a_constant_modality_give_no_labels():
    rows = np.random.default_rng(9).normal(size=(N_ROWS, 3)).astype(np.float32)
    assert (best_group_labels(rows, SAMPLE, SAMPLE > 0, 2, "kmeans", np.random.default_rng(0)) == -1).all()
    constant = np.ones_like(rows)
    assert (best_group_labels(constant, SAMPLE, EVERYONE, 2, "kmeans", np.random.default_rng(0)) == -1).all()


def test_the_mixture_is_that_of_the_default_preset():
    rows = np.random.default_rng(9).normal(size=(N_ROWS, 3)).astype(np.float32)
    ours, theirs = (
        find(rows, SAMPLE, EVERYONE, 4, "tied", np.random.default_rng(0)) for find in (best_group_labels, group_labels)
    )
    assert np.array_equal(ours, theirs)
