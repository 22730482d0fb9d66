"""Parts of a section that are small enough for slow programs."""

from __future__ import annotations

import numpy as np


def central_band(positions: np.ndarray, n_spots: int) -> np.ndarray:
    """Rows of the `n_spots` spots nearest to the vertical through the middle: contiguous, and across the layers.

    Parameters
    ----------
    positions
        (n, 2) x and y of one section.
    n_spots
        How many; 0 means all.
    """
    if not 0 < n_spots < len(positions):
        return np.arange(len(positions))
    away = np.abs(positions[:, 0] - np.median(positions[:, 0]))
    return np.sort(np.argsort(away, kind="stable")[:n_spots])
