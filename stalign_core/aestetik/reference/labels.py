"""The published groups of triplets: K-Means on single spots, the best of many starts."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from stalign_core.aestetik.labels import group_labels
from stalign_core.aestetik.mixture import kmeans_labels
from stalign_core.aestetik.settings import TripletLabels

STARTS: Final = 100
"""Of few starts the best differs from seed to seed, and the score with it."""


def best_group_labels(
    rows: NDArray[np.float32],
    sample: NDArray[np.int64],
    present: NDArray[np.bool_],
    n_groups: int,
    method: TripletLabels,
    rng: np.random.Generator,
    comparable: bool = True,
) -> NDArray[np.int64]:
    """As `group_labels`, K-Means with `STARTS` starts."""
    labels = np.full(len(rows), -1, dtype=np.int64)
    known = rows[present]
    if method != "kmeans" or len(known) < n_groups or not np.ptp(known, axis=0).any():
        return group_labels(rows, sample, present, n_groups, method, rng, comparable)
    labels[present] = kmeans_labels(known, n_groups, rng, STARTS)
    return labels
