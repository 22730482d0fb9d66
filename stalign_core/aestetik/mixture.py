"""K-Means and the tied-covariance Gaussian mixture: they name the groups that triplets are drawn from.

Small, seeded and free of scikit-learn, so that the model needs torch, numpy and lightning alone. Both are
fitted on at most `MAX_FITTED` rows and then label every row, so the cost per spot stays flat.

A mixture's likelihood has many local maxima. As in Biernacki, Celeux and Govaert (2003), many starts are run
for a few iterations and only the likeliest are run to their end. With one covariance for all components, the
quadratic term of a row is the same for each of them: it leaves responsibilities as they are, and its mean follows
from the rows' second moment, so an iteration never whitens a row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Labels = NDArray[np.int64]

MAX_FITTED = 20_000
"""Rows a model is fitted on; larger inputs are subsampled without replacement."""
MAX_STARTED = 5_000
"""Rows that starts are compared on."""
CHUNK = 262_144
"""Rows labelled at a time, which bounds memory."""
N_STARTS = 15
"""Starts of a mixture from plain columns, and as many from standardised ones."""
N_FINISHED = 8
"""Likeliest different starts of either kind that are run to their end."""
SAME = 0.95
"""Starts whose groups overlap in more than this share of rows head for the same maximum."""
START_RUN = 20
"""Iterations of the K-Means that a start is made of."""
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
    precision
        (d, d) inverse of the shared covariance.
    log_likelihood
        Mean log likelihood per row of the rows it was fitted on.
    """

    log_weights: Tensor
    means: Tensor
    precision: Tensor
    log_likelihood: float = -math.inf

    def scores(self, rows: Tensor) -> Tensor:
        """Log joint density of rows and components, (n, K), less a term that is the same for all components."""
        projected = self.means @ self.precision
        return rows @ projected.T + (self.log_weights - 0.5 * (projected * self.means).sum(dim=1))

    def predict(self, rows: NDArray[np.floating]) -> Labels:
        """The likeliest component of each row, (n,)."""
        parts = [self.scores(_tensor(rows[i : i + CHUNK])).argmax(dim=1) for i in range(0, len(rows), CHUNK)]
        return torch.cat(parts).numpy() if parts else np.zeros(0, dtype=np.int64)


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
    fitted = _tensor(rows[_subsample(len(rows), MAX_FITTED, rng)])
    started = fitted[torch.from_numpy(_subsample(len(fitted), MAX_STARTED, rng))]
    finished = []
    # Either kind of start may climb faster without ending higher, so the kinds do not compete at first.
    for standardise in (False, True):
        starts = [_start(started, n_components, rng, standardise=standardise) for _ in range(N_STARTS)]
        short = [_maximise_expectation(started, start, shrinkage, SHORT_RUN) for start in starts]
        finished += [
            _maximise_expectation(fitted, mixture.scores(fitted).softmax(dim=1), shrinkage, LONG_RUN)[0]
            for mixture in _likeliest_different(short)
        ]
    return max(finished, key=lambda mixture: mixture.log_likelihood)


def kmeans_labels(rows: NDArray[np.floating], n_clusters: int, rng: np.random.Generator, n_init: int = 3) -> Labels:
    """Labels of the best of `n_init` K-Means clusterings, by inertia, (n,)."""
    fitted = _tensor(rows[_subsample(len(rows), MAX_FITTED, rng)])
    runs = [_kmeans_centers(fitted, n_clusters, rng) for _ in range(n_init)]
    inertia = [float(_squared_distances(fitted, centers).amin(dim=1).sum()) for centers in runs]
    best = runs[int(np.argmin(inertia))]
    parts = [_squared_distances(_tensor(rows[i : i + CHUNK]), best).argmin(dim=1) for i in range(0, len(rows), CHUNK)]
    return torch.cat(parts).numpy()


def _tensor(rows: NDArray[np.floating]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(rows, dtype=np.float64))


def _squared_distances(rows: Tensor, centers: Tensor) -> Tensor:
    """Squared Euclidean distances, (n, K)."""
    distances = rows.square().sum(dim=1, keepdim=True) - 2 * rows @ centers.T + centers.square().sum(dim=1)
    return distances.clamp(min=0)


def _subsample(n_rows: int, n_kept: int, rng: np.random.Generator) -> Labels:
    if n_rows <= n_kept:
        return np.arange(n_rows)
    return np.sort(rng.choice(n_rows, n_kept, replace=False))


