"""Groups of triplets, and how far samples disagree."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from stalign_core.aestetik.labels import disagreement, group_labels


def test_replicates_do_not_disagree():
    rows = np.random.default_rng(0).normal(size=(50, 3))
    assert disagreement(np.vstack([rows, rows + 5]), np.repeat([0, 1], 50)) == pytest.approx(0, abs=1e-12)


def test_disagreement_by_hand():
    # Covariances diag(1, 0) and diag(0, 1): their mean has squared norm 1/2, each lies 1/2 from it, so h = 1, less .05.
    first, second = np.array([[1, 0], [-1, 0]] * 2), np.array([[0, 1], [0, -1]] * 2)
    assert disagreement(np.vstack([first, second]), np.repeat([0, 1], 4)) == pytest.approx(0.95 / 1.95)


def test_one_sample_has_nothing_to_disagree_with():
    rows = np.random.default_rng(0).normal(size=(50, 3))
    assert disagreement(rows, np.zeros(50, dtype=int)) == 0


def test_samples_too_small_for_a_covariance_are_left_out():
    rows = np.random.default_rng(0).normal(size=(52, 3))
    assert disagreement(rows, np.repeat([0, 1], [50, 2])) == 0


@pytest.mark.parametrize("method", ["tied", "kmeans"])
def test_spots_without_the_modality_get_no_label(method):
    rng = np.random.default_rng(0)
    group = rng.integers(3, size=90)
    rows = (np.eye(3)[group] * 9 + rng.normal(size=(90, 3))).astype(np.float32)
    present = np.arange(90) % 4 > 0
    labels = group_labels(rows, np.zeros(90, dtype=int), present, 3, method, np.random.default_rng(0))
    assert (labels[~present] == -1).all()
    assert adjusted_rand_score(group[present], labels[present]) == 1


def test_fewer_spots_than_groups_or_a_constant_modality_give_no_labels():
    rows = np.zeros((5, 2), np.float32)
    everyone = np.ones(5, dtype=bool)
    sample = np.zeros(5, dtype=int)
    assert (group_labels(rows, sample, everyone, 2, "tied", np.random.default_rng(0)) == -1).all()
    varied = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    assert (group_labels(varied, sample, everyone, 6, "tied", np.random.default_rng(0)) == -1).all()
