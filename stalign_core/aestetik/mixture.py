"""K-Means and the tied-covariance Gaussian mixture: they name the groups that triplets are drawn from.

Small, seeded and free of scikit-learn, so that the model needs torch, numpy and lightning alone. Both are
fitted on at most `MAX_FITTED` rows and then label every row, so the cost per spot stays flat.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

MAX_FITTED = 50_000
"""Rows a model is fitted on; larger inputs are subsampled without replacement."""
CHUNK = 262_144
"""Rows labelled at a time, which bounds memory."""
RIDGE = 1e-6
"""Added to the diagonal of a covariance, relative to its mean diagonal, so that it can be inverted."""


@dataclass(frozen=True)
class TiedMixture:
    """A Gaussian mixture whose components share one covariance.

    Attributes
    ----------
    log_weights
        (K,) logarithms of the mixing weights.
    means
        (K, d) component means.
    whitening
        (d, d) matrix W with W W' equal to the inverse of the shared covariance.
    log_likelihood
        Mean log likelihood per row of the rows it was fitted on, up to a constant of d.
    """

    log_weights: Floats
    means: Floats
    whitening: Floats
    log_likelihood: float

    def scores(self, rows: NDArray[np.floating]) -> Floats:
        """Log joint density of rows and components, (n, K), up to a constant shared by all."""
        white = rows.astype(np.float64) @ self.whitening
        return self.log_weights - 0.5 * squared_distances(white, self.means @ self.whitening)

    def predict(self, rows: NDArray[np.floating]) -> Labels:
        """The likeliest component of each row, (n,)."""
        parts = [self.scores(rows[i : i + CHUNK]).argmax(axis=1) for i in range(0, len(rows), CHUNK)]
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)


def squared_distances(rows: Floats, centers: Floats) -> Floats:
    """Squared Euclidean distances, (n, K)."""
    distances = (rows**2).sum(axis=1)[:, None] - 2 * rows @ centers.T + (centers**2).sum(axis=1)
    nonnegative: Floats = np.maximum(distances, 0)
    return nonnegative


def subsample(n_rows: int, rng: np.random.Generator) -> Labels:
    """At most `MAX_FITTED` row numbers, in order."""
    if n_rows <= MAX_FITTED:
        return np.arange(n_rows)
    return np.sort(rng.choice(n_rows, MAX_FITTED, replace=False))


def kmeans_centers(rows: Floats, n_clusters: int, rng: np.random.Generator, max_iterations: int = 100) -> Floats:
    """Centres of a K-Means clustering, (K, d): k-means++ seeding, then Lloyd's iterations.

    An emptied cluster is given the row farthest from its centre.
    """
    centers = _plus_plus(rows, n_clusters, rng)
    labels = np.full(len(rows), -1)
    for _ in range(max_iterations):
        distances = squared_distances(rows, centers)
        new_labels = distances.argmin(axis=1)
        if np.array_equal(new_labels, labels):
            break
        labels = new_labels
        counts = np.bincount(labels, minlength=n_clusters)
        one_hot = np.eye(n_clusters)[labels]
        centers = (one_hot.T @ rows) / np.maximum(counts, 1)[:, None]
        for empty in np.flatnonzero(counts == 0):
            farthest = distances[np.arange(len(rows)), labels].argmax()
            centers[empty] = rows[farthest]
            labels[farthest] = empty
    return centers


def _plus_plus(rows: Floats, n_clusters: int, rng: np.random.Generator) -> Floats:
    """Starting centres, each drawn in proportion to the squared distance from those before it."""
    chosen = [int(rng.integers(len(rows)))]
    distance = squared_distances(rows, rows[chosen])[:, 0]
    while len(chosen) < n_clusters:
        total = distance.sum()
        chance = distance / total if total > 0 else None
        chosen.append(int(rng.choice(len(rows), p=chance)))
        distance = np.minimum(distance, squared_distances(rows, rows[chosen[-1:]])[:, 0])
    return rows[chosen]


def kmeans_labels(rows: NDArray[np.floating], n_clusters: int, rng: np.random.Generator, n_init: int = 3) -> Labels:
    """Labels of the best of `n_init` K-Means clusterings, by inertia, (n,)."""
    fitted = rows[subsample(len(rows), rng)].astype(np.float64)
    runs = [kmeans_centers(fitted, n_clusters, rng) for _ in range(n_init)]
    inertia = [squared_distances(fitted, centers).min(axis=1).sum() for centers in runs]
    best = runs[int(np.argmin(inertia))]
    parts = [
        squared_distances(rows[i : i + CHUNK].astype(np.float64), best).argmin(axis=1)
        for i in range(0, len(rows), CHUNK)
    ]
    return np.concatenate(parts)


def fit_tied_mixture(
    rows: NDArray[np.floating],
    n_components: int,
    rng: np.random.Generator,
    *,
    n_init: int = 3,
    max_iterations: int = 100,
    tolerance: float = 1e-4,
) -> TiedMixture:
    """The likeliest of `n_init` tied mixtures fitted by expectation maximisation.

    Parameters
    ----------
    rows
        (n, d) features; more than `MAX_FITTED` rows are subsampled.
    n_components
        K.
    rng
        Source of the K-Means starts and of the subsample.
    n_init
        Starts, each from one K-Means clustering.
    max_iterations, tolerance
        A start ends when the mean log likelihood rises by less than `tolerance`.
    """
    fitted = rows[subsample(len(rows), rng)].astype(np.float64)
    runs = [_expectation_maximisation(fitted, n_components, rng, max_iterations, tolerance) for _ in range(n_init)]
    return max(runs, key=lambda run: run.log_likelihood)


def _expectation_maximisation(
    rows: Floats, n_components: int, rng: np.random.Generator, max_iterations: int, tolerance: float
) -> TiedMixture:
    centers = kmeans_centers(rows, n_components, rng)
    responsibility = np.eye(n_components)[squared_distances(rows, centers).argmin(axis=1)]
    scatter = rows.T @ rows
    likelihood = -np.inf
    while True:
        mixture = _maximise(rows, responsibility, scatter)
        joint = mixture.scores(rows)
        peak = joint.max(axis=1, keepdims=True)
        density = np.exp(joint - peak)
        total = density.sum(axis=1, keepdims=True)
        log_determinant = np.log(np.abs(np.diag(mixture.whitening))).sum()
        previous, likelihood = likelihood, float((peak + np.log(total)).mean() + log_determinant)
        responsibility = density / total
        max_iterations -= 1
        if likelihood - previous < tolerance or max_iterations <= 0:
            return TiedMixture(mixture.log_weights, mixture.means, mixture.whitening, likelihood)


def _maximise(rows: Floats, responsibility: Floats, scatter: Floats) -> TiedMixture:
    n_rows, n_features = rows.shape
    mass = responsibility.sum(axis=0) + 1e-12
    means = (responsibility.T @ rows) / mass[:, None]
    covariance = (scatter - (means * mass[:, None]).T @ means) / n_rows
    covariance += np.eye(n_features) * (RIDGE * covariance.diagonal().mean() + 1e-12)
    # covariance = L L'; its inverse is W W' with the upper triangular W = inv(L)'.
    whitening = np.linalg.inv(np.linalg.cholesky(covariance)).T
    return TiedMixture(np.log(mass / mass.sum()), means, whitening, -np.inf)