def _kmeans_centers(rows: Tensor, n_clusters: int, rng: np.random.Generator, max_iterations: int = 100) -> Tensor:
    """Centres (K, d): k-means++ seeding, then Lloyd's iterations; an emptied cluster gets the farthest row."""
    centers = _plus_plus(rows, n_clusters, rng)
    labels = torch.full((len(rows),), -1)
    for _ in range(max_iterations):
        distances = _squared_distances(rows, centers)
        nearest, new_labels = distances.min(dim=1)
        if torch.equal(new_labels, labels):
            break
        labels = new_labels
        one_hot = torch.nn.functional.one_hot(labels, n_clusters).to(rows.dtype)
        counts = one_hot.sum(dim=0)
        centers = (one_hot.T @ rows) / counts.clamp(min=1)[:, None]
        empty = torch.nonzero(counts == 0).flatten()
        centers[empty] = rows[nearest.topk(len(empty)).indices]
    return centers


def _plus_plus(rows: Tensor, n_clusters: int, rng: np.random.Generator) -> Tensor:
    """Starting centres, each drawn in proportion to the squared distance from those before it."""
    chosen = [int(rng.integers(len(rows)))]
    distance = _squared_distances(rows, rows[chosen])[:, 0]
    while len(chosen) < n_clusters:
        total = float(distance.sum())
        chance = (distance / total).numpy() if total > 0 else None
        chosen.append(int(rng.choice(len(rows), p=chance)))
        distance = torch.minimum(distance, _squared_distances(rows, rows[chosen[-1:]])[:, 0])
    return rows[chosen]


def _start(rows: Tensor, n_components: int, rng: np.random.Generator, *, standardise: bool) -> Tensor:
    """Responsibilities (n, K) of a K-Means clustering; standardised columns give other starts than plain ones."""
    deviation = rows.std(dim=0, correction=0)
    scaled = rows / torch.where(deviation > 0, deviation, 1) if standardise else rows
    centers = _kmeans_centers(scaled, n_components, rng, START_RUN)
    labels = _squared_distances(scaled, centers).argmin(dim=1)
    return torch.nn.functional.one_hot(labels, n_components).to(rows.dtype)


def _likeliest_different(runs: list[tuple[TiedMixture, Tensor]]) -> list[TiedMixture]:
    """The likeliest `N_FINISHED` mixtures of which no two have nearly the same groups."""
    kept: list[tuple[TiedMixture, Tensor]] = []
    for mixture, responsibility in sorted(runs, key=lambda run: -run[0].log_likelihood):
        labels = responsibility.argmax(dim=1)
        if all(_overlap(labels, others) < SAME for _, others in kept):
            kept.append((mixture, labels))
        if len(kept) == N_FINISHED:
            break
    return [mixture for mixture, _ in kept]


def _overlap(first: Tensor, second: Tensor) -> float:
    """Share of rows in the group of `second` that their group of `first` meets most."""
    n_groups = int(torch.maximum(first.max(), second.max())) + 1
    table = torch.bincount(first * n_groups + second, minlength=n_groups**2).view(n_groups, n_groups)
    return float(table.amax(dim=1).sum()) / len(first)


def _maximise_expectation(
    rows: Tensor, responsibility: Tensor, shrinkage: float, n_iterations: int
) -> tuple[TiedMixture, Tensor]:
    """Mixture and responsibilities after at most `n_iterations`, starting from responsibilities."""
    second_moment = rows.T @ rows / len(rows)
    likelihood = -math.inf
    for _ in range(n_iterations):
        mixture = _mixture_of(rows, responsibility, second_moment, shrinkage)
        scores = mixture.scores(rows)
        log_density = scores.logsumexp(dim=1, keepdim=True)
        responsibility = (scores - log_density).exp()
        # The term that scores leave out: half the log determinant less half the mean quadratic form.
        shared = 0.5 * (torch.logdet(mixture.precision) - (mixture.precision * second_moment).sum())
        constant = -0.5 * rows.shape[1] * math.log(2 * math.pi)
        previous, likelihood = likelihood, float(log_density.mean() + shared) + constant
        if likelihood - previous < TOLERANCE:
            break
    return TiedMixture(mixture.log_weights, mixture.means, mixture.precision, likelihood), responsibility


def _mixture_of(rows: Tensor, responsibility: Tensor, second_moment: Tensor, shrinkage: float) -> TiedMixture:
    share = responsibility.mean(dim=0) + 1e-12
    means = (responsibility.T @ rows) / (len(rows) * share)[:, None]
    covariance = second_moment - (means * share[:, None]).T @ means
    shrinkage = max(shrinkage, RIDGE)
    spread = covariance.diagonal().mean() + 1e-12
    identity = torch.eye(rows.shape[1], dtype=rows.dtype)
    covariance = (1 - shrinkage) * covariance + shrinkage * spread * identity
    precision = torch.cholesky_inverse(torch.linalg.cholesky(covariance))
    return TiedMixture(torch.log(share / share.sum()), means, precision)
