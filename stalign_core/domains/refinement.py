"""Smoothing of domains over the tissue."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def refine(clusters: npt.NDArray[Any], nearest: npt.NDArray[np.integer[Any]]) -> npt.NDArray[Any]:
    """Give each spot the cluster that most of its neighbourhood has: one vote each, its own included.

    All votes are taken before any spot changes. A spot keeps its cluster unless one other cluster alone has the most
    votes, so the outcome does not depend on how clusters are numbered.

    Parameters
    ----------
    clusters
        (n_spots,) cluster of each spot, of any type.
    nearest
        (n_spots, n_neighbors) rows of the nearest spots of the same sample, without the spot itself; a negative row
        means that there is no such neighbour.

    Returns
    -------
    (n_spots,) clusters, of the type given.
    """
    names, codes = np.unique(clusters, return_inverse=True)
    rows = np.arange(len(codes))
    votes = np.zeros((len(codes), len(names)), dtype=np.int32)
    votes[rows, codes] = 1
    for neighbors in nearest.T:
        voters = np.flatnonzero(neighbors >= 0)
        votes[voters, codes[neighbors[voters]]] += 1
    most = votes.max(axis=1)
    has_one_winner = (votes == most[:, None]).sum(axis=1) == 1
    return np.asarray(names[np.where(has_one_winner, votes.argmax(axis=1), codes)])
