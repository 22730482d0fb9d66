"""K-Means and the tied-covariance Gaussian mixture: they name the groups that triplets are drawn from.

Small, seeded and free of scikit-learn, so that the model needs torch, numpy and lightning alone. All are
fitted on at most `MAX_FITTED` rows and then label every row, so the cost per spot stays flat.

A mixture's likelihood has many local maxima. As in Biernacki, Celeux and Govaert (2003), many starts are run
for a few iterations and only the likeliest are run to their end.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

MAX_FITTED = 20_000
"""Rows a model is fitted on; larger inputs are subsampled without replacement."""
MAX_STARTED = 5_000
"""Rows that starts are compared on."""
CHUNK = 262_144
"""Rows labelled at a time, which bounds memory."""
N_STARTS = 15
"""Starts of a mixture from plain columns, and as many from standardised ones."""
N_FINISHED = 4
"""Likeliest different starts of either kind that are run to their end."""
SAME = 0.95
"""Starts whose groups overlap in more than this share of rows head for the same maximum."""
SHORT_RUN = 40
"""Iterations after which starts are compared."""
LONG_RUN = 200
"""Iterations after which a start ends in any case."""
TOLERANCE = 2e-5
"""A start has ended when the mean log likelihood rises by less."""
RIDGE = 1e-6
"""Least shrinkage of a covariance, so that it can be inverted."""


@dataclass(frozen=True)
class TiedMixture:
    """A mixture of K Gaussians that share one covariance.

    Attributes
    ----------
    log_weights
        (K,) logarithms of the mixing weights.
    means
        (K, d) component means.
    whitening
        (d, d) matrix W with W W' equal to the inverse of the shared covariance.
    log_likelihood
        Mean log likelihood per row of the rows it was fitted on.
    """

    log_weights: Floats
    means: Floats
    whitening: Floats
    log_likelihood: float = -math.inf

    def log_joint(self, rows: NDArray[np.floating]) -> Floats:
        """Log joint density of rows and components, (n, K)."""
        distances = squared_distances(rows.astype(np.float64) @ self.whitening, self.means @ self.whitening)
        log_scale = np.log(np.diag(self.whitening)).sum() - 0.5 * self.means.shape[1] * math.log(2 * math.pi)
        joint: Floats = self.log_weights - 0.5 * distances + log_scale
        return joint

    def predict(self, rows: NDArray[np.floating]) -> Labels:
        """The likeliest component of each row, (n,)."""
        parts = [self.log_joint(rows[i : i + CHUNK]).argmax(axis=1) for i in range(0, len(rows), CHUNK)]
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)


def fit_tied_mixture(
    rows: NDArray[np.floating], n_components: int, rng: np.random.Generator, shrinkage: float = 0.0
) -> TiedMixture:
    """The likeliest tied mixture found by expectation maximisation from many starts.

    Parameters
    ----------
    rows
        (n, d) features; more than `MAX_FITTED` rows are subsampled.
    n_components
        K.
    rng
        Source of the starts and of the subsample.
    shrinkage
        How far the shared covariance is drawn towards a multiple of the identity in each iteration, 0 to 1: at
        0 directions of small variance count as much as any, at 1 the mixture is close to K-Means.
    """
    fitted = rows[_subsample(len(rows), MAX_FITTED, rng)].astype(np.float64)
    started = fitted[_subsample(len(fitted), MAX_STARTED, rng)]
    finished = []
    # Either kind of start may climb faster without ending higher, so the kinds do not compete at first.
    for standardise in (False, True):
        starts = [_start(started, n_components, rng, standardise=standardise) for _ in range(N_STARTS)]
        short = [_maximise_expectation(started, start, shrinkage, SHORT_RUN) for start in starts]
        finished += [
            _maximise_expectation(fitted, _softmax(mixture.log_joint(fitted))[0], shrinkage, LONG_RUN)[0]
            for mixture in _likeliest_different(short)
        ]
    return max(finished, key=lambda mixture: mixture.log_likelihood)


def kmeans_labels(rows: NDArray[np.floating], n_clusters: int, rng: np.random.Generator, n_init: int = 3) -> Labels:
    """Labels of the best of `n_init` K-Means clusterings, by inertia, (n,)."""
    fitted = rows[_subsample(len(rows), MAX_FITTED, rng)].astype(np.float64)
    runs = [_kmeans_centers(fitted, n_clusters, rng) for _ in range(n_init)]
    inertia = [squared_distances(fitted, centers).min(axis=1).sum() for centers in runs]
    best = runs[int(np.argmin(inertia))]
    parts = [
        squared_distances(rows[i : i + CHUNK].astype(np.float64), best).argmin(axis=1)
        for i in range(0, len(rows), CHUNK)
    ]
    return np.concatenate(parts)


def squared_distances(rows: Floats, centers: Floats) -> Floats:
    """Squared Euclidean distances, (n, K)."""
    distances = (rows**2).sum(axis=1)[:, None] - 2 * rows @ centers.T + (centers**2).sum(axis=1)
    nonnegative: Floats = np.maximum(distances, 0)
    return nonnegative


def _subsample(n_rows: int, n_kept: int, rng: np.random.Generator) -> Labels:
    if n_rows <= n_kept:
        return np.arange(n_rows)
    return np.sort(rng.choice(n_rows, n_kept, replace=False))


def _kmeans_centers(rows: Floats, n_clusters: int, rng: np.random.Generator, max_iterations: int = 100) -> Floats:
    """Centres (K, d): k-means++ seeding, then Lloyd's iterations; an emptied cluster gets the farthest row."""
    centers = _plus_plus(rows, n_clusters, rng)
    labels = np.full(len(rows), -1)
    for _ in range(max_iterations):
        distances = squared_distances(rows, centers)
        new_labels = distances.argmin(axis=1)
        if np.array_equal(new_labels, labels):
            break
        labels = new_labels
        counts = np.bincount(labels, minlength=n_clusters)
        centers = (np.eye(n_clusters)[labels].T @ rows) / np.maximum(counts, 1)[:, None]
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


