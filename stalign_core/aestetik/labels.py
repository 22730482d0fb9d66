"""The groups that positives and negatives are drawn from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stalign_core.aestetik.mixture import fit_tied_mixture, kmeans_labels
from stalign_core.aestetik.settings import TripletLabels

REPLICATES = 0.05
"""Squared relative distance between covariances of samples that count as replicates: adjacent sections of one
donor show .004 to .03, and neighbouring spots are too alike for a formula to tell their sampling error."""


def group_labels(
    rows: NDArray[np.float32],
    sample: NDArray[np.int64],
    present: NDArray[np.bool_],
    n_groups: int,
    method: TripletLabels,
    rng: np.random.Generator,
    comparable: bool = True,
) -> NDArray[np.int64]:
    """Label each spot that has the modality, over all samples together.

    Parameters
    ----------
    rows
        (n, d) features of one modality, in units that make their variances comparable.
    sample
        (n,) sample of each spot.
    present
        (n,) bool; other spots get -1.
    n_groups
        K; no spot is labelled if fewer have the modality.
    method
        ``"tied"`` or ``"kmeans"``.
    rng
        Source of the starts.
    comparable
        Whether lengths of the features compare between samples. How far a spot's expression lies from the mean also
        tells how well its section was measured; where they do not compare and samples disagree, a tied mixture
        is fitted to `directions`.

    Returns
    -------
    (n,) labels from 0 to n_groups - 1, or -1.
    """
    labels = np.full(len(rows), -1, dtype=np.int64)
    known = rows[present]
    if len(known) < n_groups or not np.ptp(known, axis=0).any():
        return labels
    if method == "kmeans":
        labels[present] = kmeans_labels(known, n_groups, rng)
    else:
        if not comparable and disagreement(known, sample[present]) > 0:
            known = directions(known)
        shrinkage = disagreement(known, sample[present])
        labels[present] = fit_tied_mixture(known, n_groups, rng, shrinkage).predict(known)
    return labels


def directions(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows less their mean, each divided by its Euclidean length; a row at the mean stays zero.

    Parameters
    ----------
    rows
        (n, d) features.

    Returns
    -------
    (n, d) float32.
    """
    centred = rows - rows.mean(axis=0, dtype=np.float64)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    found: NDArray[np.float32] = (centred / np.where(length > 0, length, 1)).astype(np.float32)
    return found


def disagreement(rows: NDArray[np.float32], sample: NDArray[np.int64]) -> float:
    """How much the samples' covariances differ: 0 for replicates, towards 1 where none tells of another.

    The share h / (1 + h), with h the mean squared Frobenius distance of a sample's covariance from their mean,
    relative to the squared norm of that mean, less what replicates show. Where samples disagree, a direction of
    small pooled variance in one of them says little about the others, so the mixture's covariance is shrunk by
    this share. Adjacent sections of a donor give 0, sections of several tumours .1 to .5.

    Parameters
    ----------
    rows
        (n, d) features.
    sample
        (n,) sample of each spot; samples of fewer than d + 1 spots are left out.

    Returns
    -------
    A share from 0 to 1; 0 for a single sample.
    """
    n_features = rows.shape[1]
    members = [np.flatnonzero(sample == code) for code in np.unique(sample)]
    covariances = np.array(
        [
            np.cov(rows[chosen].astype(np.float64).T, ddof=0).reshape(n_features, n_features)
            for chosen in members
            if len(chosen) > n_features
        ]
    )
    if len(covariances) < 2:
        return 0.0
    mean = covariances.mean(axis=0)
    norm = float((mean**2).sum())
    if norm == 0:
        return 0.0
    relative = float(((covariances - mean) ** 2).sum(axis=(1, 2)).mean()) / norm
    excess = max(0.0, relative - REPLICATES)
    return excess / (1 + excess)
