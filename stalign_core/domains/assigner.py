"""The stored clusterer: domains of spots that were not clustered, and whether such spots were ever seen.

Kept as arrays and names, so that it is saved without pickle and gives what the clusterer itself gave.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from stalign_core.domains.clustering import Clusterer, ClusterModel
from stalign_core.errors import ModelError

Matrix = npt.NDArray[np.float64]

FAMILIAR_SHARE: Final = 0.999
"""Share of the clustered spots that lie within the distance up to which a new spot counts as familiar."""


@dataclass(frozen=True, eq=False)
class Assigned:
    """Domains of new spots.

    Attributes
    ----------
    domain
        The likeliest, (n_spots,) str.
    support
        How well each domain stands, (n_spots, n_domains), in the order of `DomainAssigner.names`: the posterior
        probability under the mixture; for K-Means the margin, 1 - distance over the distance to the nearest other
        centre, which is 1 on a centre, 0 on a border and beyond it.
    distance
        Mahalanobis distance to the nearest domain's centre, in deviations within domains, (n_spots,).
    unlike
        Whether that is farther than nearly all clustered spots lie, (n_spots,) bool.
    """

    domain: npt.NDArray[np.object_]
    support: Matrix
    distance: Matrix
    unlike: npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class DomainAssigner:
    """What names the domain of a spot by its embedding.

    Attributes
    ----------
    clusterer
        ``"kmeans"`` or ``"tied"``.
    names
        Of the domains.
    centre, spread
        What an embedding is centred and divided by, (n_features,) and a number.
    means
        Centres of the domains after that, (n_domains, n_features).
    log_weights
        Of the mixture's components, (n_domains,); zeros for K-Means.
    whitening
        Turns differences into ones whose covariance within domains is the identity, (n_features, n_features).
    limit
        Distance beyond which a spot is unlike those clustered.
    """

    clusterer: Clusterer
    names: tuple[str, ...]
    centre: Matrix
    spread: float
    means: Matrix
    log_weights: Matrix
    whitening: Matrix
    limit: float

    def assign(self, embedding: npt.NDArray[Any]) -> Assigned:
        """Name the domain of each spot; a row's result follows from that row alone.

        Parameters
        ----------
        embedding
            (n_spots, n_features) by the model whose embeddings were clustered.

        Raises
        ------
        ModelError
            If there are other features than those clustered, or a value is not finite.
        """
        points = self._standardised(embedding)
        whitened = np.stack([_squares((points - mean) @ self.whitening) for mean in self.means], axis=1)
        if self.clusterer == "tied":
            support = _softmax(self.log_weights - whitened / 2)
            best = (self.log_weights - whitened / 2).argmax(axis=1)
        else:
            plain = np.sqrt(np.stack([_squares(points - mean) for mean in self.means], axis=1))
            support, best = _margins(plain), plain.argmin(axis=1)
        distance = np.sqrt(whitened.min(axis=1))
        return Assigned(np.array(self.names, dtype=object)[best], support, distance, distance > self.limit)

    def support_of(self, assigned: Assigned, domain: npt.NDArray[np.object_]) -> Matrix:
        """The support of the domain that each spot was given in the end, (n_spots,)."""
        column = {name: position for position, name in enumerate(self.names)}
        columns = np.array([column[name] for name in domain], dtype=np.int64)
        return np.asarray(assigned.support[np.arange(len(columns)), columns])

    def to_arrays(self) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
        """Arrays by name and JSON-able facts, from which `from_arrays` rebuilds the assigner."""
        arrays: dict[str, npt.NDArray[Any]] = {
            "centre": self.centre,
            "means": self.means,
            "log_weights": self.log_weights,
            "whitening": self.whitening,
        }
        facts = {"clusterer": self.clusterer, "names": list(self.names), "spread": self.spread, "limit": self.limit}
        return arrays, facts

    @staticmethod
    def from_arrays(arrays: dict[str, npt.NDArray[Any]], facts: dict[str, Any]) -> DomainAssigner:
        """Rebuild what `to_arrays` gave."""
        return DomainAssigner(
            facts["clusterer"],
            tuple(facts["names"]),
            arrays["centre"],
            facts["spread"],
            arrays["means"],
            arrays["log_weights"],
            arrays["whitening"],
            facts["limit"],
        )

    def _standardised(self, embedding: npt.NDArray[Any]) -> Matrix:
        points = np.asarray(embedding, dtype=np.float64)
        if points.ndim != 2 or points.shape[1] != len(self.centre):
            raise ModelError(
                "domains", f"got an embedding of shape {points.shape}", expected=f"{len(self.centre)} features per spot"
            )
        if not np.isfinite(points).all():
            raise ModelError(
                "domains",
                "got an embedding with values that are not finite",
                expected="a finite number for every feature",
            )
        return np.asarray((points - self.centre) / self.spread)


def fit_assigner(
    model: ClusterModel,
    embedding: npt.NDArray[Any],
    clusters: npt.NDArray[np.integer[Any]],
    names: dict[int, str],
) -> DomainAssigner:
    """The assigner of a clustering that was made.

    Parameters
    ----------
    model, clusters
        As `stalign_core.domains.clustering.fit_clusters` gave them.
    embedding
        (n_spots, n_features), what was clustered.
    names
        Of the clusters that hold a spot; others are never given to a new spot either.
    """
    held = sorted(names)
    points = (np.asarray(embedding, dtype=np.float64) - model.centre) / model.spread
    covariance = model.covariance
    if covariance is None:
        covariance = _pooled_covariance(points, clusters)
    whitening = _whitening(covariance)
    means = model.means[held]
    nearest = np.stack([_squares((points - mean) @ whitening) for mean in means], axis=1).min(axis=1)
    return DomainAssigner(
        clusterer=model.clusterer,
        names=tuple(names[cluster_id] for cluster_id in held),
        centre=model.centre,
        spread=model.spread,
        means=means,
        log_weights=model.log_weights[held],
        whitening=whitening,
        limit=float(np.sqrt(np.quantile(nearest, FAMILIAR_SHARE))),
    )


def _pooled_covariance(points: Matrix, clusters: npt.NDArray[np.integer[Any]]) -> Matrix:
    """Covariance of spots about the mean of their cluster, (n_features, n_features)."""
    about = points.copy()
    for cluster_id in np.unique(clusters):
        inside = clusters == cluster_id
        about[inside] -= about[inside].mean(axis=0)
    covariance: Matrix = about.T @ about / len(points)
    return covariance


def _whitening(covariance: Matrix) -> Matrix:
    """A factor of the inverse; directions in which nothing varies count as the finest of the others."""
    variances, directions = np.linalg.eigh(covariance)
    floor = max(float(variances[-1]) * 1e-6, 1e-12)
    whitening: Matrix = directions / np.sqrt(np.maximum(variances, floor))
    return whitening


def _squares(rows: Matrix) -> Matrix:
    return np.asarray(np.einsum("ij,ij->i", rows, rows))


def _softmax(scores: Matrix) -> Matrix:
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _margins(distances: Matrix) -> Matrix:
    """1 - distance over the smallest other distance, not below 0; of a single domain, 1."""
    margins = np.ones_like(distances)
    for position in range(distances.shape[1] if distances.shape[1] > 1 else 0):
        nearest_other = np.delete(distances, position, axis=1).min(axis=1)
        own = distances[:, position]
        ratio = np.divide(own, nearest_other, out=np.ones_like(own), where=nearest_other > 0)
        margins[:, position] = np.clip(1 - ratio, 0, 1)
    return margins
