"""Harmony, through harmonypy, with the terms that mapping new samples needs.

harmonypy keeps the soft clusters but not the regression that corrects within them, so the regression is done once
more here from the final clusters: each cluster's features are regressed, weighted by membership, on an intercept and
one indicator per batch, the batches' coefficients shrunk by a ridge that grows with the cluster's expected size
(Korsunsky et al. 2019, equations of the mixture of experts; Patikas et al. 2025 for the ridge). A spot's corrected
features are its own minus its memberships times its batch's coefficients.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from stalign_core.correction.result import (
    Batches,
    CorrectionResult,
    Features,
    batch_codes,
    check_features,
    unchanged,
)
from stalign_core.errors import CorrectionError

if TYPE_CHECKING:
    from stalign_core.settings import CorrectionSettings

Matrix = NDArray[np.float64]

SIGMA: Final = 0.1
"""Width of the soft clusters; harmonypy's default."""
RIDGE_SHARE: Final = 0.2
"""Ridge of a batch in a cluster, as a share of the spots expected there; harmonypy's default (alpha)."""
SMALLEST_SHARE: Final = 1e-5
"""A batch with less of itself in a cluster is not corrected there; harmonypy's default."""
SPOTS_PER_CLUSTER: Final = 30
MOST_CLUSTERS: Final = 100
FEWEST_SPOTS: Final = 20
"""Harmony updates its clusters in twenty blocks of spots, none of which may be empty."""
HARMONYPY: Final = "2.1.0"
"""The version whose layout of matrices is relied on."""
UNIT_TOLERANCE: Final = 1e-4
"""How far a centroid's length may be from one; harmonypy computes in single precision."""


def correct(features: Features, batches: Batches, settings: CorrectionSettings, seed: int) -> CorrectionResult:
    """Correct features by Harmony.

    Parameters
    ----------
    features
        (n_spots, n_components).
    batches
        (n_spots,) str.
    settings
        `settings.harmony` is used.
    seed
        Of the initial clusters and of the order of updates.

    Returns
    -------
    CorrectionResult
        With the arrays ``centroids`` (n_clusters, n_components; unit rows), ``intercepts`` (n_clusters, n_components),
        ``coefficients`` (n_clusters, n_batches, n_components), ``cluster_sizes`` (n_clusters, n_batches; summed
        memberships) and ``cluster_sums`` (n_clusters, n_components; corrected features summed by membership), and the
        batch names in the facts.

    Raises
    ------
    CorrectionError
        If the features cannot be corrected, or harmonypy is of a version that lays its matrices out otherwise.
    """
    check_features(features, "harmony")
    names, codes = batch_codes(batches, len(features), "harmony")
    if len(names) == 1:
        return unchanged(features, "there is one batch only")
    if len(features) < FEWEST_SPOTS:
        raise CorrectionError(
            "harmony", f"has {len(features)} spots", expected=f"at least {FEWEST_SPOTS}", remedy="add samples"
        )
    fitted = _run(features, codes, settings, seed)
    n_spots, n_components = features.shape
    corrected = _of_shape(fitted.Z_corr, (n_spots, n_components), "corrected features")
    memberships = _of_shape(fitted.R, (n_spots, fitted.K), "memberships")
    centroids = _unit_rows(_of_shape(fitted.Y, (n_components, fitted.K), "centroids").T)
    sizes, sums = cluster_totals(features, memberships, codes, len(names))
    intercepts, coefficients = regression_terms(sizes, sums, np.bincount(codes))
    arrays: dict[str, NDArray[Any]] = {
        "centroids": centroids,
        "intercepts": intercepts,
        "coefficients": coefficients,
        "cluster_sizes": sizes.T.copy(),
        "cluster_sums": memberships.T @ corrected,
    }
    facts = {
        "corrected": True,
        "batches": names,
        "theta": settings.harmony.theta,
        "sigma": SIGMA,
        "ridge_share": RIDGE_SHARE,
        "smallest_share": SMALLEST_SHARE,
        "n_clusters": memberships.shape[1],
        "n_iterations": len(fitted.kmeans_rounds),
        "objective": [float(value) for value in fitted.objective_harmony],
    }
    return CorrectionResult(corrected.astype(np.float32), arrays, facts)


def cluster_totals(
    features: Features, memberships: Matrix, codes: NDArray[np.int64], n_batches: int
) -> tuple[Matrix, Matrix]:
    """What the regressions need of the spots: totals of each batch in each cluster.

    Parameters
    ----------
    features
        Uncorrected, (n_spots, n_components).
    memberships
        Rows sum to one, (n_spots, n_clusters).
    codes
        Batch of each spot, (n_spots,).
    n_batches
        Number of batches.

    Returns
    -------
    sizes, sums
        Summed memberships (n_batches, n_clusters), and features summed by membership (n_batches, n_clusters,
        n_components). Batch by batch: a matrix of indicators would be spots x batches.
    """
    sizes = np.zeros((n_batches, memberships.shape[1]))
    sums = np.zeros((n_batches, memberships.shape[1], features.shape[1]))
    for batch, inside in enumerate(_rows_of_batches(codes, n_batches)):
        shares = memberships[inside]
        sizes[batch] = shares.sum(axis=0)
        sums[batch] = shares.T @ features[inside].astype(np.float64)
    return sizes, sums


