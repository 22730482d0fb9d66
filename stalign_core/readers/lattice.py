"""What lattice the spots of a section lie on, and how far apart."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from stalign_core.readers.facts import LatticeKind

DIAMETER_PER_PITCH: Final[dict[LatticeKind, float]] = {
    "hexagonal": 0.55,  # Visium: 55 um spots, centres 100 um apart
    "square": 0.5,  # ST arrays: 100 um spots, centres 200 um apart
    "irregular": 1.0,  # cells: as far as the nearest neighbour
}
"""A spot's diameter, as a fraction of the distance between the centres of neighbouring spots."""


def lattice_of(array: NDArray[np.int32] | None) -> LatticeKind:
    """The lattice that array coordinates (n, 2) stand on.

    Visium numbers the columns of its hexagonal lattice so that row + column has one parity over the whole array; on a
    square one both parities occur. Without coordinates, or with two spots in one place, there is no lattice.
    """
    if array is None or len(np.unique(array, axis=0)) < len(array):
        return "irregular"
    parity = array.sum(axis=1) % 2
    return "hexagonal" if (parity == parity[0]).all() else "square"


def median_pitch(spatial: NDArray[np.float64]) -> float:
    """Median distance from a spot to the nearest other one, in the units of `spatial` (n, 2); 0 for a single spot."""
    from scipy.spatial import cKDTree

    if len(spatial) < 2:
        return 0.0
    distance, _ = cKDTree(spatial).query(spatial, k=2)
    return float(np.median(distance[:, 1]))


def estimate_spot_diameter(spatial: NDArray[np.float64], lattice: LatticeKind) -> float:
    """A spot's diameter where the input does not give it, from the pitch and the array's known proportions."""
    return DIAMETER_PER_PITCH[lattice] * median_pitch(spatial)