def _start(rows: Floats, n_components: int, rng: np.random.Generator, *, standardise: bool) -> Floats:
    """Responsibilities (n, K) of a K-Means clustering; standardised columns give other starts than plain ones."""
    deviation = rows.std(axis=0)
    scaled = rows / np.where(deviation > 0, deviation, 1) if standardise else rows
    centers = _kmeans_centers(scaled, n_components, rng)
    one_hot: Floats = np.eye(n_components)[squared_distances(scaled, centers).argmin(axis=1)]
    return one_hot


def _likeliest_different(runs: list[tuple[TiedMixture, Floats]]) -> list[TiedMixture]:
    """The likeliest `N_FINISHED` mixtures of which no two have nearly the same groups."""
    kept: list[tuple[TiedMixture, Labels]] = []
    for mixture, responsibility in sorted(runs, key=lambda run: -run[0].log_likelihood):
        labels = responsibility.argmax(axis=1)
        if all(_overlap(labels, others) < SAME for _, others in kept):
            kept.append((mixture, labels))
        if len(kept) == N_FINISHED:
            break
    return [mixture for mixture, _ in kept]


def _overlap(first: Labels, second: Labels) -> float:
    """Share of rows in the groups of `second` that each group of `first` meets most."""
    n_groups = int(max(first.max(), second.max())) + 1
    table = np.bincount(first * n_groups + second, minlength=n_groups**2).reshape(n_groups, n_groups)
    return float(table.max(axis=1).sum() / len(first))


def _maximise_expectation(
    rows: Floats, responsibility: Floats, shrinkage: float, n_iterations: int
) -> tuple[TiedMixture, Floats]:
    """Mixture and responsibilities after at most `n_iterations`, starting from responsibilities."""
    second_moment = rows.T @ rows
    likelihood = -math.inf
    for _ in range(n_iterations):
        mixture = _mixture_of(rows, responsibility, second_moment, shrinkage)
        responsibility, log_density = _softmax(mixture.log_joint(rows))
        previous, likelihood = likelihood, float(log_density.mean())
        if likelihood - previous < TOLERANCE:
            break
    return TiedMixture(mixture.log_weights, mixture.means, mixture.whitening, likelihood), responsibility


def _mixture_of(rows: Floats, responsibility: Floats, second_moment: Floats, shrinkage: float) -> TiedMixture:
    n_rows, n_features = rows.shape
    mass = responsibility.sum(axis=0) + 1e-12
    means = (responsibility.T @ rows) / mass[:, None]
    covariance = (second_moment - (means * mass[:, None]).T @ means) / n_rows
    shrinkage = max(shrinkage, RIDGE)
    spread = covariance.diagonal().mean() + 1e-12
    covariance = (1 - shrinkage) * covariance + shrinkage * spread * np.eye(n_features)
    # covariance = L L'; its inverse is W W' with the upper triangular W = inv(L)'.
    whitening = np.linalg.inv(np.linalg.cholesky(covariance)).T
    return TiedMixture(np.log(mass / mass.sum()), means, whitening)


def _softmax(joint: Floats) -> tuple[Floats, Floats]:
    """Responsibilities (n, K) and log densities (n, 1) of rows, from their log joint densities."""
    peak = joint.max(axis=1, keepdims=True)
    density = np.exp(joint - peak)
    total = density.sum(axis=1, keepdims=True)
    return density / total, peak + np.log(total)
