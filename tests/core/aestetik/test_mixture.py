"""K-Means and the tied mixture against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture

from stalign_core.aestetik import mixture
from stalign_core.aestetik.mixture import fit_tied_mixture, kmeans_labels


def _blobs(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(4, size=800)
    stretch = np.array([[3.0, 0.0, 0.0], [2.0, 0.5, 0.0], [0.0, 0.3, 1.0]])
    return rng.normal(size=(4, 3))[labels] * 4 + rng.normal(size=(800, 3)) @ stretch, labels


def test_tied_mixture_reaches_scikit_learns_likelihood_and_labels():
    rows, _ = _blobs()
    ours = fit_tied_mixture(rows, 4, np.random.default_rng(0))
    theirs = GaussianMixture(4, covariance_type="tied", n_init=10, tol=1e-6, max_iter=500, random_state=0).fit(rows)
    assert ours.log_likelihood == pytest.approx(theirs.score(rows), abs=1e-3)
    assert adjusted_rand_score(ours.predict(rows), theirs.predict(rows)) > 0.99


def test_full_shrinkage_gives_a_round_covariance():
    rows, _ = _blobs()
    found = fit_tied_mixture(rows, 4, np.random.default_rng(0), shrinkage=1.0)
    assert np.allclose(found.precision, found.precision[0, 0] * np.eye(3))


def test_shrinkage_stops_a_small_direction_from_deciding():
    # Two groups far apart in a tiny second direction, beside a large first direction that is one broad blob.
    rng = np.random.default_rng(0)
    group = rng.integers(2, size=600)
    rows = np.column_stack([rng.uniform(-10, 10, size=600), group * 0.1 + rng.normal(size=600) * 0.005])
    free = fit_tied_mixture(rows, 2, np.random.default_rng(0)).predict(rows)
    shrunk = fit_tied_mixture(rows, 2, np.random.default_rng(0), shrinkage=0.5).predict(rows)
    assert adjusted_rand_score(group, free) > 0.95
    assert adjusted_rand_score(rows[:, 0] > 0, shrunk) > 0.8


def test_kmeans_reaches_scikit_learns_inertia():
    rows, _ = _blobs()
    labels = kmeans_labels(rows, 4, np.random.default_rng(0), n_init=5)
    inertia = sum(((rows[labels == k] - rows[labels == k].mean(axis=0)) ** 2).sum() for k in range(4))
    assert inertia == pytest.approx(KMeans(4, n_init=5, random_state=0).fit(rows).inertia_, rel=1e-3)


def test_a_subsample_labels_all_rows(monkeypatch):
    rows, labels = _blobs()
    monkeypatch.setattr(mixture, "MAX_FITTED", 300)
    monkeypatch.setattr(mixture, "CHUNK", 128)
    found = fit_tied_mixture(rows, 4, np.random.default_rng(0)).predict(rows)
    assert len(found) == 800
    assert adjusted_rand_score(labels, found) > 0.5


def test_constant_columns_do_not_break_the_mixture():
    rows, labels = _blobs()
    widened = np.column_stack([rows, np.zeros(len(rows))])
    found = fit_tied_mixture(widened, 4, np.random.default_rng(0)).predict(widened)
    assert adjusted_rand_score(labels, found) > 0.5


def test_more_clusters_than_distinct_rows_still_ends():
    rows = np.repeat(np.eye(2), 10, axis=0)
    assert set(kmeans_labels(rows, 3, np.random.default_rng(0))) <= {0, 1, 2}