def regression_terms(sizes: Matrix, sums: Matrix, n_spots: NDArray[np.int64]) -> tuple[Matrix, Matrix]:
    """Each cluster's ridge regression of features on batch.

    Parameters
    ----------
    sizes, sums
        Of `cluster_totals`.
    n_spots
        Of each batch, (n_batches,).

    Returns
    -------
    intercepts, coefficients
        (n_clusters, n_components) and (n_clusters, n_batches, n_components); zero where a cluster or a batch in it
        is not corrected.
    """
    n_batches, n_clusters, n_components = sums.shape
    intercepts = np.zeros((n_clusters, n_components))
    coefficients = np.zeros((n_clusters, n_batches, n_components))
    for cluster in range(n_clusters):
        size = sizes[:, cluster]
        kept = np.flatnonzero(size / n_spots > SMALLEST_SHARE)
        if len(kept) < 2:
            continue
        ridge = RIDGE_SHARE * size.sum() * n_spots[kept] / n_spots.sum()
        terms = _ridge(size[kept], sums[kept, cluster], ridge)
        intercepts[cluster], coefficients[cluster, kept] = terms[0], terms[1:]
    return intercepts, coefficients


def apply_terms(features: Matrix, memberships: Matrix, codes: NDArray[np.int64], coefficients: Matrix) -> Matrix:
    """Features minus what each spot's clusters say of its batch, (n_spots, n_components)."""
    corrected = features.copy()
    for batch, inside in enumerate(_rows_of_batches(codes, coefficients.shape[1])):
        corrected[inside] -= memberships[inside] @ coefficients[:, batch]
    return corrected


def are_unit_rows(centroids: Matrix) -> bool:
    """Whether each row is a unit vector, or zeros, as the centroid of a cluster whose spots cancel out is."""
    lengths = np.linalg.norm(centroids, axis=1)
    return bool((np.isclose(lengths, 1, atol=UNIT_TOLERANCE) | (lengths == 0)).all())


def _rows_of_batches(codes: NDArray[np.int64], n_batches: int) -> list[NDArray[np.intp]]:
    """Rows of each batch, found in one pass whatever their number."""
    order = np.argsort(codes, kind="stable")
    return np.split(order, np.searchsorted(codes[order], np.arange(1, n_batches)))


def _ridge(sizes: Matrix, sums: Matrix, ridge: Matrix) -> Matrix:
    """Intercept, then one row per batch, of a weighted ridge regression on batch indicators."""
    normal = np.zeros((len(sizes) + 1, len(sizes) + 1))
    normal[0, 0] = sizes.sum()
    normal[0, 1:] = normal[1:, 0] = sizes
    normal[1:, 1:] = np.diag(sizes + ridge)
    solution: Matrix = np.linalg.solve(normal, np.vstack([sums.sum(axis=0), sums]))
    return solution


def _run(features: Features, codes: NDArray[np.int64], settings: CorrectionSettings, seed: int) -> Any:
    import harmonypy

    n_clusters = min(round(len(features) / SPOTS_PER_CLUSTER), MOST_CLUSTERS)
    return harmonypy.run_harmony(
        # Components first: harmonypy takes the axis whose length is the number of spots, the second where both are.
        features.T.astype(np.float64),
        {"batch": codes},
        "batch",
        theta=settings.harmony.theta,
        sigma=SIGMA,
        alpha=RIDGE_SHARE,
        batch_prop_cutoff=SMALLEST_SHARE,
        nclust=max(n_clusters, 1),
        max_iter_harmony=settings.harmony.max_iterations,
        verbose=False,
        random_state=seed,
        ncores=_allowed_threads(),
    )


def _allowed_threads() -> int:
    """As many threads as BLAS may use in this process, or 0, harmonypy's choice, where that cannot be told.

    harmonypy has threads of its own, one per core unless told otherwise, which no limit set for BLAS or OpenMP binds.
    """
    from threadpoolctl import threadpool_info  # type: ignore[import-untyped]

    return min((pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"), default=0)


def _of_shape(found: Any, shape: tuple[int, int], what: str) -> Matrix:
    """One of harmonypy's matrices, laid out as `HARMONYPY` gives it: spots first, and centroids as columns."""
    matrix = np.asarray(found, dtype=np.float64)
    if matrix.shape != shape:
        raise _other_layout(f"{what} of shape {matrix.shape}", f"{shape}")
    return matrix


def _unit_rows(centroids: Matrix) -> Matrix:
    """The centroids; with as many clusters as components, their length alone tells rows from columns."""
    if not are_unit_rows(centroids):
        raise _other_layout("centroids that are no unit vectors", "one per column")
    return np.ascontiguousarray(centroids)


def _other_layout(problem: str, expected: str) -> CorrectionError:
    return CorrectionError(
        "harmony", f"got from harmonypy {problem}", expected=expected, remedy=f"install harmonypy {HARMONYPY}"
    )
