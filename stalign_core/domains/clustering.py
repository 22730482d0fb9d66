"""From embeddings to clusters: K-Means, or a Gaussian mixture whose components share one covariance."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import numpy as np
import numpy.typing as npt

from stalign_core.domains.count import check_n_domains
from stalign_core.errors import ModelError, SettingsError

Clusterer = Literal["kmeans", "tied"]

MAX_FIT_SPOTS: Final = 50_000
"""Above this many spots the clusters are fitted on a seeded subsample of this size; all spots are then assigned."""

N_STARTS: Final = 10
"""The best of this many starts is kept. With 3, a mixture on the four sections of LIBD donor Br8100 still ended in a
worse optimum for one seed in five (mean log-likelihood -28.50 instead of -28.31); with 10, all five seeds agreed."""

MAX_ITERATIONS: Final = 300


@dataclass(frozen=True, eq=False)
class ClusterModel:
    """What a clusterer found, by which other spots can be assigned.

    Attributes
    ----------
    clusterer
        ``"kmeans"`` or ``"tied"``.
    centre, spread
        What the embedding was centred and divided by, (n_features,) and a number.
    means
        Of the clusters after that, in the order of their ids, (n_clusters, n_features).
    log_weights
        Of the mixture's components, (n_clusters,); zeros for K-Means.
    covariance
        The one that the mixture's components share, (n_features, n_features); None where none was fitted.
    """

    clusterer: Clusterer
    centre: npt.NDArray[np.float64]
    spread: float
    means: npt.NDArray[np.float64]
    log_weights: npt.NDArray[np.float64]
    covariance: npt.NDArray[np.float64] | None


def cluster(embedding: npt.NDArray[Any], n_domains: int, clusterer: Clusterer, seed: int) -> npt.NDArray[np.int32]:
    """Divide spots into clusters.

    The embedding is centred and divided by one overall deviation first, which leaves K-Means as it is and makes the
    mixture's covariance floor and tolerance independent of the embedding's unit. Fitting runs on one thread, so that
    sums are added in the same order whatever the machine: a seed gives the same clusters.

    Parameters
    ----------
    embedding
        (n_spots, n_features), finite.
    n_domains
        K. Fewer clusters come back only where spots coincide.
    clusterer
        ``"kmeans"``, or ``"tied"`` for a Gaussian mixture with one covariance for all components.
    seed
        Decides the starts, and the subsample above `MAX_FIT_SPOTS` spots.

    Returns
    -------
    (n_spots,) cluster ids from 0, in no particular order.

    Raises
    ------
    SettingsError
        If K exceeds the spots or the clusterer is unknown.
    ModelError
        If the embedding holds values that are not finite.
    """
    return fit_clusters(embedding, n_domains, clusterer, seed)[0]


def fit_clusters(
    embedding: npt.NDArray[Any], n_domains: int, clusterer: Clusterer, seed: int
) -> tuple[npt.NDArray[np.int32], ClusterModel]:
    """As `cluster`, and what was found, to assign other spots by."""
    check_n_domains(n_domains, len(embedding))
    if clusterer not in get_args(Clusterer):
        raise SettingsError("domains.clusterer", f"is '{clusterer}'", expected=" or ".join(get_args(Clusterer)))
    points, centre, spread = _standard_scale(embedding)
    if n_domains == 1:
        single = np.zeros((1, points.shape[1]))
        return np.zeros(len(points), dtype=np.int32), ClusterModel(
            clusterer, centre, spread, single, np.zeros(1), covariance=None
        )
    estimator = _estimator(clusterer, n_domains, seed)
    clusters = _fit_and_assign(estimator, points, _fit_rows(len(points), seed))
    return clusters, _model(clusterer, estimator, centre, spread)


def _model(clusterer: Clusterer, estimator: Any, centre: npt.NDArray[np.float64], spread: float) -> ClusterModel:
    if clusterer == "kmeans":
        means = np.asarray(estimator.cluster_centers_)
        return ClusterModel(clusterer, centre, spread, means, np.zeros(len(means)), covariance=None)
    weights, covariance = np.log(estimator.weights_), np.asarray(estimator.covariances_)
    return ClusterModel(clusterer, centre, spread, np.asarray(estimator.means_), weights, covariance)


def _standard_scale(embedding: npt.NDArray[Any]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], float]:
    """The points centred and divided by one deviation, the centre and that deviation."""
    points = np.asarray(embedding, dtype=np.float64)
    n_broken = int((~np.isfinite(points)).any(axis=1).sum())
    if n_broken:
        raise ModelError(
            "clustering",
            f"the embedding of {n_broken} of {len(points)} spots holds values that are not finite",
            remedy="look at the features and the training losses of this variant",
        )
    centre = points.mean(axis=0)
    centred: npt.NDArray[np.float64] = points - centre
    spread = float(np.sqrt(np.mean(centred**2))) or 1.0
    centred /= spread
    return centred, centre, spread


def _fit_rows(n_spots: int, seed: int) -> npt.NDArray[np.int64] | slice:
    if n_spots <= MAX_FIT_SPOTS:
        return slice(None)
    return np.sort(np.random.default_rng(seed).choice(n_spots, MAX_FIT_SPOTS, replace=False))


def _estimator(clusterer: Clusterer, n_domains: int, seed: int) -> Any:
    if clusterer == "kmeans":
        from sklearn.cluster import KMeans

        return KMeans(n_domains, n_init=N_STARTS, max_iter=MAX_ITERATIONS, random_state=seed)
    from sklearn.mixture import GaussianMixture

    return GaussianMixture(
        n_domains,
        covariance_type="tied",
        n_init=N_STARTS,
        max_iter=MAX_ITERATIONS,
        random_state=seed,
    )


def _fit_and_assign(
    estimator: Any, points: npt.NDArray[np.float64], fit_rows: npt.NDArray[np.int64] | slice
) -> npt.NDArray[np.int32]:
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with threadpool_limits(limits=1), warnings.catch_warnings():
        # Coinciding spots make fewer clusters than asked for: the caller sees that in the result.
        warnings.simplefilter("ignore", ConvergenceWarning)
        estimator.fit(points[fit_rows])
        return np.asarray(estimator.predict(points), dtype=np.int32)
