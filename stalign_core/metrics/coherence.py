"""Spatial coherence of the domains of one sample."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

PAS_NEIGHBORS: Final = 10
PAS_DIFFERENT: Final = 6


def chaos(domains: npt.NDArray[Any], positions: npt.NDArray[np.float64]) -> float:
    """Mean distance from a spot to the nearest spot of its domain, in spot spacings: 1 is the best.

    CHAOS of Shang and Zhou 2022 (SpatialPCA): the mean edge of the 1-nearest-neighbour graphs within the domains.
    Theirs measures in standardised coordinates, whose unit grows with the section; here the unit is the sample's median
    distance between neighbouring spots, so that samples of any size and lattice compare. A spot that is alone in its
    domain has no such distance and is left out.

    Parameters
    ----------
    domains
        (n_spots,) domains of one sample.
    positions
        (n_spots, 2) coordinates, in any unit that is the same along both axes.

    Returns
    -------
    The mean, or NaN where each spot is alone in its domain.
    """
    everyone = np.zeros(len(positions), dtype=np.int8)
    spacing = float(np.median(_nearest_within(everyone, positions)))
    return _mean_nearest(domains, positions) / spacing


def chaos_standardised(domains: npt.NDArray[Any], positions: npt.NDArray[np.float64]) -> float:
    """CHAOS as published: each coordinate standardised over the sample; lower is better.

    For comparison with published figures; see `chaos` for parameters and for what is left out.
    """
    deviations = positions.std(axis=0)
    scaled = (positions - positions.mean(axis=0)) / np.where(deviations > 0, deviations, 1)
    return _mean_nearest(domains, scaled)


def pas(domains: npt.NDArray[Any], positions: npt.NDArray[np.float64]) -> float:
    """Proportion of abnormal spots: those with 6 or more of their 10 nearest spots in other domains; 0 is the best.

    Shang and Zhou 2022 (SpatialPCA). On a lattice the tenth neighbour is one of several at the same distance; the order
    of the spots then decides.

    Parameters
    ----------
    domains
        (n_spots,) domains of one sample, more than 10 spots.
    positions
        (n_spots, 2) coordinates, in any unit that is the same along both axes.
    """
    from scipy.spatial import cKDTree

    groups = np.asarray(domains).astype(str)
    _, nearest = cKDTree(positions).query(positions, k=PAS_NEIGHBORS + 1)
    # A spot that coincides with others need not come first in its own list.
    is_self = nearest == np.arange(len(groups))[:, None]
    is_self[~is_self.any(axis=1), -1] = True
    others = nearest[~is_self].reshape(len(groups), PAS_NEIGHBORS)
    n_different = (groups[others] != groups[:, None]).sum(axis=1)
    return float((n_different >= PAS_DIFFERENT).mean())


def _mean_nearest(domains: npt.NDArray[Any], positions: npt.NDArray[np.float64]) -> float:
    distances = _nearest_within(domains, positions)
    return float(distances.mean()) if len(distances) else float("nan")


def _nearest_within(domains: npt.NDArray[Any], positions: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Distance of each spot to the nearest other spot of its domain; lone spots left out."""
    from scipy.spatial import cKDTree

    _, codes, sizes = np.unique(np.asarray(domains).astype(str), return_inverse=True, return_counts=True)
    shared = np.flatnonzero(sizes > 1)
    if not len(shared):
        return np.empty(0)
    members = [positions[codes == domain] for domain in shared]
    return np.concatenate([cKDTree(group).query(group, k=2)[0][:, 1] for group in members])
