"""Groups of triplets, and how far samples disagree."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from stalign_core.aestetik.labels import directions, disagreement, group_labels
from stalign_core.aestetik.mixture import fit_tied_mixture


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


def test_directions_by_hand():
    # The mean is (1, 0): less it, the rows are (3, 4), (-3, -4) and (0, 0), of lengths 5, 5 and 0.
    rows = np.array([[4, 4], [-2, -4], [1, 0]], np.float32)
    np.testing.assert_allclose(directions(rows), [[0.6, 0.8], [-0.6, -0.8], [0, 0]], atol=1e-7)


def _groups_by_angle(unlike: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three groups that differ by direction, in four samples that are measured ever better: spots, sample, group."""
    rng = np.random.default_rng(0)
    group, sample = rng.integers(3, size=1200), np.repeat(np.arange(4), 300)
    rows = np.eye(3)[group] + rng.normal(size=(1200, 3)) * 0.12
    rows *= rng.uniform(0.5, 1.5, size=(1200, 1))
    return (rows * (3.0**sample)[:, None] if unlike else rows).astype(np.float32), sample, group


def test_where_samples_disagree_groups_are_of_directions_unless_lengths_compare():
    rows, sample, _ = _groups_by_angle(unlike=True)
    assert disagreement(rows, sample) > 0
    for comparable, known in ((True, rows), (False, directions(rows))):
        shrinkage = disagreement(known, sample)
        expected = fit_tied_mixture(known, 3, np.random.default_rng(0), shrinkage).predict(known)
        found = group_labels(rows, sample, sample >= 0, 3, "tied", np.random.default_rng(0), comparable)
        np.testing.assert_array_equal(found, expected)


def test_where_samples_agree_lengths_count():
    rows, sample, _ = _groups_by_angle(unlike=False)
    assert disagreement(rows, sample) == 0
    known = [
        group_labels(rows, sample, sample >= 0, 3, "tied", np.random.default_rng(0), flag) for flag in (True, False)
    ]
    np.testing.assert_array_equal(*known)
