"""The groups that positives and negatives are drawn from."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stalign_core.aestetik.mixture import fit_tied_mixture, kmeans_labels


def group_labels(
    rows: NDArray[np.float32],
    present: NDArray[np.bool_],
    n_groups: int,
    method: Literal["tied", "kmeans"],
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Label each spot that has the modality, over all samples together.

    Parameters
    ----------
    rows
        (n, d) features of one modality.
    present
        (n,) bool; other spots get -1.
    n_groups
        K; no spot is labelled if fewer have the modality.
    method
        ``"tied"`` or ``"kmeans"``.
    rng
        Source of the starts.

    Returns
    -------
    (n,) labels from 0 to n_groups - 1, or -1.
    """
    labels = np.full(len(rows), -1, dtype=np.int64)
    known = rows[present]
    if len(known) < n_groups or not np.ptp(known, axis=0).any():
        return labels
    if method == "tied":
        labels[present] = fit_tied_mixture(known, n_groups, rng).predict(known)
    else:
        labels[present] = kmeans_labels(known, n_groups, rng)
    return labels
