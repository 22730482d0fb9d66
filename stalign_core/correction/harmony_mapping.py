"""New batches in the space that Harmony corrected, which stays as it is (Symphony; Kang et al. 2021).

A new batch is assigned softly to the fixed centroids. Within each cluster its features are then regressed together
with the reference's corrected ones on an intercept and an indicator of the new batch, as Harmony does with the
batches it knows. Of the reference's spots this takes their number and their sum alone. The ridge on the indicator is
the one that Harmony's own regression had: a share of the new spots expected in the cluster.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stalign_core.correction.harmony import Matrix, apply_terms, are_unit_rows
from stalign_core.correction.result import CorrectionTerms, Features, check_new_features
from stalign_core.errors import CorrectionError


def map_harmony(features: Features, terms: CorrectionTerms) -> NDArray[np.float32]:
    """Correct the features of one batch that was not fitted.

    The batch's shift is estimated from all its spots, so the result depends on which spots the batch holds, and on
    no other batch.

    Parameters
    ----------
    features
        Of one batch, in the space that was corrected, (n_spots, n_components).
    terms
        Of `stalign_core.correction.harmony.correct`. Where there was one batch only, nothing was learnt, and the
        features stay as they are.

    Returns
    -------
    (n_spots, n_components) float32.

    Raises
    ------
    CorrectionError
        If a value is not finite, there are other components than those fitted, or the centroids are no unit rows.
    """
    n_components = terms.arrays["centroids"].shape[1] if terms.arrays else features.shape[-1]
    check_new_features(features, n_components, "harmony")
    if not terms.arrays or not len(features):
        return features.astype(np.float32)
    _check_centroids(terms.arrays["centroids"])
    points = features.astype(np.float64)
    memberships = soft_memberships(points, terms.arrays["centroids"], terms.facts["sigma"])
    shifts = batch_shifts(
        points,
        memberships,
        terms.arrays["cluster_sizes"].sum(axis=1),
        terms.arrays["cluster_sums"],
        ridge_share=terms.facts["ridge_share"],
        smallest_share=terms.facts["smallest_share"],
    )
    own_batch = np.zeros(len(points), dtype=np.int64)
    return apply_terms(points, memberships, own_batch, shifts[:, None]).astype(np.float32)


def _check_centroids(centroids: Matrix) -> None:
    """With as many clusters as components, the length of its rows alone tells a matrix that was stored transposed."""
    if not are_unit_rows(centroids):
        raise CorrectionError(
            "harmony",
            "cannot place new samples: the reference was fitted by a version that stored its clusters wrongly",
            remedy="fit it again",
        )


def soft_memberships(features: Matrix, centroids: Matrix, sigma: float) -> Matrix:
    """Membership of each spot in each cluster by the cosine of the angle to its centroid.

    ``exp(-2 (1 - cosine) / sigma)``, over its sum: Harmony's soft clustering without the term that favours mixed
    batches, which a batch of its own cannot have.

    Parameters
    ----------
    features
        (n_spots, n_components).
    centroids
        Unit rows, (n_clusters, n_components).
    sigma
        Width.

    Returns
    -------
    (n_spots, n_clusters), rows sum to one. A spot at the origin belongs to all clusters alike.
    """
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    directions = np.divide(features, lengths, out=np.zeros_like(features), where=lengths > 0)
    exponents = -2 * (1 - directions @ centroids.T) / sigma
    exponents -= exponents.max(axis=1, keepdims=True)
    weights = np.exp(exponents)
    memberships: Matrix = weights / weights.sum(axis=1, keepdims=True)
    return memberships


def batch_shifts(
    features: Matrix,
    memberships: Matrix,
    reference_sizes: Matrix,
    reference_sums: Matrix,
    *,
    ridge_share: float,
    smallest_share: float,
) -> Matrix:
    """By how much the new batch lies off the reference in each cluster, (n_clusters, n_components).

    For a cluster with N reference spots that sum to S, n new ones that sum to s (both weighted by membership) and a
    ridge r, the intercept a and the shift b solve ``(N + n) a + n b = S + s`` and ``n a + (n + r) b = s``
    (Kang et al. 2021, the mixture of experts of the mapping).

    Parameters
    ----------
    features
        Of the new batch, (n_spots, n_components).
    memberships
        (n_spots, n_clusters).
    reference_sizes
        N, (n_clusters,).
    reference_sums
        S, (n_clusters, n_components).
    ridge_share
        r as a share of the new spots expected in the cluster if the new batch were spread like all spots.
    smallest_share
        A cluster that holds less of the new batch than this share shifts nothing.
    """
    sizes = memberships.sum(axis=0)
    sums = memberships.T @ features
    n_new = len(features)
    ridge = ridge_share * (reference_sizes + sizes) * n_new / (reference_sizes.sum() + n_new)
    # The intercept eliminated: a = (S + s - n b) / (N + n).
    together = reference_sizes + sizes
    own = sizes * reference_sizes / together + ridge
    shifts: Matrix = (sums - (sizes / together)[:, None] * (reference_sums + sums)) / own[:, None]
    shifts[sizes / n_new <= smallest_share] = 0
    return shifts
